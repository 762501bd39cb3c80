"""`when`, `otherwise`, `branch`: blocks of an `@dag` function that run only if a condition on results holds.

    with when(best.score > 0.9):
        publish(best)
    with otherwise():
        report(best)

    with branch(size_of(data)) as size:
        with size.case("small"):
            local = train_here(data)
        with size.case("large", "huge"):
            remote = train_there(data)
    evaluate(local, remote)

Rules:

1. The condition becomes data. When the results that it reads are there, the controller judges it: where it does not
   hold, the tasks of the block are skipped, with the condition and the values as the reason.
2. A condition is judged before the trigger rule: where a task that it reads failed, the block is `upstream_failed`;
   where one was skipped, the block is skipped, and that of `otherwise` too.
3. Of a branch exactly one arm runs. A value that no arm names is an error, unless there is a default.
4. A task that depends on two arms of one branch and says no trigger rule has `none_failed_min_one_success`; it gets
   None for what was skipped.
5. In a mapped group conditions are judged in each copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clearance.errors import GraphError
from clearance.graph.annotations import anything, show
from clearance.graph.clause import Clause, Operand, clause_of, constant
from clearance.graph.definition import Definition, current
from clearance.graph.frame import Frame
from clearance.graph.origin import Site, call_site
from clearance.graph.predicate import SCALARS, Among, Not, Predicate, same
from clearance.graph.projection import choices, kinds
from clearance.graph.wiring import Joinable


def _definition(what: str) -> tuple[Definition, Site]:
    definition, site = current(), call_site()[0]
    if definition is None:
        raise GraphError(f"{site}: {what} stands in an @dag function; beside >> there are no conditions")
    return definition, site


@contextmanager
def _block(definition: Definition, frame: Frame, what: str) -> Iterator[None]:
    before = len(definition.declarations)
    with definition.framed(frame):
        yield
    if len(definition.declarations) == before:
        raise GraphError(f"{frame.site}: the block of {what} calls no task: take it away, or call one in it")


@contextmanager
def when(condition: Any) -> Iterator[None]:
    """Opens a block whose tasks run only if a condition holds; else they are skipped.

    Args:
        condition: comparisons of results, their parts and constants (`best.score > 0.9`, `kind.in_(["a", "b"])`,
            `best.note.is_none()`), joined by `&`, `|` and `~`; or a result that is a bool.

    Raises:
        GraphError: no condition; outside of an `@dag` function; a block that calls no task.
    """
    definition, site = _definition("when(…)")
    if isinstance(condition, Joinable) and not isinstance(condition, Operand):
        raise GraphError(f"{site}: when() got a task: call it, and compare its result")
    clause = clause_of(condition)
    check_group(clause, definition, site)
    with _block(definition, Frame(clause.predicate, site, object()), "when(…)"):
        yield


@contextmanager
def otherwise() -> Iterator[None]:
    """Opens the block that runs if the condition of the `when` block directly before it does not hold.

    Raises:
        GraphError: no such block stands directly before it.
    """
    definition, site = _definition("otherwise()")
    last = definition.last
    here = (definition.frames, definition.group, len(definition.declarations))
    if last is None or last[1:] != here or isinstance(last.frame.fork, Branch | _Closed):
        raise GraphError(f"{site}: otherwise() follows directly a block `with when(…):`, with nothing in between")
    frame = Frame(_contrary(last.frame.predicate), site, last.frame.fork)
    with _block(definition, frame, "otherwise()"):
        yield
    frame.fork, last.frame.fork = (closed := _Closed()), closed


class _Closed:
    """The fork of a `when` whose `otherwise` is there: no second one follows."""


def _contrary(predicate: Predicate) -> Predicate:
    return predicate.of if isinstance(predicate, Not) else Not(predicate)


def check_group(clause: Clause, definition: Definition, site: Site) -> None:
    """Checks that a condition is used in the mapped group to which it belongs, or in one inside.

    Raises:
        GraphError: it is used outside.
    """
    if clause.group and not f"{definition.group}.".startswith(f"{clause.group}."):
        raise GraphError(f"{site}: {clause!r} belongs to group {clause.group!r}: use it there")


class Branch:
    """The arms of a branch; made by `branch`.

    Args:
        definition: the DAG that is being defined.
        value: by which the arm is chosen.
        site: where the branch is written.
    """

    def __init__(self, definition: Definition, value: Operand, site: Site) -> None:
        self._definition = definition
        self._value = value
        self._site = site
        self._binding: Any = value.binding(definition)
        self._arms: list[tuple[Frame, tuple[Any, ...]]] = []
        self._default: Frame | None = None
        self._closed = False

    def case(self, *values: Any) -> Any:
        """Opens the arm that runs where the value is one of these.

        Raises:
            GraphError: no value, one that another arm has, or one that can never come.
        """
        site = call_site()[0]
        self._check_open(site)
        if not values:
            raise GraphError(f"{site}: case() names no value: write case('small'), or default()")
        plain = tuple(constant(self._value, value, self._definition) for value in values)
        allowed = choices(self._value.annotation(self._definition))
        for number, value in enumerate(plain):
            if any(same(value, other) for other in (*self._known, *plain[:number])):
                raise GraphError(f"{site}: {value!r} has an arm already: name each value once")
            if allowed is not None and not any(same(value, one) for one in allowed):
                raise GraphError(f"{site}: {self._value.known_as()} is never {value!r}: it is one of {list(allowed)!r}")
        frame = Frame(Among(self._binding, plain), site, self)
        self._arms.append((frame, plain))
        return _block(self._definition, frame, "case(…)")

    def default(self) -> Any:
        """Opens the arm that runs where the value is none that another arm names.

        Raises:
            GraphError: there is one already.
        """
        site = call_site()[0]
        self._check_open(site)
        if self._default is not None:
            raise GraphError(f"{site}: the branch has a default already, at {self._default.site}")
        self._default = Frame(Not(Among(self._binding, ())), site, self)
        return _block(self._definition, self._default, "default()")

    @property
    def _known(self) -> tuple[Any, ...]:
        return tuple(value for _, values in self._arms for value in values)

    def _check_open(self, site: Site) -> None:
        if self._closed:
            raise GraphError(f"{site}: the block of the branch ({self._site}) has ended: open its arms inside")

    def close(self) -> None:
        """Completes the conditions of the arms.

        Raises:
            GraphError: no arm, or a value that may come and has none.
        """
        self._closed = True
        known = self._known
        if not known:
            raise GraphError(f"{self._site}: the branch has no case: write `with NAME.case('small'):` in it")
        if self._default is not None:
            self._default.predicate = Not(Among(self._binding, known))
            return
        for value in choices(self._value.annotation(self._definition)) or ():
            if not any(same(value, one) for one in known):
                raise GraphError(f"{self._site}: the branch has no arm for {value!r}: add a case for it, or a default")
        for frame, values in self._arms:
            frame.predicate = Among(self._binding, values, known)


@contextmanager
def branch(value: Any) -> Iterator[Branch]:
    """Opens a branch: of its arms, `with NAME.case(…):` and `with NAME.default():`, exactly one runs.

    Args:
        value: a result, or a part of one, that is text, a number, a bool or None.

    Raises:
        GraphError: no result, or one that cannot be compared; outside of an `@dag` function; no case.
    """
    definition, site = _definition("branch(…)")
    if not isinstance(value, Operand):
        raise GraphError(f"{site}: branch() wants the result of a task, or a part of it, not {value!r}")
    annotation = value.annotation(definition)
    found = kinds(annotation)
    if not anything(annotation) and found is not None and not found & {*SCALARS}:
        raise GraphError(f"{site}: {value.known_as()} is {show(annotation)}: a branch goes by text, a number or a bool")
    made = Branch(definition, value, site)
    yield made
    made.close()
