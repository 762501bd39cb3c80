"""The graph as JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.errors import GraphError
from clearance.graph.model import Graph, Items, Node, Result, RetryPolicy, Value, decode, encode, graph_digest

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.recursive(st.none() | st.booleans() | st.integers() | words, lambda inner: st.lists(inner, max_size=3))
bindings = st.recursive(
    plain.map(Value) | words.map(Result),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: Items(tuple(items))),
)
nodes = st.builds(
    Node,
    id=words,
    function=words,
    inputs=st.dictionaries(words, bindings, max_size=3),
    mapped=st.dictionaries(words, bindings, max_size=2),
    upstream=st.lists(words, max_size=3).map(tuple),
    retries=st.builds(RetryPolicy, times=st.integers(0, 9), on=st.lists(words, max_size=2).map(tuple)),
    resources=st.dictionaries(words, st.integers(0, 2**63 - 1), max_size=3),
    timeout=st.floats(0, 1e9),
)
graphs = st.builds(
    Graph, dag=words, parameters=st.dictionaries(words, plain, max_size=3), nodes=st.lists(nodes, max_size=4).map(tuple)
)


@given(graphs)
def test_decode_reads_what_encode_wrote(graph):
    assert decode(encode(graph)) == graph
    assert encode(decode(encode(graph))) == encode(graph)


def test_the_digest_does_not_depend_on_the_order_of_dictionaries():
    one = Graph(dag="d", nodes=(Node(id="a", function="m:a", inputs={"x": Value(1), "y": Value({"p": 1, "q": 2})}),))
    two = Graph(dag="d", nodes=(Node(id="a", function="m:a", inputs={"y": Value({"q": 2, "p": 1}), "x": Value(1)}),))
    assert graph_digest(one) == graph_digest(two)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"dag": 3}', b"\xff", b'{"dag":"d","nodes":[{"id":"a"}]}'])
def test_bytes_that_are_no_graph_are_refused(data):
    with pytest.raises(GraphError, match="no graph"):
        decode(data)
