"""What a task may know of itself: `from clearance import context`.

Inside a task (or a service's entry point) `context` answers; anywhere else it says that no task is running.
Importing it costs nothing: it is plain attributes, filled in by the engine before the function is called.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearance.errors import ClearanceError, UsageError

if TYPE_CHECKING:
    from clearance.types.deferral import Resumed

if TYPE_CHECKING:
    from clearance.graph.schedule import Interval
    from clearance.types.cause import Cause, Trigger


MOST_CARDS = 64


class Facts:
    """What the engine knows of the attempt that runs in this process.

    Attributes:
        run: id of the run.
        task: id of the task.
        instance: index among the mapped instances; -1 when the task is not mapped.
        attempt: unique key of this attempt.
        number: which attempt this is, from 1.
        node: name of the node that it is on; empty for this machine's.
        rank: which process of the gang this is, from 0.
        size: number of processes of the gang.
        rendezvous: `file://` URL, the same for every rank; an `init_method` of `torch.distributed`.
        directory: the process's own working directory.
        checkpoint: the directory that is kept for the next attempt; empty when the launch names none.
        grace: seconds between the notice (SIGTERM) and the kill.
        ready: how `context.ready` reaches the engine; None where there is nobody to tell.
        cause: what started the run; None where somebody did.
        resumed: what this attempt is told that goes on after a wait.
        cards: what it has shown so far.
        evicting: notice was given.
        earlier: what SIGTERM did before the task asked for it; None where it has not.
    """

    __slots__ = (
        "attempt",
        "cards",
        "cause",
        "checkpoint",
        "directory",
        "earlier",
        "evicting",
        "grace",
        "instance",
        "node",
        "number",
        "rank",
        "ready",
        "rendezvous",
        "resumed",
        "run",
        "size",
        "task",
    )

    def __init__(
        self,
        *,
        attempt: str,
        run: str = "",
        task: str = "",
        instance: int = -1,
        number: int = 1,
        node: str = "",
        rank: int = 0,
        size: int = 1,
        rendezvous: str = "",
        directory: str = ".",
        checkpoint: str = "",
        grace: float = 10.0,
        ready: Callable[[dict[str, Any]], None] | None = None,
        cause: Cause | None = None,
        resumed: Resumed | None = None,
    ) -> None:
        self.attempt = attempt
        self.run = run
        self.task = task
        self.instance = instance
        self.number = number
        self.node = node
        self.rank = rank
        self.size = size
        self.rendezvous = rendezvous
        self.directory = directory
        self.checkpoint = checkpoint
        self.grace = grace
        self.ready = ready
        self.cause = cause
        self.resumed = resumed
        self.cards: list[Any] = []
        self.evicting = False
        self.earlier: Any = None


class Context:
    """The task that runs in this process. Every attribute raises `ClearanceError` when there is none."""

    def __init__(self) -> None:
        self._facts: Facts | None = None

    def _enter(self, facts: Facts | None) -> None:
        if self._facts is not None and self._facts.earlier is not None:
            signal.signal(signal.SIGTERM, self._facts.earlier)
        self._facts = facts

    def _shown(self) -> list[Any]:
        return self._facts.cards if self._facts is not None else []

    def _now(self) -> Facts:
        if self._facts is None:
            raise ClearanceError(
                "no task is running here: clearance.context answers only inside a function that Clearance runs"
            )
        return self._facts

    @property
    def run(self) -> str:
        """Id of the run."""
        return self._now().run

    @property
    def task(self) -> str:
        """Id of the task."""
        return self._now().task

    @property
    def instance(self) -> int:
        """Index among the mapped instances; -1 when the task is not mapped."""
        return self._now().instance

    @property
    def attempt(self) -> str:
        """Unique key of this attempt."""
        return self._now().attempt

    @property
    def number(self) -> int:
        """Which attempt this is, from 1."""
        return self._now().number

    @property
    def node(self) -> str:
        """Name of the node that this process is on."""
        return self._now().node or os.uname().nodename

    @property
    def rank(self) -> int:
        """Which process of the gang this is, from 0."""
        return self._now().rank

    @property
    def size(self) -> int:
        """Number of processes of the gang."""
        return self._now().size

    @property
    def rendezvous(self) -> str:
        """A `file://` URL, the same for every rank: `init_process_group(init_method=context.rendezvous, …)`."""
        return self._now().rendezvous

    @property
    def directory(self) -> Path:
        """This process's own working directory; it is removed when the result is committed."""
        return Path(self._now().directory)

    @property
    def checkpoint_dir(self) -> Path:
        """A directory that the next attempt of this task finds as this one left it; made on first use.

        Raises:
            ClearanceError: what runs here was launched without one.
        """
        checkpoint = self._now().checkpoint
        if not checkpoint:
            raise ClearanceError(f"{self.attempt} has no checkpoint directory: it was launched without one")
        os.makedirs(checkpoint, mode=0o700, exist_ok=True)
        return Path(checkpoint)

    @property
    def grace(self) -> float:
        """Seconds between the notice (SIGTERM) and the kill."""
        return self._now().grace

    @property
    def evicting(self) -> bool:
        """Whether this process was told to leave: `grace` seconds later it is killed.

        The first look takes SIGTERM over, which ends the process until then. A task looks once before its work, and
        then wherever it can save and leave: `if context.evicting: save(); raise Evicted`. One that returns within the
        grace has succeeded.

        Raises:
            ClearanceError: the first look is not in the main thread, which alone can take a signal over.
        """
        facts = self._now()
        if facts.earlier is None:

            def notice(_number: int, _frame: object) -> None:
                facts.evicting = True

            try:
                facts.earlier = signal.signal(signal.SIGTERM, notice) or signal.SIG_DFL
            except ValueError:
                raise ClearanceError(
                    "context.evicting was first looked at in a thread: look once in the main thread before it starts"
                ) from None
        return facts.evicting

    @property
    def data_interval(self) -> Interval | None:
        """The data interval of a run that a schedule or a backfill started, `start` and `end` in UTC; else None."""
        cause = self._now().cause
        if cause is None or cause.start is None or cause.end is None:
            return None
        from datetime import UTC, datetime

        from clearance.graph.schedule import Interval

        return Interval(datetime.fromtimestamp(cause.start, UTC), datetime.fromtimestamp(cause.end, UTC))

    @property
    def events(self) -> tuple[Trigger, ...]:
        """The events of assets that started the run, oldest first: `number`, `asset`, `key`, `at`; else none.

        Of more than 1,000 the newest.
        """
        cause = self._now().cause
        return () if cause is None else cause.events

    @property
    def key(self) -> str | None:
        """The partition key or window for which events started the run; else None."""
        cause = self._now().cause
        return None if cause is None else cause.key

    @property
    def resumed(self) -> Resumed | None:
        """What happened, where an attempt before this one raised `Defer`: kind, key, state, payload; else None."""
        return self._now().resumed

    def card(self, *parts: Any) -> None:
        """Shows something beside what the task returns: `clearance artifact show` prints it.

        Args:
            *parts: `Markdown`, `HTML`, `Image`, matplotlib figures. A figure is drawn when the task returns.

        Raises:
            UsageError: something else, or more than 64 in one attempt.
        """
        from clearance.store.plain import special

        facts = self._now()
        for part in parts:
            if special(type(part)) != "card":
                raise UsageError(f"context.card takes Markdown, HTML, Image or a figure, not {type(part).__name__}")
        if len(facts.cards) + len(parts) > MOST_CARDS:
            raise UsageError(f"context.card: an attempt shows at most {MOST_CARDS} cards")
        facts.cards += parts

    def ready(self, info: dict[str, Any]) -> None:
        """Says that this service can answer, and how it is reached.

        Args:
            info: JSON-compatible facts, for example `{"url": "http://127.0.0.1:8080"}`.

        Raises:
            ClearanceError: what runs here is no service.
        """
        tell = self._now().ready
        if tell is None:
            raise ClearanceError(f"{self.attempt} is no service: only a service's entry point may call context.ready")
        tell(info)


context = Context()
