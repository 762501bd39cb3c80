"""A step: the handle of a result that will exist when the run gets there, inside an `@dag` function."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, NoReturn

import msgspec

from clearance.errors import GraphError
from clearance.graph.annotations import element, show
from clearance.graph.binding import Binding, Element, Items, Path, Result, Value, steps
from clearance.graph.build import Declaration
from clearance.graph.clause import Clause, Operand
from clearance.graph.constants import NoConstant, plain
from clearance.graph.definition import Definition
from clearance.graph.nesting import Nesting
from clearance.graph.origin import call_site
from clearance.graph.wiring import Joinable

_DEPTH = 64


class Step(Joinable, Operand):
    """One task instance of the DAG that is being defined; pass it to tasks, map over it, join it with `>>`.

    A part of its result is `step.field`, `step["key"]` or `step[0]`; compared, it is a condition for `when`.
    """

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

    def teardown(self, stop: Any, *, fails_run: bool = False) -> AbstractContextManager[Step]:
        """Takes down what this task set up, when all that is called in the block has ended, however it ended.

        Args:
            stop: a task, which receives the result where it has room for it, or a step.
            fails_run: whether its failure makes the run a failure.

        Raises:
            GraphError: no task, one that is mapped, or a block that calls none.
        """
        from clearance.graph.teardown import block

        return block(self._definition, self, stop, fails_run)

    def __repr__(self) -> str:
        return f"<{self.known_as()}>"

    def known_as(self) -> str:
        return f"the result of {self._declaration.where}"

    def binding(self, definition: Definition) -> Result:
        return Result(self.declare(definition).id)

    def annotation(self, definition: Definition) -> Any:
        return Nesting(definition.known).seen_in(self._declaration, definition.group)

    __hash__ = Operand._unknown


class Item(Operand):
    """A mapped parameter of a group, in the group's function: each copy has an element of its own; pass it to tasks."""

    __slots__ = ("_group", "_name")

    def __init__(self, group: Declaration, name: str) -> None:
        self._group = group
        self._name = name

    def __repr__(self) -> str:
        return f"<{self.known_as()}>"

    def known_as(self) -> str:
        return f"{self._name!r} of {self._group.where}"

    def _unknown(self, *_: object) -> NoReturn:
        raise GraphError(
            f"{call_site()[0]}: {self.known_as()} is another value in each copy: map over it, or pass it to a task"
        )

    def annotation(self, definition: Definition) -> Any:
        return Nesting(definition.known).element(Element(self._group.id, self._name))

    __len__ = __iter__ = __int__ = __float__ = __index__ = __str__ = __hash__ = _unknown
    __contains__ = __format__ = __call__ = __rshift__ = __rrshift__ = _unknown
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _unknown

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


class Part(Operand):
    """A part of a result, or of an element of a mapped group: pass it to tasks, map over it, compare it."""

    __slots__ = ("_annotation", "_group", "_of", "_path")

    def __init__(self, of: Operand, path: Path, annotation: Any, definition: Definition) -> None:
        self._of: Operand = of.source if isinstance(of, Part) else of
        self._path = path
        self._annotation = annotation
        self._group = definition.group

    def __repr__(self) -> str:
        return f"<{self.known_as()}>"

    def known_as(self) -> str:
        return f"{steps(self._path)} of {self._of.known_as()}"

    def binding(self, definition: Definition) -> Result | Element:
        if not f"{definition.group}.".startswith(f"{self._group}.") and self._group:
            raise GraphError(
                f"{call_site()[0]}: {self.known_as()} is used outside of group {self._group!r}, where it was named: "
                "return the step, and name its part outside"
            )
        whole = self._of.binding(definition)
        assert isinstance(whole, Result | Element)
        return msgspec.structs.replace(whole, path=self._path)

    def annotation(self, definition: Definition) -> Any:
        return self._annotation

    @property
    def source(self) -> Operand:
        """The step, or the element, of which it is a part."""
        return self._of


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
    if isinstance(value, Part):
        if isinstance(value.source, Step):
            upstream[value.source.declare(definition).id] = None
        return value.binding(definition)
    if isinstance(value, Item):
        return value.binding(definition)
    if isinstance(value, Clause):
        raise NoConstant(f"{value!r} is no value: return it from a task, or write `with when(…):`")
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
        if issubclass(kind, (Joinable, Operand)):
            return True
        if kind in (list, tuple) and _holds_steps(item, depth + 1):
            return True
        if kind is dict and _holds_steps(item.values(), depth + 1):
            return True
    return False
