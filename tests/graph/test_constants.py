"""Constants by annotation: what is taken, what is refused, and that nothing is lost on the way."""

import enum
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance import Tree
from clearance.graph.constants import NoConstant, plain, value_of


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: float
    at: Path


words = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner),
    max_leaves=12,
)


@given(json_values)
def test_json_values_pass_unchanged(value):
    assert plain(value, Any) == value
    assert msgspec.json.decode(msgspec.json.encode(plain(value, Any))) == value


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (3, int), (True, bool), ("x", str), (None, int | None), (2.5, float), ([1, 2], list[int]),
        ((1, 2), tuple[int, int]),
        ({1: "a"}, dict[int, str]), ({"a", "b"}, set[str]), (Colour.RED, Colour), (Point(1.0, Path("/x")), Point),
        (Path("a/b"), Path), (b"\x00\xff", bytes), (datetime(2024, 1, 2), datetime), ("b", Literal["a", "b"]),
        (Tree(Path("d")), Tree), ([Point(1.0, Path("y"))], list[Point]), ("x", Point | str),
    ],
)  # fmt: skip
def test_value_of_gives_back_what_plain_took(value, annotation):
    data = plain(value, annotation)
    assert msgspec.json.decode(msgspec.json.encode(data)) == data
    assert value_of(data, annotation) == value
    assert type(value_of(data, annotation)) is type(value)


def test_an_int_becomes_a_float_where_one_is_wanted():
    assert type(plain(1, float)) is float


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ("3", int), (3, str), (1.5, int), (True, str), ([1], list[str]), ((1, 2), tuple[int]), ("c", Literal["a"]),
        (1, Literal[True]), (math.nan, float), (math.inf, Any), ([math.nan], list[float]), (b"x", Any), ({1: 2}, Any),
        (object(), Any), (object(), int), (numpy.zeros(2), Any), (numpy.zeros(2), numpy.ndarray), ([1], numpy.ndarray),
        ({"x": 1.0}, Point), (print, Any), ("\ud800", str.__class__),
    ],
)  # fmt: skip
def test_a_constant_that_does_not_fit_is_refused(value, annotation):
    with pytest.raises(NoConstant):
        plain(value, annotation)


def test_a_nest_without_end_is_refused():
    nest: list = []
    for _ in range(100):
        nest = [nest]
    with pytest.raises(NoConstant, match="deeper"):
        plain(nest, Any)
    loop: list = []
    loop.append(loop)
    with pytest.raises(NoConstant):
        plain(loop, Any)
    with pytest.raises(NoConstant):
        plain(loop, list)


def test_text_is_read_only_where_that_is_asked():
    assert value_of("3", int, strict=False) == 3
    assert value_of("true", bool, strict=False) is True
    assert value_of("2", Literal[1, 2], strict=False) == 2
