"""Schedules in the control loop: which fires are due, and which run each of them is.

Rules:

1. `schedule.last` is the newest fire that is dealt with. It moves by compare-and-set, in the transaction that makes
   the run of the fire; the run's id and (DAG, fire) are unique. Of two controllers one starts the run.
2. `schedule.due_at` is the next fire; NULL while the DAG is paused or has as many runs as it may: it is looked at again
   when one of them ends.
3. Nothing is held in memory but when the earliest fire is due.
4. After a sleep or a jump of the clock the newest interval alone is run; with catch-up every one, oldest first, as
   there is room.
"""

from __future__ import annotations

from collections.abc import Callable

from clearance.run.starts import causes, dags
from clearance.run.starts.dags import KnownDag, Version
from clearance.store.database import Batch, Database
from clearance.types.cause import Cause

ORDER = ("schedule_move",)
MOST = 16

Start = Callable[[KnownDag, Version, str, Cause], bool]


class Schedules:
    """Fires what is due.

    Args:
        database: where they are remembered.
        write: puts a batch into the transaction of this turn.
        start: makes the run of this id, unless there is one; returns whether it did.
        active: returns how many runs of a DAG go on that count for `max_active`.
    """

    def __init__(
        self, database: Database, write: Callable[[Batch], None], start: Start, active: Callable[[str], int]
    ) -> None:
        self._database = database
        self._write = write
        self._start = start
        self._active = active

    def due(self) -> float | None:
        """Returns when the next fire is due, in seconds since 1970; None where none is."""
        found: float | None = self._database.rows("schedule_next_due")[0][0]
        return found

    def fire(self, now: float) -> None:
        """Deals with every schedule that is due."""
        for (name,) in self._database.rows("schedules_due", now):
            self.look(name, now)

    def recover(self, now: float) -> None:
        """Looks at every schedule that waited for room."""
        for (name,) in self._database.rows("schedules_held"):
            self.look(name, now)

    def look(self, name: str, now: float) -> None:
        """Starts the runs of a DAG that are due, as far as there is room, and says when it is due again."""
        row = self._database.rows("schedule_get", name)
        found = self._database.rows("dag_get", name)
        if not row or not found:
            return
        last, due = row[0]
        dag = KnownDag(*found[0])
        if dag.paused:
            self._move(name, last, due, last, None)
            return
        version = dags.version_of(self._database, dag.version)
        schedule = version.graph.schedule
        assert schedule is not None
        room = (version.firing.max_active or MOST) - self._active(name)
        newest, most = last, max(room, 1)
        for interval in schedule.missed(causes.instant(last), causes.instant(now), version.graph.catchup, most):
            if room <= 0:
                self._move(name, last, due, newest, None)
                return
            newest = interval.end.timestamp()
            cause = Cause(kind="schedule", start=interval.start.timestamp(), end=newest)
            if not self._database.rows("runs_of_interval", name, newest):
                room -= self._start(dag, version, causes.interval_id(name, newest), cause)
        following = schedule.next(causes.instant(newest))
        at = None if following is None else following.timestamp()
        if at is not None and at <= now and room <= 0:
            at = None
        self._move(name, last, due, newest, at)

    def _move(self, name: str, last: float, due: float | None, to: float, at: float | None) -> None:
        if (last, due) != (to, at):
            batch = Batch(ORDER)
            batch.guard("schedule_move", to, at, name, last)
            self._write(batch)
