"""Constants in the graph: from a Python value to JSON-compatible data by annotation, and back.

Rules:

1. `plain` then `value_of` gives back an equal value of the annotated type.
2. Nothing is guessed: `"3"` is no `int`. An `int` is a `float`; a tuple is a list where a list is wanted.
3. NaN and the infinities have no JSON form and are refused.
4. Without an annotation only JSON's own types are taken (a tuple arrives as a list).
"""

from __future__ import annotations

import math
import pathlib
import typing
from typing import Any, Literal

import msgspec

from clearance.errors import UsageError
from clearance.graph.annotations import anything, bare, members, show
from clearance.types.references import File, Tree
from clearance.types.secret import Secret

_SIMPLE = frozenset({int, str, bool, type(None)})
_DEPTH = 64


class NoConstant(ValueError):
    """A value that cannot stand in the graph under this annotation; the text says why."""


def plain(value: Any, annotation: Any) -> Any:
    """Returns the value as JSON-compatible data, checked and converted by the annotation.

    Raises:
        NoConstant: the value is not of that type or has no JSON form.
    """
    if type(value) is annotation and annotation in _SIMPLE and (annotation is not str or value.isascii()):
        return value
    annotation = bare(annotation)
    if anything(annotation):
        _check_native(value)
        return _canonical(value)
    try:
        data = msgspec.to_builtins(value, str_keys=True, enc_hook=_encode)
    except (TypeError, ValueError, AttributeError, NotImplementedError, RecursionError):
        raise NoConstant(
            f"{type(value).__qualname__} {_short(value)} cannot stand in the graph: make it inside a task"
        ) from None
    _check_native(data)
    return _canonical(value_of(data, annotation))


def value_of(data: Any, annotation: Any, strict: bool = True) -> Any:
    """Returns what a task receives for JSON-compatible data under an annotation.

    Args:
        data: as `plain` returned it.
        annotation: of the parameter.
        strict: False also reads text: `"3"` as the int 3, `"true"` as a bool.

    Raises:
        NoConstant: the data is not of that type.
    """
    candidates = members(annotation)
    reason = ""
    for member in candidates:
        if anything(member):
            return data
        try:
            return _convert(data, member, strict)
        except msgspec.ValidationError as error:
            reason = str(error)
        except (TypeError, ValueError, NotImplementedError):
            reason = f"a constant cannot be {show(member)}: make it inside a task"
    detail = f" ({reason[0].lower()}{reason[1:]})" if len(candidates) == 1 and reason else ""
    raise NoConstant(f"{_short(data)} is not {show(annotation)}{detail}")


def _convert(data: Any, kind: Any, strict: bool) -> Any:
    if typing.get_origin(kind) is Literal:
        for choice in typing.get_args(kind):
            if type(choice) is type(data) and choice == data:
                return choice
            if not strict and isinstance(data, str) and not isinstance(choice, str) and str(choice) == data:
                return choice
        raise msgspec.ValidationError(f"use one of {', '.join(map(repr, typing.get_args(kind)))}")
    if isinstance(data, str) and isinstance(kind, type) and issubclass(kind, (File, Tree)):
        return kind(pathlib.Path(data))
    if isinstance(data, str) and kind is Secret:
        try:
            return Secret.parse(data)
        except UsageError as error:
            raise msgspec.ValidationError(str(error)) from None
    return msgspec.convert(data, kind, strict=strict, str_keys=True, dec_hook=_decode)


def _canonical(value: Any) -> Any:
    """Returns what a reader of the JSON sees: lists for tuples, sets in order."""
    try:
        data = msgspec.to_builtins(value, str_keys=True, enc_hook=_encode, order="deterministic")
        return msgspec.json.decode(msgspec.json.encode(data))
    except (UnicodeEncodeError, TypeError, OverflowError, NotImplementedError) as error:
        raise NoConstant(f"{_short(value)} has no JSON form ({error})") from None


def _encode(value: Any) -> Any:
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, float) or getattr(value, "shape", None) == ():  # a scalar of numpy
        return value.item()
    raise NotImplementedError


def _decode(kind: type, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath) and isinstance(value, str):
        return kind(value)
    raise NotImplementedError


def _check_native(value: Any, depth: int = 0) -> None:
    if depth > _DEPTH:
        raise NoConstant(f"a constant is nested deeper than {_DEPTH} levels")
    kind = type(value)
    if kind in _SIMPLE:
        return
    if kind is float:
        if not math.isfinite(value):
            raise NoConstant(f"{value!r} has no JSON form: use None, or a large number")
    elif kind in (list, tuple):
        for item in value:
            _check_native(item, depth + 1)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise NoConstant(f"the key {key!r} is not text: annotate the parameter, for example dict[int, str]")
            _check_native(item, depth + 1)
    else:
        raise NoConstant(f"{kind.__qualname__} {_short(value)} needs an annotation, or must be made inside a task")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
