"""Parameters of a DAG, as values and as text from a command line."""

from pathlib import Path
from typing import Any, Literal

import pytest

from clearance import Tree
from clearance.errors import GraphError
from clearance.graph.parameters import Parameter


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("100", int, 100), ("1e-3", float, 1e-3), ("true", bool, True), ("100", str, "100"), ("null", int | None, None),
        ("[1, 2]", list[int], [1, 2]), ('{"a": 1}', dict[str, int], {"a": 1}), ("x", Any, "x"), ("5", Any, "5"),
        ("data", Path, Path("data")), ("data", Tree, Tree(Path("data"))), ("b", Literal["a", "b"], "b"),
        ("5", int | str, "5"), (7, int, 7), (7, float, 7.0), ([1], list[int], [1]), ("[1,2]", tuple[int, int], (1, 2)),
    ],
)  # fmt: skip
def test_values_are_read_by_the_annotation(text, annotation, value):
    assert Parameter("p", annotation).convert(text, "d") == value


@pytest.mark.parametrize(
    ("text", "annotation", "message"),
    [
        ("x", int, "parameter 'p' wants int, not 'x'"),
        ("1.5", int, "wants int, not '1.5'"),
        ("[1, 'a']", list[int], r"wants list\[int\]"),
        ("c", Literal["a"], r"wants Literal\['a'\]"),
        (1.5, int, "1.5 is not int"),
        ("nan", float, "wants float"),
    ],
)
def test_a_wrong_value_says_what_is_wanted(text, annotation, message):
    with pytest.raises(GraphError, match=message):
        Parameter("p", annotation).convert(text, "d")
