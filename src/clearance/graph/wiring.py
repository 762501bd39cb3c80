"""`>>`: order between tasks, and the flow of results along it.

`a >> b`, `a >> [b, c] >> d`, `[a, b] >> c` and `chain(a, b, c)` make a `Flow`: every last task on the left
goes before every first task on the right. A flow is a tree of flows, walked without recursion, so that a chain
of twenty thousand tasks is no deeper than one of two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Union

from clearance.errors import GraphError
from clearance.graph.build import Declaration
from clearance.graph.definition import Definition, current


class Joinable(ABC):
    """What can stand beside `>>`."""

    __slots__ = ()

    def __rshift__(self, other: Side) -> Flow:
        return join(self, other)

    def __rrshift__(self, other: Side) -> Flow:
        return join(other, self)

    @abstractmethod
    def declare(self, definition: Definition) -> Declaration:
        """Returns its declaration in the definition, made now if there is none."""


Side = Union["Joinable", "Flow", Sequence[Union["Joinable", "Flow"]]]


class Flow:
    """Two sides of a `>>`.

    Attributes:
        first: the tasks with which it begins.
        last: the tasks with which it ends.
    """

    __slots__ = ("edges", "first", "last", "parts")

    def __init__(self, parts: tuple[Joinable | Flow, ...], first: Ends, last: Ends, edges: tuple[Ends, Ends]) -> None:
        self.parts = parts
        self.first = first
        self.last = last
        self.edges = edges

    def __rshift__(self, other: Side) -> Flow:
        return join(self, other)

    def __rrshift__(self, other: Side) -> Flow:
        return join(other, self)


Ends = tuple[Joinable, ...]


def parts_of(side: Any) -> tuple[Joinable | Flow, ...]:
    """Returns what a side of `>>` holds.

    Raises:
        GraphError: something that is no task, step or flow.
    """
    items = tuple(side) if isinstance(side, (list, tuple)) else (side,)
    for item in items:
        if not isinstance(item, (Joinable, Flow)):
            mend = "decorate it with @task" if callable(item) else "write tasks, or a list of tasks"
            mend = getattr(item, "not_beside", mend)
            shown = getattr(item, "__name__", None) or repr(item)
            raise GraphError(f"{shown} stands beside >> but is no task: {mend}")
    return items


def join(left: Side, right: Side) -> Flow:
    """Returns the flow in which everything on the left goes before everything on the right."""
    before, after = parts_of(left), parts_of(right)
    if not before or not after:
        raise GraphError("an empty list stands beside >>: there is no task to connect")
    last = tuple(end for part in before for end in (part.last if isinstance(part, Flow) else (part,)))
    start = tuple(end for part in after for end in (part.first if isinstance(part, Flow) else (part,)))
    first = tuple(end for part in before for end in (part.first if isinstance(part, Flow) else (part,)))
    final = tuple(end for part in after for end in (part.last if isinstance(part, Flow) else (part,)))
    flow = Flow(before + after, first, final, (last, start))
    if (definition := current()) is not None:
        absorb(definition, (flow,))
    return flow


def chain(*sides: Side) -> Flow:
    """Returns `a >> b >> c …`; each argument is a task, a step, a flow, or a list of these.

    Raises:
        GraphError: fewer than two arguments.
    """
    if len(sides) < 2:
        raise GraphError("chain() joins at least two tasks: chain(a, b)")
    flow = join(sides[0], sides[1])
    for side in sides[2:]:
        flow = join(flow, side)
    return flow


def absorb(definition: Definition, items: Sequence[Joinable | Flow]) -> None:
    """Declares everything the flows hold, left to right, and draws their edges; each flow once."""
    stack: list[tuple[Joinable | Flow, bool]] = [(item, False) for item in reversed(items)]
    while stack:
        item, walked = stack.pop()
        if not isinstance(item, Flow):
            item.declare(definition)
        elif walked:
            for before in item.edges[0]:
                name = before.declare(definition).id
                for after in item.edges[1]:
                    after.declare(definition).upstream[name] = None
        elif id(item) not in definition.flows:
            definition.flows[id(item)] = item
            stack.append((item, True))
            stack.extend((part, False) for part in reversed(item.parts))
