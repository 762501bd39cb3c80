"""Which parameter accepts which result."""

import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

import numpy
import numpy.typing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance import Dataset, File, Model, Tree
from clearance.graph.annotations import accepts, element, iterated, show

T = TypeVar("T")
Metres = NewType("Metres", float)


class Row(TypedDict):
    x: int


class Pair(NamedTuple):
    x: int
    y: str


@dataclass
class Points: ...


@pytest.mark.parametrize(
    ("parameter", "result"),
    [
        (Any, int), (int, Any), (object, Points), (T, int), (int, int), (int, bool), (float, int),
        (Tree, Dataset), (Tree, Model), (Optional[int], int), (int | None, None), (Union[int, str], str),
        (int | str | None, int | None), (list, list[int]), (list[int], list), (list[Tree], list[Dataset]),
        (Sequence[Tree], list[Dataset]), (Iterable[int], list[int]), (Sequence[int], tuple[int, int]),
        (tuple[int, ...], tuple[int, int]), (tuple[int, str], tuple[int, str]), (tuple, tuple[int]),
        (dict[str, float], dict[str, int]), (Mapping[str, int], dict[str, int]), (typing.List[int], list[int]),  # noqa: UP006
        (str, Literal["a", "b"]), (Literal["a", "b", "c"], Literal["a", "b"]), (float, Metres), (Metres, float),
        (Annotated[int, "n"], int), (int, Annotated[int, ["unhashable"]]), (dict, Row), (Mapping[str, Any], Row),
        (tuple, Pair), (numpy.ndarray, numpy.typing.NDArray[numpy.float64]), (type(None), None),
    ],
)  # fmt: skip
def test_accepted(parameter, result):
    assert accepts(parameter, result)


@pytest.mark.parametrize(
    ("parameter", "result"),
    [
        (str, int), (int, str), (int, float), (bool, int), (Dataset, Tree), (Model, Dataset), (int, int | None),
        (int, None), (list[int], list[str]), (list[Dataset], list[Tree]), (list[int], int), (int, list[int]),
        (tuple[int, ...], tuple[int, str]), (tuple[int, int], tuple[int, ...]), (list[int], tuple[int, int]),
        (Sequence[int], tuple[int, str]), (dict[str, int], dict[str, str]), (dict[str, int], dict[int, int]),
        (Literal["a"], Literal["a", "b"]), (Literal["a"], str), (Literal[1], Literal[True]), (int, Literal["a"]),
        (File, Path), (Path, File), (Row, dict), (Points, dict), (numpy.ndarray, list[int]),
    ],
)  # fmt: skip
def test_refused(parameter, result):
    assert not accepts(parameter, result)


annotations = st.recursive(
    st.sampled_from([int, str, bool, float, None, Tree, Dataset, Any]),
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),
        st.tuples(inner, inner).map(lambda pair: tuple[pair]),
        inner.map(lambda kind: dict[str, kind]),
        st.tuples(inner, inner).map(lambda pair: Union[pair]),
    ),
    max_leaves=6,
)


@given(annotations)
def test_every_type_accepts_itself_and_fits_a_union_with_it(kind):
    assert accepts(kind, kind)
    assert accepts(Union[kind, bytes], kind)
    assert accepts(list[kind], list[kind])


@given(annotations)
def test_every_type_can_be_shown(kind):
    assert show(kind)
    assert show(kind, full=True)


def test_elements():
    assert element(list[int]) is int
    assert element(tuple[int, str], 1) is str
    assert element(int) is None
    assert element(list) is Any
    assert iterated(list[int] | None) is None
    assert iterated(tuple[int, str]) == int | str


def test_types_are_shown_as_a_person_writes_them():
    assert show(list[Tree]) == "list[Tree]"
    assert show(int | None) == "int | None"
    assert show(Tree, full=True) == "clearance.types.references.Tree"
    assert show(Literal["a", 1]) == "Literal['a', 1]"
