"""The type of a part of a result, and which types can be compared: judged by annotations, before anything runs."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import typing
from typing import Any, Literal, Union

import msgspec

from clearance.errors import nearest
from clearance.graph.annotations import anything, bare, element, members, show
from clearance.graph.predicate import ORDER, SCALARS, kind
from clearance.types.references import Tree

_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class NoPart(ValueError):
    """A value of this type has no such part; the text says why, and what there is."""


def project(annotation: Any, key: str | int, attribute: bool) -> tuple[Any, str | int]:
    """Returns the annotation of a part, and the step that leads to it in the stored value.

    Args:
        annotation: of the whole.
        key: name or position of the part.
        attribute: whether it was written as `.name`, and not as `["name"]`.

    Raises:
        NoPart: there is none.
    """
    found: list[tuple[Any, str | int]] = []
    reason = ""
    for member in members(annotation):
        if member is type(None):
            continue
        try:
            found.append(_project(member, key, attribute))
        except NoPart as error:
            reason = str(error)
    if not found:
        raise NoPart(reason or f"None has no part {key!r}")
    kinds = tuple(dict.fromkeys(part for part, _ in found))
    return kinds[0] if len(kinds) == 1 else Union[kinds], found[0][1]  # noqa: UP007


def project_stored(annotation: Any, step: str | int) -> Any:
    """Returns the annotation of the part to which a step of a stored path leads; `Any` where that is not known."""
    found = []
    for member in members(annotation):
        fields = _fields(typing.get_origin(member) or member) or {}
        known = next((part for part, stored in fields.values() if stored == step), None)
        if known is None and not fields:
            try:
                known = _project(member, step, False)[0]
            except NoPart:
                continue
        found.append(known)
    kinds = tuple(dict.fromkeys(part for part in found if part is not None))
    return Any if not kinds else kinds[0] if len(kinds) == 1 else Union[kinds]  # noqa: UP007


def _project(member: Any, key: str | int, attribute: bool) -> tuple[Any, str | int]:
    if anything(member):
        return Any, key
    kind = typing.get_origin(member) or member
    if isinstance(kind, type) and kind in _MAPPINGS:
        if attribute:
            raise NoPart(f"{show(member)} has no field {key!r}: write [{key!r}]")
        arguments = typing.get_args(member)
        return (arguments[1] if len(arguments) == 2 else Any), str(key)
    fields = _fields(kind)
    if fields is not None:
        if isinstance(key, int):
            names = list(fields)
            if not issubclass(kind, tuple) or not -len(names) <= key < len(names):
                raise NoPart(f"{show(member)} has no element {key}: write a field, for example .{names[0]}")
            return fields[names[key]]
        if key not in fields:
            raise NoPart(f"{show(member)} has no field {key!r}{nearest(key, fields)}; it has {', '.join(fields)}")
        return fields[key]
    if isinstance(key, int) and (part := element(member, key if key >= 0 else 0)) is not None:
        return part, key
    if isinstance(kind, type) and issubclass(kind, Tree):
        if key == "metadata":
            return dict[str, Any], key
        raise NoPart(f"of {show(member)} only .metadata can be read without its files: {key!r} is none of it")
    what = f"element {key}" if isinstance(key, int) else f"field {key!r}"
    raise NoPart(f"{show(member)} has no {what}")


def _fields(kind: Any) -> dict[str, tuple[Any, str | int]] | None:
    """Returns annotation and stored step of each field of a class; None where it has none."""
    if not isinstance(kind, type) or issubclass(kind, Tree):
        return None
    if issubclass(kind, msgspec.Struct):
        ordered = kind.__struct_config__.array_like
        return {
            one.name: (one.type, position if ordered else one.encode_name)
            for position, one in enumerate(msgspec.structs.fields(kind))
        }
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {one.name: (hints.get(one.name, Any), one.name) for one in dataclasses.fields(kind)}
    if typing.is_typeddict(kind):
        return {name: (bare(hint), name) for name, hint in typing.get_type_hints(kind).items()}
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind)
        return {name: (hints.get(name, Any), position) for position, name in enumerate(kind._fields)}
    return None


def kinds(annotation: Any) -> frozenset[str] | None:
    """Returns what `predicate.kind` may say of a value of this type; None where it may say anything."""
    found: set[str] = set()
    for member in members(annotation):
        if anything(member):
            return None
        if typing.get_origin(member) is Literal:
            found.update(kind(value) for value in typing.get_args(member))
        elif isinstance(member, type) and issubclass(member, enum.Enum):
            found.update(kind(one.value) for one in member)
        elif member is type(None):
            found.add("none")
        elif member is bool:
            found.add("bool")
        elif member in (int, float):
            found.add("number")
        else:
            found.add("text" if member is str else show(member))
    return frozenset(found)


def choices(annotation: Any) -> tuple[Any, ...] | None:
    """Returns every value that a type allows: of a `Literal`, an enum, a bool; None for one without an end."""
    found: list[Any] = []
    for member in members(annotation):
        if typing.get_origin(member) is Literal:
            found += typing.get_args(member)
        elif isinstance(member, type) and issubclass(member, enum.Enum):
            found += [one.value for one in member]
        elif member is bool:
            found += [True, False]
        elif member is type(None):
            found.append(None)
        else:
            return None
    return tuple(found)


def incomparable(left: Any, op: str, right: Any) -> str | None:
    """Returns why values of these types cannot be compared; None where they can, or only the run will know."""
    one, other = kinds(left), kinds(right)
    for kinds_of, annotation in ((one, left), (other, right)):
        if kinds_of is not None and not kinds_of & {*SCALARS}:
            return f"{show(annotation)} cannot be compared, only numbers, text, booleans and None: name a part of it"
    if one is None or other is None:
        ordered = (one or other or frozenset({"number"})) & {"number", "text"}
        return None if op not in ORDER or ordered else f"{show(left if one else right)} has no order"
    if op in ORDER:
        if one & other & {"number", "text"}:
            return None
        return f"{show(left)} and {show(right)} have no order: compare numbers with numbers, or text with text"
    if one & other or "none" in one | other:
        return None
    return f"{show(left)} is never equal to {show(right)}: compare values of one type"
