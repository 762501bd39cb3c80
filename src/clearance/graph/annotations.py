"""Types as the graph judges them: does a parameter accept what an upstream task returns?

Rules, judged without any value and before anything runs:

1. `Any`, `object`, a missing annotation and a free type variable accept and fit everything.
2. A union is accepted member by member: every member of the result must fit some member of the parameter.
3. A class accepts its subclasses (`Dataset` fits `Tree`), and `float` accepts `int` (PEP 484).
4. Type arguments are compared in turn (`list[Dataset]` fits `Sequence[Tree]`); missing arguments are `Any`.
5. `Literal` accepts only literals it lists; a literal fits the type of its values.
6. `Path` and `File` are two types: neither fits the other.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from functools import lru_cache
from typing import Annotated, Any, Literal, NewType, TypeVar, Union

_SEQUENCES = (
    list,
    tuple,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)


def bare(annotation: Any) -> Any:
    """Returns the annotation without `Annotated`, `Required`, `NewType` and alias wrappers; `None` becomes its type."""
    while True:
        if annotation is None:
            return type(None)
        origin = typing.get_origin(annotation)
        if origin in (Annotated, typing.Required, typing.NotRequired, typing.Final, typing.ClassVar):
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def members(annotation: Any) -> tuple[Any, ...]:
    """Returns the members of a union; of anything else, itself alone."""
    annotation = bare(annotation)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return tuple(bare(member) for member in typing.get_args(annotation))
    return (annotation,)


def anything(annotation: Any) -> bool:
    """True where the annotation says nothing that can be checked."""
    return annotation is Any or annotation is object or isinstance(annotation, TypeVar)


def accepts(parameter: Any, result: Any) -> bool:
    """Says whether a value annotated `result` may be passed to a parameter annotated `parameter`."""
    if parameter is result:
        return True
    try:
        return _accepts_cached(parameter, result)
    except TypeError:  # an annotation that cannot be hashed
        return _accepts(parameter, result)


def _accepts(parameter: Any, result: Any) -> bool:
    wanted = members(parameter)
    if any(anything(member) for member in wanted):
        return True
    given = members(result)
    if any(anything(member) for member in given):
        return True
    return all(any(_member_accepts(want, have) for want in wanted) for have in given)


_accepts_cached = lru_cache(maxsize=4096)(_accepts)


def _member_accepts(want: Any, have: Any) -> bool:
    if want == have:
        return True
    if typing.get_origin(have) is Literal:
        values = typing.get_args(have)
        if typing.get_origin(want) is Literal:
            listed = [(type(value), value) for value in typing.get_args(want)]
            return all((type(value), value) in listed for value in values)
        return all(_member_accepts(want, type(value)) for value in values)
    if typing.get_origin(want) is Literal:
        return False
    want_class, have_class = typing.get_origin(want) or want, typing.get_origin(have) or have
    if typing.is_typeddict(have_class):
        return want_class is have_class or want_class in (dict, collections.abc.Mapping)
    if typing.is_typeddict(want_class):
        return False
    if not isinstance(want_class, type) or not isinstance(have_class, type):
        return bool(want_class is have_class)
    if want_class is float and have_class is int:
        return True
    try:
        if not issubclass(have_class, want_class):
            return False
    except TypeError:  # a protocol that cannot be checked by class
        return True
    return _arguments_accept(want, have, want_class, have_class)


def _arguments_accept(want: Any, have: Any, want_class: type, have_class: type) -> bool:
    wanted, given = typing.get_args(want), typing.get_args(have)
    if not wanted or not given:
        return True
    if have_class is tuple:
        if want_class is tuple:
            return _tuple_accepts(wanted, given)
        given = (Union[tuple(item for item in given if item is not Ellipsis)],)  # noqa: UP007
    if len(wanted) != len(given):
        return True
    return all(accepts(one, other) for one, other in zip(wanted, given, strict=True))


def _tuple_accepts(wanted: tuple[Any, ...], given: tuple[Any, ...]) -> bool:
    if wanted[-1] is Ellipsis:
        return all(accepts(wanted[0], item) for item in given if item is not Ellipsis)
    if given[-1] is Ellipsis or len(wanted) != len(given):
        return False
    return all(accepts(one, other) for one, other in zip(wanted, given, strict=True))


def element(annotation: Any, index: int = 0) -> Any:
    """Returns the annotation of the element at `index` of a list, tuple or sequence.

    Returns:
        `Any` where the annotation leaves it open; None where it holds no elements in order.
    """
    found: list[Any] = []
    for member in members(annotation):
        if anything(member):
            return Any
        origin = typing.get_origin(member) or member
        if origin not in _SEQUENCES:
            continue
        arguments = typing.get_args(member)
        if not arguments:
            return Any
        if origin is tuple and arguments[-1] is not Ellipsis:
            if index < len(arguments):
                found.append(arguments[index])
        else:
            found.append(arguments[0])
    if not found:
        return None
    return found[0] if len(found) == 1 else Union[tuple(found)]  # noqa: UP007


def iterated(annotation: Any) -> Any:
    """Returns the annotation of what comes out when a value is mapped over, or None where it cannot be."""
    found: list[Any] = []
    for member in members(annotation):
        if typing.get_origin(member) is tuple and typing.get_args(member)[-1:] != (Ellipsis,):
            found.extend(typing.get_args(member))
        else:
            part = element(member)
            if part is None:
                return None
            found.append(part)
    return Union[tuple(found)]  # noqa: UP007


def show(annotation: Any, full: bool = False) -> str:
    """Returns the annotation as a person writes it; with `full`, each class by its qualified name."""
    if isinstance(annotation, NewType):
        return annotation.__name__
    annotation = bare(annotation)
    if annotation is type(None):
        return "None"
    if annotation is Ellipsis:
        return "..."
    if annotation is Any:
        return "Any"
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " | ".join(show(member, full) for member in typing.get_args(annotation))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, typing.get_args(annotation)))}]"
    if origin is not None:
        arguments = typing.get_args(annotation)
        if isinstance(arguments[0] if arguments else None, list):  # Callable
            return str(annotation)
        return f"{show(origin, full)}[{', '.join(show(item, full) for item in arguments)}]"
    if isinstance(annotation, type):
        if annotation.__module__ == "builtins" or (not full and annotation.__module__.startswith("clearance.")):
            return annotation.__qualname__
        return f"{annotation.__module__}.{annotation.__qualname__}"
    return str(annotation)
