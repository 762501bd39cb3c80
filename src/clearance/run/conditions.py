"""Conditions in a run: the values that they read, and what is said of one that does not hold.

Rules:

1. The controller reads plain data alone (JSON, msgpack, and the metadata of a tree), of at most `MOST` bytes; never a
   user's code.
2. A value is read by what is committed or of this turn, never by what a process still holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from clearance.errors import GraphError
from clearance.graph.binding import Binding, Element, Path, Result, Value, written
from clearance.graph.predicate import Predicate, holds, part, text, values_in
from clearance.types.artifact import Argument, Artifact, Listed, Literal

if TYPE_CHECKING:
    from clearance.run.arguments import Arguments, Read
    from clearance.run.instance import Instance

MOST = 4 * 2**20
PLAIN = ("json", "msgpack")
TREES = ("tree", "dataset", "model")
_SHOWN = 80


def refuted(instance: Instance, arguments: Arguments) -> str:
    """Returns which condition of an instance does not hold, and for which values; empty where all hold.

    Raises:
        GraphError: one cannot be judged.
    """
    for predicate in instance.spec.conditions:
        if not holds(predicate, lambda binding: arguments.plain(instance, binding)):
            return f"condition {text(predicate)} is false ({_values(predicate, instance, arguments)})"
    return ""


def _values(predicate: Predicate, instance: Instance, arguments: Arguments) -> str:
    bindings = list(values_in(predicate))
    shown = []
    for binding in bindings:
        try:
            value = repr(arguments.plain(instance, binding))
        except GraphError:  # of a part that was not asked for
            continue
        value = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
        shown.append(value if len(bindings) == 1 else f"{written(binding)} = {value}")
    return ", ".join(shown)


def plain_value(argument: Argument, binding: Binding, read: Read) -> Any:
    """Returns the plain value of an argument, or of the part of it that a binding names.

    Args:
        argument: all of it.
        binding: what is asked for.
        read: returns the bytes of an artifact.

    Raises:
        GraphError: no plain data, too large, or no such part.
    """
    if isinstance(binding, Value):
        return binding.value
    assert isinstance(binding, Result | Element)
    name = written(msgspec.structs.replace(binding, path=()))
    path: Path = binding.path
    at = 0
    while isinstance(argument, Listed) and at < len(path):
        step = path[at]
        if not isinstance(step, int) or not -len(argument.items) <= step < len(argument.items):
            raise GraphError(f"{name} is a list of {len(argument.items)}, {step!r} is none of its positions")
        argument, at = argument.items[step], at + 1
    if isinstance(argument, Listed):
        raise GraphError(f"{written(binding)} is a list of {len(argument.items)}: name an element of it")
    rest = path[at:]
    if isinstance(argument, Literal):
        return part(argument.value, rest, name)
    artifact = argument.artifact
    if artifact.serializer in TREES and rest[:1] == ("metadata",):
        return part({"metadata": artifact.metadata}, rest, name)
    if artifact.serializer not in PLAIN:
        raise GraphError(
            f"{name} is a {artifact.type} ({artifact.serializer}), of which no condition can be made: "
            "return a number or a record beside it"
        )
    if artifact.size > MOST:
        raise GraphError(f"{name} has {artifact.size:,} bytes, a condition reads at most {MOST:,}: return less")
    return part(_decoded(artifact, read), rest, name)


_memory: dict[str, Any] = {}


def _decoded(artifact: Artifact, read: Read) -> Any:
    """Decodes an artifact; the last ones are kept, since a block of tasks asks for the same."""
    if artifact.digest not in _memory:
        data = read(artifact)
        while len(_memory) >= 8:
            del _memory[next(iter(_memory))]
        decode = msgspec.json.decode if artifact.serializer == "json" else msgspec.msgpack.decode
        _memory[artifact.digest] = decode(data)
    return _memory[artifact.digest]
