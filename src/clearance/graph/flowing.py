"""The port through which a task that is called in a running flow becomes a step; `engine.flow` fills it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from clearance.graph.task import Task


class Future(Protocol):
    """A step that may not have ended."""

    def done(self) -> bool:
        """Returns whether `result` would not wait."""

    def result(self) -> Any:
        """Waits for the end of the step and returns what it returned.

        Raises:
            StepFailed: it failed.
        """


class Caller(Protocol):
    """What makes steps of calls."""

    def submit(self, task: Task[..., Any], arguments: Mapping[str, Any]) -> Future:
        """Begins a step; one that runs in the flow's own process has ended when this returns."""

    def inside(self, flow: str) -> AbstractContextManager[None]:
        """Steps that are called meanwhile belong to this flow, which the running one calls."""


_active: Caller | None = None


def caller() -> Caller | None:
    """Returns what makes steps of the calls of tasks now; None where a task that is called is just its function."""
    return _active


def use(new: Caller | None) -> Caller | None:
    """Puts another in its place, and returns the one before."""
    global _active
    before, _active = _active, new
    return before
