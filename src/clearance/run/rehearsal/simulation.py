"""Simulation: which runs schedules and assets would start between two moments, with the time in between skipped.

The real controller, its schedules and its mediator on a scratch database; only the engine is none: a task succeeds
after as long as its DAG says (`expect`), and writes its outlets.
"""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from clearance.engine.base import Event, Finished, Launch, Node, Snapshot, Started, Traffic
from clearance.errors import UsageError
from clearance.graph.dag import Dag
from clearance.graph.model import encode
from clearance.run import rows
from clearance.run.controller import Controller
from clearance.run.host import lease
from clearance.run.host.orders import Emit
from clearance.run.look.reading import moment
from clearance.run.rehearsal.clock import FakeClock
from clearance.run.starts import causes
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.types.digest import digest_of

MOST = 100_000


class Simulated(msgspec.Struct, frozen=True):
    """A run that would be started.

    Attributes:
        at: when it is made, in UTC.
        dag: of which.
        run: its id.
        kind: `schedule` or `asset`.
        interval: start and end of its data interval, in UTC; None where an asset started it.
        by: the events that started it, each as asset, or `ASSET#KEY`.
        state: in which it had ended at the end of the simulation.
    """

    at: datetime
    dag: str
    run: str
    kind: str
    interval: tuple[datetime, datetime] | None
    by: tuple[str, ...]
    state: str


def simulate(
    dags: Dag | Sequence[Dag],
    start: datetime,
    end: datetime,
    *,
    events: Iterable[tuple[datetime, str, str | None]] = (),
    limit: int = MOST,
) -> list[Simulated]:
    """Returns the runs that would be started from `start` until `end`, in order.

    Args:
        dags: one or several, made known at `start`.
        start: a moment with a zone.
        end: likewise.
        events: of assets that something else writes: when, URI, partition key or None.
        limit: how many runs at most.

    Raises:
        UsageError: a moment without a zone, an end before the start, no DAG that runs by itself, or too many runs.
        GraphError: what is wrong with a DAG.
    """
    known = [dags] if isinstance(dags, Dag) else list(dags)
    clock, last = FakeClock(start), FakeClock(end)()
    if last < clock():
        raise UsageError(f"the simulation ends at {end}, before it starts at {start}: swap them")
    if not any(one.schedule is not None for one in known):
        raise UsageError("no DAG of these runs by itself: give one a schedule, cron(…), every(…) or asset(…)")
    coming = sorted(((FakeClock(at)(), uri, key) for at, uri, key in events), key=lambda one: one[0])
    with tempfile.TemporaryDirectory(prefix="clearance-simulation-") as folder:
        return _Simulation(Path(folder), clock, known, limit).play(last, coming)


class _Engine:
    """Attempts that take as long as their task expects, and then succeed."""

    def __init__(self, clock: FakeClock) -> None:
        self.expected: dict[tuple[str, str], float] = {}
        self._clock = clock
        self._running: list[tuple[float, int, str]] = []
        self._events: list[Event] = []
        self._serial = 0

    @property
    def due(self) -> float:
        """When the next attempt ends, in seconds since 1970."""
        return self._clock() if self._events else self._running[0][0] if self._running else float("inf")

    def adopt(self, epoch: int) -> Snapshot:
        return Snapshot()

    def observe(self) -> list[Event]:
        found, self._events = self._events, []
        while self._running and self._running[0][0] <= self._clock():
            found.append(Finished(heapq.heappop(self._running)[2], "success"))
        return found

    def nodes(self) -> list[Node]:
        return [Node("simulated", {"cpu": 10**9, "memory": 2**60, "gpu": 10**9})]

    def starting(self) -> dict[str, int]:
        return {}

    def scale(self, orders: object) -> None:
        """There are no pools."""

    def traffic(self) -> list[Traffic]:
        return []

    def prepare(self, bundle: str, preloads: object) -> None:
        """Nothing is warmed."""

    def define(self, request: str, bundle: str, target: str, parameters: dict[str, Any]) -> None:
        """No code is loaded: what another task starts is not simulated."""

    def launch(self, launches: Sequence[Launch]) -> None:
        for launch in launches:
            self._serial += 1
            seconds = self.expected.get((launch.bundle, launch.task), 0.0)
            heapq.heappush(self._running, (self._clock() + seconds, self._serial, launch.attempt))
            self._events.append(Started(launch.attempt, (1,), (1,), ("simulated",)))

    def cancel(self, attempts: Sequence[str], grace: float, outcome: str = "cancelled") -> None:
        gone = set(attempts)
        self._running = [one for one in self._running if one[2] not in gone]
        heapq.heapify(self._running)
        self._events += [Finished(each, outcome) for each in attempts]

    def acknowledge(self, attempts: Sequence[str]) -> None:
        """Nothing is kept."""


class _Simulation:
    """A controller on a scratch database."""

    def __init__(self, folder: Path, clock: FakeClock, dags: Sequence[Dag], limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._dags = dags
        settings = Settings(home=folder, database_url=f"sqlite:///{folder / 'simulation.db'}", sqlite_synchronous="OFF")
        self._database = Database(settings.database, synchronous="OFF")
        self._database.migrate()
        self._engine = _Engine(clock)
        epoch = lease.take(self._database, "simulation", clock())
        assert isinstance(epoch, int)
        self._controller = Controller(settings, self._database, cast(Any, self._engine), epoch, clock=clock)

    def play(self, last: float, coming: list[tuple[float, str, str | None]]) -> list[Simulated]:
        """Goes from one thing that is due to the next, until `last`."""
        controller = self._controller
        try:
            controller.recover()
            for one in self._dags:
                graph = one.graph()
                bundle = digest_of(one.id.encode())
                for node in graph.nodes:
                    self._engine.expected[bundle, node.id] = node.expect
                for pool in {node.pool for node in graph.nodes if node.pool}:
                    controller.set_pool(pool, 10**6)
                controller.triggers.register(encode(graph), bundle, "simulated", one.path, os.environ.get("USER", ""))
            while True:
                self._settle()
                due = min(controller.triggers.due, controller.deferrals.due, self._engine.due)
                if coming and coming[0][0] <= min(due, last):
                    at, uri, key = coming.pop(0)
                    self._clock.move(max(at, self._clock()))
                    controller.triggers.obey(Emit(uri, key), "")
                elif due > last:
                    return self._found()
                else:
                    self._clock.move(max(due, self._clock()))
        finally:
            self._database.abandon()
            self._database.close()

    def _settle(self) -> None:
        """Turns until nothing more happens at this moment."""
        while True:
            self._controller.turn()
            if self._database.rows("run_highest")[0][0] > self._limit:
                raise UsageError(f"more than {self._limit:,} runs by {self._clock.now}: simulate a shorter time")
            triggers, now = self._controller.triggers, self._clock()
            if not triggers.pending and self._engine.due > now and triggers.due > now:
                return

    def _found(self) -> list[Simulated]:
        found = []
        for number in range(1, self._database.rows("run_highest")[0][0] + 1):
            row = rows.RunRow(*self._database.rows("run_at", number)[0])
            cause = causes.cause_of(self._database, number)
            assert cause is not None
            at, start, end = moment(row.created_at), moment(cause.start), moment(cause.end)
            assert at is not None
            by = tuple(each.asset if each.key is None else f"{each.asset}#{each.key}" for each in cause.events)
            interval = (start, end) if start is not None and end is not None else None
            found.append(Simulated(at, row.dag, row.id, cause.kind, interval, by, row.state))
        return found
