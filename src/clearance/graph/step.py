"""A step: the handle of a result that will exist when the run gets there, inside an `@dag` function."""

from __future__ import annotations

from typing import Any, NoReturn

from clearance.errors import GraphError
from clearance.graph.annotations import element, show
from clearance.graph.build import Declaration
from clearance.graph.constants import NoConstant, plain
from clearance.graph.definition import Definition
from clearance.graph.model import Binding, Element, Items, Result, Value
from clearance.graph.origin import call_site
from clearance.graph.wiring import Joinable

_DEPTH = 64


class Step(Joinable):
    """One task instance of the DAG that is being defined; pass it to tasks, map over it, join it with `>>`."""

    __slots__ = ("_declaration", "_definition")

    def __init__(self, declaration: Declaration, definition: Definition) -> None:
        self._declaration = declaration
        self._definition = definition

    def declare(self, definition: Definition) -> Declaration:
        if definition is not self._definition:
            raise GraphError(
                f"{self._declaration.where} belongs to dag {self._definition.dag!r}, not to {definition.dag!r}: "
                "call the task in the dag that uses it"
            )
        return self._declaration

    def __repr__(self) -> str:
        return f"<result of {self._declaration.where}>"

    def _unknown(self, *_: object) -> NoReturn:
        raise GraphError(
            f"{call_site()[0]}: the result of {self._declaration.where} is known only when the run gets there: "
            "map over it, or pass it to a task"
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith(("__", "_repr_", "_ipython")):
            raise AttributeError(name)
        self._unknown()

    __bool__ = __len__ = __iter__ = __int__ = __float__ = __index__ = __str__ = __hash__ = _unknown
    __getitem__ = __contains__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __format__ = _unknown
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __call__ = _unknown


class Item:
    """A mapped parameter of a group, in the group's function: each copy has an element of its own; pass it to tasks."""

    __slots__ = ("_group", "_name")

    def __init__(self, group: Declaration, name: str) -> None:
        self._group = group
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name} of {self._group.where}>"

    def _unknown(self, *_: object) -> NoReturn:
        raise GraphError(
            f"{call_site()[0]}: {self._name!r} of {self._group.where} is another value in each copy: "
            "map over it, or pass it to a task"
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith(("__", "_repr_", "_ipython")):
            raise AttributeError(name)
        self._unknown()

    __bool__ = __len__ = __iter__ = __int__ = __float__ = __index__ = __str__ = __hash__ = _unknown
    __getitem__ = __contains__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __format__ = _unknown
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __call__ = _unknown
    __rshift__ = __rrshift__ = _unknown

    def binding(self, definition: Definition) -> Element:
        """Returns the binding of a parameter that it fills.

        Raises:
            GraphError: it is used outside of its group.
        """
        if not f"{definition.group}.".startswith(f"{self._group.id}."):
            raise GraphError(
                f"{call_site()[0]}: {self._name!r} of {self._group.where} is used outside of the group: "
                "return what is made of it"
            )
        return Element(self._group.id, self._name)


def bind(value: Any, annotation: Any, definition: Definition, upstream: dict[str, None], depth: int = 0) -> Binding:
    """Returns the binding of an argument: a step's result, a list that holds steps, or a constant.

    Args:
        value: what the caller passed.
        annotation: of the parameter; `Any` where the check is left to the builder.
        definition: the DAG that is being defined.
        upstream: gets the ids of the steps that were found.
        depth: how many lists lie around the value.

    Raises:
        NoConstant: a constant that does not fit or cannot stand in a graph.
        GraphError: a step of another DAG.
    """
    if isinstance(value, Step):
        name = value.declare(definition).id
        upstream[name] = None
        return Result(name)
    if isinstance(value, Item):
        return value.binding(definition)
    if isinstance(value, Joinable):
        value_id = getattr(value, "id", "?")
        raise NoConstant(f"the task {value_id!r} itself is no value: call it, {value_id}(…), and pass its result")
    if type(value) in (list, tuple) and _holds_steps(value, depth):
        parts = []
        for index, item in enumerate(value):
            part = element(annotation, index)
            if part is None:
                raise NoConstant(f"a list of results is not {show(annotation)}")
            parts.append(bind(item, part, definition, upstream, depth + 1))
        return Items(tuple(parts))
    if isinstance(value, (dict, set, frozenset)) and _holds_steps([*value, *_values(value)], depth):
        raise NoConstant("a result can stand alone or in a list, not in a dict or set: pass it as its own parameter")
    return Value(plain(value, annotation))


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _holds_steps(items: Any, depth: int) -> bool:
    if depth > _DEPTH:
        raise NoConstant(f"lists are nested deeper than {_DEPTH} levels")
    for item in items:
        kind = type(item)
        if issubclass(kind, (Joinable, Item)):
            return True
        if kind in (list, tuple) and _holds_steps(item, depth + 1):
            return True
        if kind is dict and _holds_steps(item.values(), depth + 1):
            return True
    return False
