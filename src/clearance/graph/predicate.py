"""Conditions on values, as data: what `when(best.score > 0.9)` leaves in the graph, and how it is judged.

Rules:

1. Numbers are ordered with numbers and text with text; a bool is no number. `==` and `!=` also compare booleans and
   None. Anything else cannot be compared: an error, never false.
2. `&` and `|` are judged from the left, and end as soon as the answer is known: `~x.is_none() & (x > 3)`.
3. A branch without a default has an arm for every value that comes: another one is an error.
4. Pure: who asks says how values are read.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from clearance.errors import GraphError
from clearance.graph.binding import Binding, Element, Path, Result, Value, steps, written

Read = Callable[[Binding], Any]
ORDER = (">", ">=", "<", "<=")
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


class Compare(msgspec.Struct, frozen=True, tag="compare"):
    """Two values and one of `OPERATORS`."""

    left: Binding
    op: str
    right: Binding


class Holds(msgspec.Struct, frozen=True, tag="holds"):
    """A value that is true or false."""

    value: Binding


class Among(msgspec.Struct, frozen=True, tag="among", omit_defaults=True):
    """A value that is one of some; `known` lists what it may be at all, and is empty where it may be anything."""

    value: Binding
    values: tuple[Any, ...]
    known: tuple[Any, ...] = ()


class Not(msgspec.Struct, frozen=True, tag="not"):
    """The contrary."""

    of: Predicate


class Every(msgspec.Struct, frozen=True, tag="every"):
    """All of them hold."""

    of: tuple[Predicate, ...]


class Some(msgspec.Struct, frozen=True, tag="some"):
    """One of them holds."""

    of: tuple[Predicate, ...]


Predicate = Compare | Holds | Among | Not | Every | Some


def text(predicate: Predicate, inner: bool = False) -> str:
    """Returns a condition as a person writes it."""
    match predicate:
        case Compare(left, "==", Value(None)):
            made = f"{written(left)} is None"
            return f"({made})" if inner else made
        case Compare(left, op, right):
            made = f"{written(left)} {op} {written(right)}"
            return f"({made})" if inner else made
        case Holds(value):
            return written(value)
        case Among(value, values):
            return f"{written(value)} in {list(values)!r}" if len(values) != 1 else f"{written(value)} == {values[0]!r}"
        case Not(of):
            return f"~{text(of, True)}" if isinstance(of, Holds | Every | Some | Compare) else f"~({text(of)})"
        case Every(parts):
            made = " & ".join(text(part, True) for part in parts)
        case Some(parts):
            made = " | ".join(text(part, True) for part in parts)
    return f"({made})" if inner else made


def values_in(predicate: Predicate) -> Iterator[Result | Element]:
    """Yields every value that a condition reads, from the left; each once."""
    seen: set[Binding] = set()
    waiting = [predicate]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Not):
            waiting.append(one.of)
        elif isinstance(one, Every | Some):
            waiting.extend(reversed(one.of))
        else:
            for binding in (one.left, one.right) if isinstance(one, Compare) else (one.value,):
                if isinstance(binding, Result | Element) and binding not in seen:
                    seen.add(binding)
                    yield binding


def sources(predicates: tuple[Predicate, ...]) -> dict[str, None]:
    """Returns the ids of the nodes whose results some conditions read, in order."""
    return {
        value.task: None
        for predicate in predicates
        for value in values_in(predicate)
        if isinstance(value, Result)
    }  # fmt: skip


def holds(predicate: Predicate, read: Read) -> bool:
    """Judges a condition.

    Args:
        predicate: the condition.
        read: returns the plain value of a binding.

    Raises:
        GraphError: a value that cannot be read or compared; the message says which, and of which type it is.
    """
    if isinstance(predicate, Not):
        return not holds(predicate.of, read)
    if isinstance(predicate, Every):
        return all(holds(part, read) for part in predicate.of)
    if isinstance(predicate, Some):
        return any(holds(part, read) for part in predicate.of)
    if isinstance(predicate, Compare):
        return _compare(predicate, read)
    value = read(predicate.value)
    if isinstance(predicate, Holds):
        if not isinstance(value, bool):
            raise _wrong(predicate, f"{written(predicate.value)} is {_shown(value)}", "return a bool, or compare it")
        return value
    _check_scalar(predicate, predicate.value, value)
    if predicate.known and not any(same(value, one) for one in predicate.known):
        cases = ", ".join(map(repr, predicate.known))
        raise _wrong(predicate, f"{written(predicate.value)} is {_shown(value)}, which no arm of the branch names "
                     f"({cases})", "add a case for it, or a default")  # fmt: skip
    return any(same(value, one) for one in predicate.values)


def same(left: Any, right: Any) -> bool:
    """True for equal values of one kind: 1 is 1.0, but no True."""
    return kind(left) == kind(right) and bool(left == right)


def kind(value: Any) -> str:
    """Returns `number`, `text`, `bool`, `none`, or another type by its name."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else type(value).__name__


SCALARS = ("number", "text", "bool", "none")


def _compare(predicate: Compare, read: Read) -> bool:
    left, right = read(predicate.left), read(predicate.right)
    _check_scalar(predicate, predicate.left, left)
    _check_scalar(predicate, predicate.right, right)
    kinds = (kind(left), kind(right))
    if predicate.op in ORDER:
        if kinds[0] != kinds[1] or kinds[0] not in ("number", "text"):
            what = f"{written(predicate.left)} is {_shown(left)}, and on the right stands {_shown(right)}"
            raise _wrong(predicate, what, "compare numbers with numbers, or text with text")
        return OPERATORS[predicate.op](left, right)
    if kinds[0] != kinds[1] and "none" not in kinds:
        what = f"{written(predicate.left)} is {_shown(left)}, and on the right stands {_shown(right)}"
        raise _wrong(predicate, what, "compare values of one type")
    return OPERATORS[predicate.op](left, right)


def _check_scalar(predicate: Predicate, binding: Binding, value: Any) -> None:
    if kind(value) not in SCALARS:
        what = f"{written(binding)} is {_shown(value)}"
        raise _wrong(predicate, what, "numbers, text, booleans and None are compared: name a part of it")


def _wrong(predicate: Predicate, what: str, mend: str) -> GraphError:
    return GraphError(f"condition {text(predicate)}: {what}: {mend}")


_ARTICLES = {
    "bool": "a bool", "int": "an int", "float": "a float", "str": "text", "list": "a list", "dict": "a dict",
}  # fmt: skip


def _shown(value: Any) -> str:
    if value is None:
        return "None"
    name = _ARTICLES.get(type(value).__name__, f"a {type(value).__name__}")
    shown = repr(value)
    return f"{name}, {shown if len(shown) <= 40 else shown[:39] + '…'}"


def part(value: Any, path: Path, name: str) -> Any:
    """Returns the part of plain data to which a path leads.

    Args:
        value: as it is stored.
        path: names and positions.
        name: what the value is called, for an error.

    Raises:
        GraphError: there is no such part; the message says what there is.
    """
    for number, step in enumerate(path):
        where = name + steps(path[:number])
        if isinstance(value, dict):
            key = step if isinstance(step, str) else str(step)
            if key not in value:
                there = ", ".join(map(repr, list(value)[:8])) or "nothing"
                raise GraphError(f"{where} has no {key!r}: it holds {there}")
            value = value[key]
        elif isinstance(value, list) and isinstance(step, int):
            if not -len(value) <= step < len(value):
                raise GraphError(f"{where} has {len(value)} elements, {step} is none of their positions")
            value = value[step]
        else:
            raise GraphError(f"{where} is {_shown(value)}, which has no part {step!r}")
    return value
