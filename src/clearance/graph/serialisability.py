"""Can a value of this type travel between tasks? Judged by the *names* in `types.serialisable`.

Neither numpy nor torch is imported to judge their types. Dataclasses, `msgspec.Struct`s, enums, typed
dictionaries, named tuples and containers are judged by what is in them.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import pathlib
import types
import typing
from typing import Any, Literal

import msgspec

from clearance.errors import GraphError
from clearance.graph.annotations import anything, bare, members
from clearance.types.serialisable import SERIALISERS, qualified

POSSIBLE = (
    "None, bool, int, float, str, bytes, dates, list, tuple, dict, set, enums, dataclasses, msgspec.Struct, "
    "TypedDict, NamedTuple, numpy.ndarray, torch.Tensor, pyarrow.Table, pandas.DataFrame, pathlib.Path, "
    "File, Tree, Dataset, Model, Endpoint, Markdown, HTML, Image, matplotlib figures, and containers of these"
)
_CONTAINERS = (
    list,
    tuple,
    dict,
    set,
    frozenset,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
    collections.abc.Mapping,
    collections.abc.MutableMapping,
    collections.abc.Set,
)


def unserialisable(annotation: Any) -> Any:
    """Returns the first type inside the annotation that no serializer writes, or None when all can travel.

    Raises:
        GraphError: an annotation inside a class that cannot be read.
    """
    return _judge(annotation, set())


def _judge(annotation: Any, seen: set[Any]) -> Any:
    for member in members(annotation):
        bad = _judge_member(member, seen)
        if bad is not None:
            return bad
    return None


def _judge_member(member: Any, seen: set[Any]) -> Any:
    member = bare(member)
    if anything(member) or member is Ellipsis:
        return None
    origin = typing.get_origin(member)
    if origin is Literal:
        return None
    kind = origin or member
    if not isinstance(kind, type):
        return member
    if origin is not None and kind in _CONTAINERS:
        return next((bad for item in typing.get_args(member) if (bad := _judge(item, seen)) is not None), None)
    if kind in _CONTAINERS or qualified(kind) in SERIALISERS or kind in seen:
        return None
    if issubclass(kind, (enum.Enum, pathlib.PurePath)):
        return None
    if not _has_fields(kind):
        return member
    seen.add(kind)
    return next((bad for hint in _field_hints(kind) if (bad := _judge(hint, seen)) is not None), None)


def _has_fields(kind: type) -> bool:
    return (
        dataclasses.is_dataclass(kind)
        or issubclass(kind, msgspec.Struct)
        or typing.is_typeddict(kind)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def _field_hints(kind: type) -> list[Any]:
    try:
        hints = typing.get_type_hints(kind)
    except Exception as error:
        raise GraphError(f"an annotation inside {qualified(kind)} cannot be read: {error}") from None
    return [hint for hint in hints.values() if typing.get_origin(hint) is not typing.ClassVar]


def refusal(kind: Any, text: str) -> str:
    """Returns the message's end for a type that cannot travel; `text` is how the type is written."""
    name = text if isinstance(kind, (type, types.GenericAlias)) else "the type"
    return (
        f"{text} has no serializer, so it cannot travel between tasks (nothing is pickled): "
        f"use one of {POSSIBLE}; or clearance.register_serializer({name}, …)"
    )
