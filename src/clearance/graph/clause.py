"""What a pipeline writes as a condition: `best.score > 0.9`, joined by `&`, `|`, `~`; it becomes a `Predicate`."""

from __future__ import annotations

import enum
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn

from clearance.errors import GraphError
from clearance.graph.annotations import anything, show
from clearance.graph.binding import Binding, Value, written
from clearance.graph.definition import Definition, current
from clearance.graph.origin import call_site
from clearance.graph.predicate import SCALARS, Among, Compare, Every, Holds, Not, Predicate, Some, kind, text
from clearance.graph.projection import NoPart, incomparable, kinds, project

if TYPE_CHECKING:
    from clearance.graph.step import Part

_MEND = "write & for and, | for or, ~ for not, .in_([…]) for in, (0 < x) & (x < 1) for a chain"


class _Logical:
    """What `&` and `|` join to a condition."""

    __slots__ = ()

    def __and__(self, other: Any) -> Clause:
        return _joined(Every, self, other)

    def __rand__(self, other: Any) -> Clause:
        return _joined(Every, other, self)

    def __or__(self, other: Any) -> Clause:
        return _joined(Some, self, other)

    def __ror__(self, other: Any) -> Clause:
        return _joined(Some, other, self)


class Clause(_Logical):
    """A condition; give it to `when`.

    Attributes:
        predicate: the condition as data.
        group: id of the innermost mapped group to which it belongs; empty outside of every one.
    """

    __slots__ = ("group", "predicate")

    def __init__(self, predicate: Predicate, group: str) -> None:
        self.predicate = predicate
        self.group = group

    def __repr__(self) -> str:
        return f"<condition {text(self.predicate)}>"

    def __invert__(self) -> Clause:
        of = self.predicate
        return Clause(of.of if isinstance(of, Not) else Not(of), self.group)

    def _no_value(self, *_: object) -> NoReturn:
        raise GraphError(
            f"{call_site()[0]}: condition {text(self.predicate)} is judged only when the run gets there: "
            f"give it to `with when(…):`; {_MEND}"
        )

    __bool__ = __len__ = __iter__ = __int__ = __float__ = __index__ = __hash__ = __call__ = __contains__ = _no_value
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __getitem__ = _no_value


class Operand(_Logical, ABC):
    """A value that the run will know: its parts, and comparisons with it."""

    __slots__ = ()

    @abstractmethod
    def known_as(self) -> str:
        """How an error names it."""

    @abstractmethod
    def binding(self, definition: Definition) -> Binding:
        """Returns the binding of a parameter that it fills.

        Raises:
            GraphError: it is used where it is not known.
        """

    @abstractmethod
    def annotation(self, definition: Definition) -> Any:
        """Returns the annotation of the value, as it is seen from what is defined now."""

    def _part(self, key: str | int, attribute: bool) -> Part:
        from clearance.graph.step import Part

        definition = _current(self)
        try:
            annotation, step = project(self.annotation(definition), key, attribute)
        except NoPart as error:
            mend = (
                ""
                if ":" in str(error) or "; it has" in str(error)
                else (", and is known only when the run gets there: map over it, or pass it to a task")
            )
            raise GraphError(f"{call_site()[0]}: {self.known_as()}: {error}{mend}") from None
        binding = self.binding(definition)
        path = (*binding.path, step)  # type: ignore[union-attr]
        return Part(self, path, annotation, definition)

    def __getattr__(self, name: str) -> Part:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._part(name, True)

    def __getitem__(self, key: Any) -> Part:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise GraphError(f"{call_site()[0]}: {self.known_as()}: [{key!r}] is no name and no position")
        return self._part(key, False)

    def in_(self, values: Any) -> Clause:
        """Says that the value is one of these.

        Raises:
            GraphError: no list of numbers, text, booleans or None, or values that it can never have.
        """
        definition = _current(self)
        if not isinstance(values, list | tuple | set | frozenset) or not values:
            raise GraphError(f"{call_site()[0]}: {self.known_as()}: in_ wants a list of values, not {values!r}")
        plain = tuple(constant(self, value, definition) for value in values)
        return Clause(Among(self.binding(definition), plain), definition.group)

    def is_none(self) -> Clause:
        """Says that the value is None."""
        return _compare(self, "==", None)

    def __eq__(self, other: Any) -> Clause:  # type: ignore[override]
        return _compare(self, "==", other)

    def __ne__(self, other: Any) -> Clause:  # type: ignore[override]
        return _compare(self, "!=", other)

    def __gt__(self, other: Any) -> Clause:
        return _compare(self, ">", other)

    def __ge__(self, other: Any) -> Clause:
        return _compare(self, ">=", other)

    def __lt__(self, other: Any) -> Clause:
        return _compare(self, "<", other)

    def __le__(self, other: Any) -> Clause:
        return _compare(self, "<=", other)

    def __invert__(self) -> Clause:
        return ~clause_of(self)

    def _undecided(self) -> NoReturn:
        raise GraphError(
            f"{call_site()[0]}: {self.known_as()} is known only when the run gets there: "
            f"give the condition to `with when(…):`; {_MEND}"
        )

    def _unknown(self, *_: object) -> NoReturn:
        raise GraphError(
            f"{call_site()[0]}: {self.known_as()} is known only when the run gets there: "
            "map over it, or pass it to a task"
        )

    __bool__ = _undecided
    __len__ = __iter__ = __int__ = __float__ = __index__ = __str__ = __hash__ = _unknown
    __contains__ = __format__ = __call__ = _unknown
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _unknown


def clause_of(value: Any) -> Clause:
    """Returns the condition that something is: a clause, or a value that is true or false.

    Raises:
        GraphError: neither, or a value that is no bool.
    """
    if isinstance(value, Clause):
        return value
    if not isinstance(value, Operand):
        what = "a condition that is known already: write a plain if" if isinstance(value, bool) else "no condition"
        raise GraphError(f"{call_site()[0]}: {value!r} is {what}; a condition is made of results: best.score > 0.9")
    definition = _current(value)
    annotation = value.annotation(definition)
    if not anything(annotation) and "bool" not in (kinds(annotation) or {"bool"}):
        raise GraphError(
            f"{call_site()[0]}: {value.known_as()} is {show(annotation)} and no bool: compare it, for example with > 0"
        )
    return Clause(Holds(value.binding(definition)), definition.group)


def constant(operand: Operand, value: Any, definition: Definition) -> Any:
    """Returns the constant with which an operand is compared, as plain data.

    Raises:
        GraphError: it cannot be compared, or the operand never has it.
    """
    plain = value.value if isinstance(value, enum.Enum) else value
    if kind(plain) not in SCALARS or (isinstance(plain, float) and not math.isfinite(plain)):
        raise GraphError(
            f"{call_site()[0]}: {operand.known_as()} is compared with {value!r}: "
            "numbers, text, booleans and None are compared"
        )
    if plain is not None and (reason := incomparable(operand.annotation(definition), "==", type(plain))):
        raise GraphError(f"{call_site()[0]}: {operand.known_as()} and {value!r}: {reason}")
    return plain


def _compare(left: Operand, op: str, right: Any) -> Clause:
    definition = _current(left)
    annotation = left.annotation(definition)
    if isinstance(right, Operand):
        bound, other = right.binding(definition), right.annotation(definition)
    else:
        plain = right.value if isinstance(right, enum.Enum) else right
        bound, other = Value(plain), type(plain)
        if kind(plain) not in SCALARS:
            constant(left, right, definition)
    if reason := incomparable(annotation, op, other):
        where = f"{written(left.binding(definition))} {op} {written(bound)}"
        raise GraphError(f"{call_site()[0]}: condition {where}: {reason}")
    if isinstance(bound, Value):
        bound = Value(constant(left, bound.value, definition))
    return Clause(Compare(left.binding(definition), op, bound), definition.group)


def _joined(kind: type[Every] | type[Some], left: Any, right: Any) -> Clause:
    one, other = clause_of(left), clause_of(right)
    parts = tuple(
        part
        for each in (one.predicate, other.predicate)
        for part in (each.of if isinstance(each, kind) else (each,))
    )  # fmt: skip
    return Clause(kind(parts), max(one.group, other.group, key=len))


def _current(operand: Operand) -> Definition:
    definition = current()
    if definition is None:
        raise GraphError(f"{call_site()[0]}: {operand.known_as()} can be compared only in its @dag function")
    return definition
