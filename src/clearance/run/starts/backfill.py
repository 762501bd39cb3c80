"""Backfills: the runs of a DAG's intervals in the past, as an object of its own.

Rules:

1. A backfill holds its intervals as rows, made once. An interval is started by compare-and-set in the transaction that
   makes its run; whoever leads next goes on with what is pending.
2. Its runs keep to its own `concurrency`; they do not count for the DAG's `max_active`, and never move its schedule.
3. An interval is known by its end, the fire. One that has a run is left out, unless its outcome was asked for: then
   the new run has a number behind its id.
4. A backfill keeps the version that the DAG had when it was made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

from clearance.errors import UsageError, nearest
from clearance.run.host.orders import CreateBackfill
from clearance.run.starts import causes, dags
from clearance.run.starts.dags import KnownDag
from clearance.run.starts.schedules import Start
from clearance.store.database import Batch, Database
from clearance.types.cause import Cause

ORDER = (
    "backfill_add", "backfill_interval_add", "backfill_interval_move", "backfill_intervals_cancel", "backfill_move",
)  # fmt: skip
WHICH = ("missing", "failed", "success")
MOST = 100_000
_STEP = timedelta(microseconds=1)


class Backfill(msgspec.Struct, frozen=True):
    """A backfill as it is stored: times in seconds since 1970, `which` with commas, `state` one of `running`,
    `paused`, `cancelled`, `done`."""

    id: str
    dag: str
    version: str
    principal: str
    starts_at: float
    ends_at: float
    which: str
    newest_first: int
    concurrency: int
    state: str
    created_at: float
    finished_at: float | None = None


def get(database: Database, id: str) -> Backfill:
    """Returns a backfill.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    found = database.rows("backfill_get", id)
    if not found:
        near = nearest(id, [row[0] for row in database.rows("backfills", 1000)])
        raise UsageError(f"no backfill {id!r}{near}; `clearance backfill list` shows them all")
    return Backfill(*found[0])


class Backfills:
    """Makes backfills and goes on with them.

    Args:
        database: where they are remembered.
        write: puts a batch into the transaction of this turn.
        start: makes the run of this id, unless there is one; returns whether it did.
        active: returns how many runs of a backfill go on.
    """

    def __init__(
        self, database: Database, write: Callable[[Batch], None], start: Start, active: Callable[[str], int]
    ) -> None:
        self._database = database
        self._write = write
        self._start = start
        self._active = active

    def create(self, order: CreateBackfill, principal: str, now: float) -> dict[str, Any]:
        """Makes a backfill, or says what it would hold.

        Returns:
            `id` (empty for a dry run), `dag`, and `intervals`: start, end, and the state so far of each.

        Raises:
            UsageError: no such DAG, no schedule that fires by time, or nothing in that time.
        """
        dag = dags.known(self._database, order.dag)
        intervals = self._intervals(dag, order, now)
        if order.newest_first:
            intervals.reverse()
        told = {
            "id": "", "dag": dag.name,
            "intervals": [{"start": start, "end": end, "was": was} for start, end, _, was in intervals],
        }  # fmt: skip
        if order.dry:
            return told
        if not intervals:
            raise UsageError(
                f"dag {dag.name!r} has no interval to run between {causes.stamp(order.start)} and "
                f"{causes.stamp(order.end)} that is {' or '.join(order.which)}: see --dry-run, --only"
            )
        number = int(self._database.rows("backfill_count", dag.name)[0][0]) + 1
        made = Backfill(
            f"{dag.name}/backfill-{number}", dag.name, dag.version, principal, order.start, order.end,
            ",".join(order.which), int(order.newest_first), order.concurrency, "running", now,
        )  # fmt: skip
        batch = Batch(ORDER)
        batch.add("backfill_add", *msgspec.structs.astuple(made))
        for position, (start, end, again, _) in enumerate(intervals):
            batch.add("backfill_interval_add", made.id, position, start, end, again)
        self._write(batch)
        self.look(made.id, now)
        return told | {"id": made.id}

    def _intervals(self, dag: KnownDag, order: CreateBackfill, now: float) -> list[tuple[float, float, int, str]]:
        """Returns start, end, the number of the new run, and the state so far, oldest first."""
        if unknown := [word for word in order.which if word not in WHICH]:
            raise UsageError(f"only {unknown[0]!r}: use {', '.join(WHICH)}{nearest(unknown[0], WHICH)}")
        if order.concurrency < 1:
            raise UsageError(f"concurrency is {order.concurrency}: use 1 or more")
        if order.end <= order.start:
            raise UsageError(f"--to {causes.stamp(order.end)} is not after --from {causes.stamp(order.start)}")
        if order.end > now:
            raise UsageError(f"--to {causes.stamp(order.end)} lies ahead: a backfill is of the past")
        schedule = dags.version_of(self._database, dag.version).graph.schedule
        if schedule is None or not schedule.timed:
            raise UsageError(f"dag {dag.name!r} has no intervals: its schedule fires by no time")
        known: dict[float, tuple[int, str]] = {}
        for end, again, state in self._database.rows("intervals_of_dag", dag.name, order.start, order.end):
            known[end] = (again, state)
        found = []
        first = schedule.next(causes.instant(order.start) - _STEP)
        last = causes.instant(order.end)
        while first is not None and first < last and (fire := schedule.next(first)) is not None and fire <= last:
            end = fire.timestamp()
            again, state = known.get(end, (-1, ""))
            was = {"": "missing", "success": "success", "running": "running"}.get(state, "failed")
            if was in order.which:
                found.append((first.timestamp(), end, again + 1, was))
            if len(found) > MOST:
                raise UsageError(f"over {MOST} intervals: choose a shorter time")
            first = fire
        return found

    def recover(self, now: float) -> None:
        """Goes on with every backfill that runs."""
        for (id,) in self._database.rows("backfills_in", "running"):
            self.look(id, now)

    def look(self, id: str, now: float) -> None:
        """Starts what is pending as far as there is room; ends the backfill where nothing is left."""
        backfill = get(self._database, id)
        if backfill.state != "running":
            return
        room = backfill.concurrency - self._active(id)
        while room > 0 and (pending := self._database.rows("backfill_pending", id, room)):
            for position, start, end, again in pending:
                room -= self._begin(backfill, position, start, end, again)
        if not self._active(id) and not self._database.rows("backfill_pending", id, 1):
            self._change(backfill, "done", now)

    def _begin(self, backfill: Backfill, position: int, start: float, end: float, again: int) -> bool:
        """Starts one interval, or leaves it out where it has got a run meanwhile."""
        batch = Batch(ORDER)
        runs = self._database.rows("runs_of_interval", backfill.dag, end)
        taken = runs[-1][2] if runs else -1
        run = causes.interval_id(backfill.dag, end, again)
        made = False
        if taken < again:
            version = dags.version_of(self._database, backfill.version)
            dag = KnownDag(backfill.dag, backfill.version, "", backfill.principal, 0, 0.0)
            cause = Cause(kind="backfill", start=start, end=end, again=again, backfill=backfill.id)
            made = self._start(dag, version, run, cause)
        batch.guard("backfill_interval_move", "started" if made else "left out", run, again, backfill.id, position)
        self._write(batch)
        return made

    def change(self, id: str, to: str, now: float) -> bool:
        """Pauses (`paused`), resumes (`running`) or cancels (`cancelled`) a backfill; returns whether that changed it.

        Raises:
            UsageError: no such backfill, or it has ended.
        """
        backfill = get(self._database, id)
        if backfill.state == to:
            return False
        if backfill.state in ("done", "cancelled"):
            raise UsageError(f"backfill {id!r} is {backfill.state}: make another")
        if to == "cancelled":
            batch = Batch(ORDER)
            batch.add("backfill_intervals_cancel", id)
            self._write(batch)
        self._change(backfill, to, now)
        if to == "running":
            self.look(id, now)
        return True

    def _change(self, backfill: Backfill, to: str, now: float) -> None:
        batch = Batch(ORDER)
        ended = now if to in ("done", "cancelled") else None
        batch.guard("backfill_move", to, ended, backfill.id, backfill.state)
        self._write(batch)
