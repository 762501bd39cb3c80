"""The one error hierarchy: every message says what is wrong, where, and the mend.

Each class carries the exit code with which the command line ends when the error reaches it:
1 a run failed, 2 wrong usage or a wrong graph, 3 refused by a desk, 4 infrastructure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime


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


class Evicted(ClearanceError):
    """Raised by a task that was told to leave (`context.evicting`) and has saved its work: the next attempt goes on."""

    def __init__(self, message: str = "it was told to leave, and has left") -> None:
        super().__init__(message)


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


class Defer(ClearanceError):
    """Raised by a task that must wait: its attempt ends, it holds nothing, and it is launched again afterwards.

    It uses no retry. The next attempt finds `state`, and what happened, in `clearance.context.resumed`.

    Args:
        kind: what it waits for: `time`, `approval` (a person's decision), `run` (the end of another run) or `asset`
            (an event of an asset).
        key: which: the id of the run; `ASSET` or `ASSET#KEY`. Empty for the others.
        seconds: it is launched again after so many seconds, whatever happens; `time` needs this or `until`.
        until: the same as a moment, with its time zone.
        timeout: seconds since its first attempt began, after which it is launched no more and has failed.
        soft: it is then skipped, and has not failed.
        state: JSON-compatible data for the next attempt, at most 64 KiB.
        details: JSON-compatible facts for whoever asks why it waits. `approval`: `message`, `approvers`; `run`: `dag`,
            `parameters` and `wait`, where the run is to be started.

    Raises:
        UsageError: a value that is none.
    """

    KINDS = ("time", "approval", "run", "asset")

    def __init__(
        self,
        kind: str = "time",
        key: str = "",
        *,
        seconds: float | None = None,
        until: datetime.datetime | None = None,
        timeout: float | None = None,
        soft: bool = False,
        state: Any = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        if kind not in self.KINDS:
            raise UsageError(f"Defer({kind!r}): use one of {', '.join(self.KINDS)}{nearest(str(kind), self.KINDS)}")
        if (kind in ("run", "asset")) != bool(key):
            raise UsageError(f"Defer({kind!r}, {key!r}): `run` and `asset` need a key, the others have none")
        for name, value in (("seconds", seconds), ("timeout", timeout)):
            if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1e10):
                raise UsageError(f"Defer({name}={value!r}): write seconds, from 0 to 1e10")
        if until is not None and until.tzinfo is None:
            raise UsageError(f"Defer(until={until!r}): give it a time zone, for example tzinfo=datetime.UTC")
        if kind == "time" and seconds is None and until is None:
            raise UsageError("Defer('time') needs seconds=… or until=…")
        super().__init__(f"waits for {key or kind}")
        self.data = {
            "kind": kind, "key": key, "seconds": seconds, "until": until.timestamp() if until else None,
            "timeout": timeout, "soft": soft, "state": _json(state, "state"),
            "details": _json(details or {}, "details"),
        }  # fmt: skip


def _json(value: Any, what: str) -> Any:
    import json

    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"Defer({what}=…): {error}: use what JSON can hold") from None
    if len(text) > 65536:
        raise UsageError(f"Defer({what}=…) has {len(text)} bytes, more than 65536: keep it in context.checkpoint_dir")
    return json.loads(text)


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
    import difflib

    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
