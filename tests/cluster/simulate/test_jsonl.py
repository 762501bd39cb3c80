"""Our own format: what is written is read back, and nothing that it does not know is passed over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster.job import Job, TaskGroup, Topology
from clearance.cluster.node import Node, Taint
from clearance.cluster.simulate import Arrival, Trace, jsonl, write
from clearance.cluster.simulate.lines import BadLine

names = st.text(min_size=1, max_size=8)
seconds = st.floats(0, 1e9)
groups = st.builds(
    TaskGroup, names, st.integers(0, 9), st.dictionaries(names, st.integers(0, 2**62) | names, max_size=2),
    st.none() | st.integers(1, 9), st.dictionaries(names, names, max_size=2),
    topology=st.builds(Topology, names, names),
)  # fmt: skip
jobs = st.builds(
    Job, names, names, names, st.tuples(names), st.integers(-9, 9), st.tuples(groups), st.none() | seconds,
    labels=st.dictionaries(names, names, max_size=2), movable=st.booleans(), service=st.booleans(),
)  # fmt: skip
nodes = st.builds(
    Node, names, st.dictionaries(names, st.integers(0, 2**62) | names, max_size=2),
    taints=st.tuples(st.builds(Taint, names, names)), schedulable=st.booleans(),
)  # fmt: skip
traces = st.builds(
    lambda arrivals, nodes: Trace(tuple(sorted(arrivals, key=lambda each: each.submit)), tuple(nodes)),
    st.lists(st.builds(Arrival, seconds, seconds, jobs), max_size=4), st.lists(nodes, max_size=3),
)  # fmt: skip


@given(traces)
def test_what_is_written_is_read_back_equal(trace):
    assert jsonl.read(list(write(trace))) == trace


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"type":"job","submit":0', "truncated"),
        ('{"type":"jab"}', "Invalid value 'jab'"),
        ('{"type":"job","submit":0,"runtime":1}', "missing required field `job`"),
        ('{"type":"job","submit":0,"runtime":1,"job":{"id":"a"},"end":3}', "unknown field `end`"),
        (
            '{"type":"job","submit":-1,"runtime":1,"job":{"id":"a"}}',
            "submit is -1 and runtime 1: neither may be negative",
        ),
        ('{"type":"job","submit":0,"runtime":"x","job":{"id":"a"}}', "Expected `float`, got `str`"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(line, message):
    with pytest.raises(BadLine, match="the trace, line 3: ") as error:
        jsonl.read(['{"type":"node","node":{"name":"n"}}', "", line])
    assert message in str(error.value)
