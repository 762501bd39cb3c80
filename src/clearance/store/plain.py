"""Plain data as JSON, or as msgpack where JSON would lose something.

JSON has no NaN or infinity (msgspec writes null), keys that are text only, and bytes as text; msgpack has all
three, but integers of 64 bits only. A value that needs both, or that does not fit its annotation, is refused.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import typing
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from clearance.errors import NotSerialisable
from clearance.types import serialisable
from clearance.types.serialisable import qualified

NAMES = ("json", "msgpack")
_ATOMS = (
    str, bool, int, datetime.datetime, datetime.date, datetime.time, datetime.timedelta, uuid.UUID, type(None),
)  # fmt: skip
_BYTES = (bytes, bytearray)
_CONTAINERS = (list, tuple, set, frozenset)


def is_record(kind: type) -> bool:
    """True for a dataclass, a `msgspec.Struct` or an enum."""
    return dataclasses.is_dataclass(kind) or issubclass(kind, (msgspec.Struct, enum.Enum))


def special(kind: type) -> str | None:
    """Returns the serializer of a type that plain data cannot carry, found along its bases, or None."""
    for base in kind.__mro__[:-1]:
        name = serialisable.SERIALISERS.get(qualified(base))
        if name is not None and name not in NAMES:
            return name
    return "file" if issubclass(kind, Path) else None


def is_plain_type(kind: type) -> bool:
    """True when values of the type may be plain data and have no serializer of their own."""
    return special(kind) is None and (
        issubclass(kind, (*_ATOMS, *_BYTES, *_CONTAINERS, float, dict, decimal.Decimal))
        or is_record(kind)
        or _is_numpy_scalar(kind)
    )


def lower(value: Any) -> Any:
    """Turns a NumPy scalar into the Python number it stands for (an encoder's hook).

    Raises:
        NotSerialisable: any other type.
    """
    if _is_numpy_scalar(type(value)):
        return value.item()
    raise NotSerialisable(
        f"a value of type {qualified(type(value))} inside plain data cannot travel between tasks: put it in a list, "
        "tuple or dict of its own, or turn it into plain data"
    )


def encode(value: Any, annotation: Any, kind: str) -> tuple[str, bytes]:
    """Returns (serializer, bytes).

    Args:
        value: plain data.
        annotation: what the bytes must be readable as.
        kind: the value's type, for messages.

    Raises:
        NotSerialisable: something in it is not plain, or it does not fit the annotation.
    """
    if _is_numpy_scalar(type(value)):
        value = value.item()
    needs = _Needs()
    needs.look_at(value)
    if needs.msgpack and needs.json:
        raise NotSerialisable(
            f"the {kind} holds an integer beyond 64 bits together with NaN, bytes or keys that are no text, which "
            "no format here carries: turn the integer into text"
        )
    name = "msgpack" if needs.msgpack else "json"
    encoder = msgspec.msgpack if needs.msgpack else msgspec.json
    try:
        data = encoder.encode(value, enc_hook=lower, order="deterministic" if needs.order else None)
    except NotSerialisable:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise NotSerialisable(f"the {kind} cannot be written as {name}: {error}") from None
    decode(data, name, annotation)
    return name, data


def decode(data: bytes, name: str, annotation: Any) -> Any:
    """Reads JSON or msgpack as the annotation says.

    Raises:
        NotSerialisable: the data does not fit the annotation, or no data can.
    """
    decoder = msgspec.msgpack if name == "msgpack" else msgspec.json
    if annotation is msgspec.UNSET or annotation is None:
        annotation = type(None)
    try:
        return decoder.decode(data, type=annotation, dec_hook=_lift)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise NotSerialisable(
            f"a value does not fit its annotation {_text(annotation)}: {error}; return what the annotation says, "
            "or change it"
        ) from None


class _Needs:
    """What a format must be able to do for a value: found by looking at each part once."""

    def __init__(self) -> None:
        self.msgpack = False
        self.json = False
        self.order = False

    def look_at(self, value: Any, depth: int = 0) -> None:
        if depth > 200:
            raise NotSerialisable("the value is nested more than 200 deep, or holds itself: flatten it")
        kind = type(value)
        if kind is float or isinstance(value, float):
            self.msgpack |= not math.isfinite(value)
        elif kind is int:
            self.json |= not -(2**63) <= value < 2**64
        elif kind in _ATOMS:
            return
        elif isinstance(value, _BYTES):
            self.msgpack = True
        elif isinstance(value, dict):
            self.msgpack |= not all(isinstance(key, str) for key in value)
            self._look_at_all(value, depth)
            self._look_at_all(value.values(), depth)
        elif isinstance(value, _CONTAINERS):
            self.order |= isinstance(value, (set, frozenset))
            self._look_at_all(value, depth)
        elif isinstance(value, msgspec.Struct):
            self._look_at_all([getattr(value, name) for name in value.__struct_fields__], depth)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            if special(kind) is not None:
                lower(value)
            self._look_at_all([getattr(value, field.name) for field in dataclasses.fields(value)], depth)
        elif _is_numpy_scalar(kind):
            self.look_at(value.item(), depth)

    def _look_at_all(self, values: Iterable[Any], depth: int) -> None:
        kinds = set(map(type, values))
        if kinds <= {float}:
            self.msgpack |= not all(map(math.isfinite, values))
        elif not kinds <= {str, bool, type(None)}:
            for value in values:
                self.look_at(value, depth + 1)


def _lift(kind: type, value: Any) -> Any:
    """Reads a number back as the NumPy scalar type that an annotation asks for (a decoder's hook)."""
    if kind is object:  # says as much as Any
        return value
    if isinstance(kind, type) and _is_numpy_scalar(kind):
        return kind(value)
    raise TypeError(f"{_text(kind)} is not plain data")


def _is_numpy_scalar(kind: type) -> bool:
    return any(
        base.__module__ == "numpy" and base.__name__ in ("number", "character", "bool", "bool_")
        for base in kind.__mro__
    )


def _text(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)
