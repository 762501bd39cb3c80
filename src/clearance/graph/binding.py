"""What fills a parameter, as data: a constant, the result of another task or a part of it, a list of these."""

from __future__ import annotations

from typing import Any

import msgspec

Path = tuple[str | int, ...]


class Value(msgspec.Struct, frozen=True, tag="value"):
    """A constant, as JSON-compatible data; `graph.constants.value_of` makes the argument of it, by annotation."""

    value: Any


class Result(msgspec.Struct, frozen=True, tag="result", omit_defaults=True):
    """The result of the node with this id; a list of results, in order, where that node is mapped.

    Attributes:
        task: id of the node.
        path: names and positions that lead to a part of the result, as it is stored; empty for all of it.
    """

    task: str
    path: Path = ()


class Items(msgspec.Struct, frozen=True, tag="items"):
    """A Python list of bindings."""

    items: tuple[Binding, ...]


class Element(msgspec.Struct, frozen=True, tag="element", omit_defaults=True):
    """What a parameter of a mapped group is in one copy of it, or a part: the element that the copy was made for."""

    group: str
    name: str
    path: Path = ()


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """How the node with this id ended, as `types.outcome.Outcome`; the empty id is the run."""

    task: str


Binding = Value | Result | Items | Element | Ended


def written(binding: Binding) -> str:
    """Returns a binding as a person writes it: `best.score`, `rows[0]`, `0.9`."""
    if isinstance(binding, Value):
        return repr(binding.value)
    if isinstance(binding, Items):
        return "[" + ", ".join(map(written, binding.items)) + "]"
    if isinstance(binding, Ended):
        return f"outcome of {binding.task or 'the run'}"
    return (binding.task if isinstance(binding, Result) else binding.name) + steps(binding.path)


def steps(path: Path) -> str:
    """Returns a path as a person writes it: `.score`, `["a b"]`, `[0]`."""
    return "".join(f".{one}" if isinstance(one, str) and one.isidentifier() else f"[{one!r}]" for one in path)
