"""The one error hierarchy: every message says what is wrong, where, and the mend.

Each class carries the exit code with which the command line ends when the error reaches it:
1 a run failed, 2 wrong usage or a wrong graph, 3 refused by a desk, 4 infrastructure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ClearanceError(Exception):
    """Base of every error that Clearance raises on purpose."""

    exit_code = 4


class UsageError(ClearanceError):
    """An argument, a setting or a command is wrong."""

    exit_code = 2


class GraphError(UsageError):
    """A DAG or a task is not well formed: found before anything runs."""


class NotSerialisable(GraphError):
    """A type has no serializer, so a value of it cannot travel between tasks."""


class Refused(ClearanceError):
    """A desk denies: capacity that can never be given, or trust that is not there."""

    exit_code = 3


class Skip(ClearanceError):
    """Raised by a task that has nothing to do: it ends as skipped, and so does what depends on its success."""


class StepFailed(ClearanceError):
    """A step of a flow failed, after its last try; the flow may catch it.

    Attributes:
        step: its label, `train[3]`.
        kind: qualified name of the exception.
        message: of the exception.
    """

    def __init__(self, step: str, kind: str, message: str) -> None:
        super().__init__(f"step {step} failed: {kind.rpartition('.')[2]}: {message}")
        self.step = step
        self.kind = kind
        self.message = message


class FlowChanged(ClearanceError):
    """A flow that is repeated makes another call than the one that is recorded."""


class RunFailed(ClearanceError):
    """A run ended in another state than success."""

    exit_code = 1


class StoreError(ClearanceError):
    """The database or the blobs cannot do what was asked."""


class Corrupt(StoreError):
    """Bytes that were read do not have the digest by which they are known."""


class EngineError(ClearanceError):
    """The engine cannot launch or observe."""


class LeaseLost(ClearanceError):
    """Another controller leads now: this one must stop acting at once."""


class MissingExtra(UsageError):
    """An optional distribution is not installed; the message names the `pip install` line."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed: pip install 'clearance[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the nearest known name, else an empty string."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
