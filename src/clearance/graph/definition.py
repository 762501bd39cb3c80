"""The DAG that is being defined: tasks that are called while it is active leave declarations in it.

It lives in a context variable, so that a task called anywhere else is just its function.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from clearance.graph.build import Declaration, duplicate

_active: ContextVar[Definition | None] = ContextVar("clearance_definition", default=None)


class Definition:
    """Declarations in order, by id.

    Attributes:
        dag: id of the DAG.
        declarations: in the order in which they were made.
        bare: what each task that stands in `>>` without a call has declared, by identity.
        flows: flows whose edges are in already, by identity (kept, so that no identity is used again).
    """

    def __init__(self, dag: str) -> None:
        self.dag = dag
        self.declarations: list[Declaration] = []
        self.bare: dict[int, tuple[object, Declaration]] = {}
        self.flows: dict[int, object] = {}
        self._known: dict[str, Declaration] = {}

    def add(self, declaration: Declaration) -> None:
        """Takes a declaration.

        Raises:
            GraphError: its id is taken.
        """
        if (first := self._known.setdefault(declaration.id, declaration)) is not declaration:
            raise duplicate(first, declaration)
        self.declarations.append(declaration)

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
