"""The DAG that is being defined: tasks that are called while it is active leave declarations in it.

It lives in a context variable, so that a task called anywhere else is just its function.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from clearance.graph.build import Declaration, duplicate
from clearance.graph.frame import Frame

_active: ContextVar[Definition | None] = ContextVar("clearance_definition", default=None)


class Ended(NamedTuple):
    """A block that has ended: its condition, and where it stood."""

    frame: Frame
    frames: tuple[Frame, ...]
    group: str
    made: int


class Definition:
    """Declarations in order, by id.

    Attributes:
        dag: id of the DAG.
        declarations: in the order in which they were made.
        prefix: what goes before the ids of the tasks that are called now: the groups around them.
        group: id of the innermost mapped group around them; empty where there is none.
        known: declarations by id.
        frames: the conditions of the `when` and `branch` blocks around what is called now, within its mapped group.
        last: the block that ended last.
        flows: flows whose edges are in already, by identity (kept, so that no identity is used again).
    """

    def __init__(self, dag: str) -> None:
        self.dag = dag
        self.declarations: list[Declaration] = []
        self.prefix = ""
        self.group = ""
        self.frames: tuple[Frame, ...] = ()
        self.last: Ended | None = None
        self.flows: dict[int, object] = {}
        self._bare: dict[int, list[tuple[object, str, Declaration]]] = {}
        self.known: dict[str, Declaration] = {}

    def add(self, declaration: Declaration) -> None:
        """Takes a declaration.

        Raises:
            GraphError: its id is taken.
        """
        if (first := self.known.setdefault(declaration.id, declaration)) is not declaration:
            raise duplicate(first, declaration)
        declaration.frames = self.frames
        self.declarations.append(declaration)

    def bare(self, task: object) -> Declaration | None:
        """Returns what a task that stands in `>>` without a call has declared here: in this group, around or in it."""
        found = [
            (prefix, declaration)
            for _, prefix, declaration in self._bare.get(id(task), ())
            if self.prefix.startswith(prefix) or prefix.startswith(self.prefix)
        ]
        return max(found, key=lambda one: len(one[0]))[1] if found else None

    def add_bare(self, task: object, declaration: Declaration) -> None:
        """Takes the declaration of a task that stands in `>>` without a call (the task is kept for its identity)."""
        self.add(declaration)
        self._bare.setdefault(id(task), []).append((task, self.prefix, declaration))

    @contextmanager
    def inside(self, name: str, mapped: str) -> Iterator[None]:
        """Prefixes the ids of what is declared meanwhile; `mapped` is the id of the group if it is a mapped one."""
        prefix, group, frames = self.prefix, self.group, self.frames
        self.prefix, self.group = f"{prefix}{name}.", mapped or group
        if mapped:
            self.frames = ()
        try:
            yield
        finally:
            self.prefix, self.group, self.frames = prefix, group, frames

    @contextmanager
    def framed(self, frame: Frame) -> Iterator[None]:
        """Puts what is declared meanwhile under a condition."""
        frames = self.frames
        self.frames = (*frames, frame)
        try:
            yield
        finally:
            self.frames = frames
            self.last = Ended(frame, frames, self.group, len(self.declarations))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes this the DAG in which tasks that are called leave their declarations."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)


def current() -> Definition | None:
    """Returns the definition that is active here, or None."""
    return _active.get()
