"""The walk sees what the unpickler would do, and takes nothing else for a pickle."""

import io
import pickle
import pickletools

from hypothesis import given
from hypothesis import strategies as st

from clearance.trust.ingest.pickles import walk

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner) | st.frozensets(st.text())
    ),
    max_leaves=20,
)


@given(values, st.integers(0, 5))
def test_the_walk_of_a_pickle_ends_where_it_ends(value, protocol):
    data = pickle.dumps(value, protocol)
    found = walk(io.BytesIO(data + b"behind"))
    assert found.ended
    assert found.size == len(data)
    assert found.marked == (protocol >= 2)
    calls = [each.name for each, _, _ in pickletools.genops(data) if each.name in ("REDUCE", "BUILD", "NEWOBJ")]
    assert found.calls == len(calls)


def test_imports_are_told_by_name():
    found = walk(io.BytesIO(pickle.dumps([complex(1, 2), range(3)], 4)))
    assert found.imports == ["builtins.complex", "builtins.range"]


def test_a_pickle_that_is_cut_off_behind_its_call_is_one():
    data = b"cos\nsystem\n(Vtrue\ntR"
    assert walk(io.BytesIO(data)).live
    assert not walk(io.BytesIO(data[:-1])).live  # nothing was called, and nothing ended


def test_text_is_no_pickle():
    for text in (
        "cat\ndog\n",
        "Version 1\nof it\n",
        "(c) somebody\n",
        "I am a model\n",
        "i\n.",
        "",
        ".",
        "cos\nsystem\nR.",
    ):
        assert not walk(io.BytesIO(text.encode())).live, text


@given(st.binary())
def test_the_walk_never_crashes(data):
    assert walk(io.BytesIO(data)).size <= len(data)
