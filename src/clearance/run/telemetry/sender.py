"""The thread of one sink: it reads what is due, sends it, and reports; it never writes to the database.

A sink that hangs holds up nobody but itself. What is sent is made of committed rows, on a read-only connection of the
thread's own. What was tried is not tried again before the controller has committed the outcome.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from clearance.errors import ClearanceError, StoreError
from clearance.run.telemetry.facts import Facts
from clearance.run.telemetry.transport import batches
from clearance.run.telemetry.transport.post import Undelivered
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.types import masking
from clearance.types.sink import Sink

BATCH = 200
AGAIN = 1.0
REPORT = 0.05
GATHER = {"otel": 0.2, "openlineage": 0.05}  # seconds, so that there is more to send and to commit at once
Key = tuple[int, int]  # run, seq


class Delivery(msgspec.Struct, frozen=True):
    """A row: an event of a run for a sink. `state` is `pending`, `delivered` or `failed`; times since 1970."""

    sink: str
    run: int
    seq: int
    kind: str
    state: str
    attempts: int
    due_at: float
    created_at: float
    finished_at: float | None
    message: str


class Outcome(NamedTuple):
    """How a try went: `error` is empty when it was delivered; `after` is how long the sink asks to be left alone."""

    delivery: Delivery
    error: str
    after: float = 0.0


class Sender:
    """Sends the deliveries of one sink.

    Args:
        sink: where to.
        settings: where the database and the blobs are.
        wake: descriptor to which a byte is written when there are outcomes.
        clock: seconds since 1970.
    """

    def __init__(self, sink: Sink, settings: Settings, wake: int, clock: Callable[[], float] = time.time) -> None:
        self.sink = sink
        self.outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._settings = settings
        self._wake = wake
        self._clock = clock
        self._tried: set[Key] = set()
        self._condition = threading.Condition()
        self._nudged = True
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def nudge(self, settled: Iterable[Key] = ()) -> None:
        """There may be something to do; the outcomes of `settled` are committed."""
        with self._condition:
            self._tried.difference_update(settled)
            self._nudged = True
            self._condition.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"sink {self.sink.name}", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread, unless it hangs in a try: then it ends with the process."""
        with self._condition:
            self._stopped.set()
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(0.2)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with Database(self._settings.database, read_only=True) as database:
                    self._serve(database)
            except StoreError:
                self._wait(AGAIN)

    def _serve(self, database: Database) -> None:
        facts = Facts(database)
        while not self._stopped.is_set():
            with self._condition:
                self._nudged = False
                tried = set(self._tried)
            rows = database.rows("deliveries_due", self.sink.name, self._clock(), BATCH + len(tried))
            due = [row for row in (Delivery(*each) for each in rows) if (row.run, row.seq) not in tried]
            if not due:
                (next_at,) = database.rows("deliveries_next", self.sink.name)[0]
                later = next_at - self._clock() if next_at is not None else None
                self._wait(later if later is not None and later > 0 else None)
                continue
            reported = time.monotonic()
            try:
                for part in batches.parts(self.sink, due):
                    if self._stopped.is_set():
                        return
                    self._try(facts, part)
                    if time.monotonic() - reported > REPORT:
                        reported = time.monotonic()
                        self._report()
            finally:
                self._report()

    def _report(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake, b"d")

    def _try(self, facts: Facts, part: list[Delivery]) -> None:
        error, after = "", 0.0
        try:
            batches.send(self.sink, facts, part, self._clock(), self._settings.blobs)
        except StoreError:
            raise
        except Undelivered as refused:
            error, after = str(refused), refused.after
        except ClearanceError as refused:
            error = str(refused)
        except Exception as fault:
            error = f"{type(fault).__name__}: {fault}: this is a fault in Clearance"
        error = masking.masker.text(error)[:500] if error else ""
        with self._condition:
            self._tried.update((row.run, row.seq) for row in part)
        for row in part:
            self.outcomes.put(Outcome(row, error, after))

    def _wait(self, seconds: float | None) -> None:
        with self._condition:
            if not self._nudged and not self._stopped.is_set():
                self._condition.wait(seconds)
        self._stopped.wait(GATHER.get(self.sink.kind, 0.0))
