"""What a task or a group is mapped over: lists by parameter, zipped or multiplied, checked where they are written.

Rules:

1. A list, a tuple, a range, a step that returns a list, or an element of a mapped group that is one.
2. Lists that are known here and are zipped must agree in length.
3. What stands in the graph is data that every reader of it loads: at most `MOST_ELEMENTS` elements. A longer list is
   returned by a task, where the setting `map_limit` bounds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clearance.errors import GraphError
from clearance.graph.build import Declaration
from clearance.graph.clause import Operand
from clearance.graph.constants import NoConstant
from clearance.graph.definition import Definition
from clearance.graph.model import Items, Value
from clearance.graph.options import MOST, whole
from clearance.graph.step import bind

MOST_ELEMENTS = 1_000_000


def split_limit(over: Mapping[str, Any], names: tuple[str, ...]) -> tuple[dict[str, Any], int]:
    """Takes `concurrency=` out of what `.map` was given; where a parameter has that name, it is the parameter.

    Returns:
        What is mapped, and how many may run at the same time (0 for all).

    Raises:
        GraphError: no whole number of at least 1.
    """
    lists = dict(over)
    if "concurrency" in names or "concurrency" not in lists:
        return lists, 0
    return lists, whole("concurrency", lists.pop("concurrency"), 1, MOST)


def map_over(declaration: Declaration, over: Mapping[str, Any], definition: Definition) -> None:
    """Binds the mapped parameters of a declaration.

    Raises:
        GraphError: a value that is no list, lists of different lengths, or more elements than a graph may hold.
    """
    lengths: dict[str, int] = {}
    for name, value in over.items():
        try:
            length = _bind_list(declaration, name, value, definition)
        except NoConstant as error:
            raise GraphError(f"{declaration.where}: parameter {name!r}: {error}") from None
        if length is not None:
            lengths[name] = length
    if declaration.product:
        total = 1
        for length in lengths.values():
            total *= length
        _check_count(declaration, "the product of its lists", total)
    elif len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise GraphError(
            f"{declaration.where}: mapped lists differ in length: {counts}; "
            "make them equally long, or write .product(…) for every combination"
        )


def _bind_list(declaration: Declaration, name: str, value: Any, definition: Definition) -> int | None:
    """Binds a mapped parameter and returns the number of elements, or None where only the run will know."""
    annotation = declaration.signature.annotations[name]
    if isinstance(value, Operand):
        declaration.mapped[name] = bind(value, Any, definition, declaration.upstream)
        return None
    if not isinstance(value, (list, tuple, range)):
        raise GraphError(
            f"{declaration.where}: parameter {name!r} is mapped over {_kind(value)}: "
            f"write .map({name}=[…]), or pass it without .map"
        )
    _check_count(declaration, f"parameter {name!r}", len(value))
    parts = [bind(item, annotation, definition, declaration.upstream) for item in value]
    constants = [part.value for part in parts if isinstance(part, Value)]
    declaration.mapped[name] = Value(constants) if len(constants) == len(parts) else Items(tuple(parts))
    return len(parts)


def _kind(value: Any) -> str:
    if isinstance(value, Iterator):
        return f"a {type(value).__qualname__}, which can be read only once and has no length"
    return f"{type(value).__qualname__}, which is no list"


def _check_count(declaration: Declaration, what: str, count: int) -> None:
    if count > MOST_ELEMENTS:
        raise GraphError(
            f"{declaration.where}: {what} has {count:,} elements, a graph holds at most {MOST_ELEMENTS:,}: "
            "map over batches of them, or return the list from a task and map over its result"
        )
