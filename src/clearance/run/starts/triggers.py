"""What starts runs by itself, joined to the control loop: schedules, events of assets, backfills.

Rules:

1. What is decided in a turn is written in the transaction of that turn: an event with the success that wrote it, the
   run that it starts with the events that the run consumes, a fire with its run. The first of them opens the
   transaction (`Database.enter`), so that what is read is what is written upon.
2. Whoever loses a race on a row that is unique gets `Stale`: the whole turn is taken back, and whoever leads next reads
   everything anew.
3. The end of a run is looked at in the turn after it is committed; a controller that dies in between is made up for by
   `recover`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.errors import UsageError
from clearance.run import rows
from clearance.run.host.orders import ChangeBackfill, CreateBackfill, Emit, Order, PauseDag, Unregister
from clearance.run.instance import ActiveRun, Instance
from clearance.run.starts import causes, dags, waiting
from clearance.run.starts.assets import Assets, Requested
from clearance.run.starts.backfill import Backfills
from clearance.run.starts.dags import Dags, KnownDag, Version
from clearance.run.starts.mediator import check_asset
from clearance.run.starts.schedules import Schedules
from clearance.run.starts.written import written
from clearance.store.database import Batch
from clearance.types.artifact import Artifact
from clearance.types.cause import Cause, Trigger
from clearance.types.written import Written

if TYPE_CHECKING:
    from clearance.run.controller import Controller

_NAMED = "@"  # no run id begins so: what a task wrote is never taken for what a person told
_LONGEST = 200


class Triggers:
    """See the module.

    Args:
        controller: which leads; its runs, ledger and clock are used.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._database = controller.database
        self.assets = Assets(self._database, controller.epoch, joined=True, others=self._scheduled)
        self.dags = Dags(self._database, self._write, self.assets)
        self.schedules = Schedules(self._database, self._write, self._start, self._active)
        self.backfills = Backfills(self._database, self._write, self._start, self._of_backfill)
        controller.deferrals.already[waiting.KIND] = self._come
        self._ended: list[ActiveRun] = []
        self._recovered = False
        self._fires = math.inf
        self._ticks = math.inf
        self._changed = True

    @property
    def pending(self) -> bool:
        """True while something that has happened is still to be looked at."""
        return bool(self._ended)

    @property
    def due(self) -> float:
        """When something is due by itself, in seconds since 1970."""
        return 0.0 if self._ended else min(self._fires, self._ticks)

    # -- the turn ----------------------------------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Starts whatever time and the ends of runs bring."""
        if not self._recovered:
            self._recovered = True
            self._recover(now)
        while self._ended:
            self._end(self._ended.pop(0), now)
        if now >= self._ticks:
            self._request(self.assets.tick(now), now)
            self._changed = True
        if now >= self._fires:
            self.schedules.fire(now)
            self._changed = True
        if self._changed:
            self._changed = False
            fires, ticks = self.schedules.due(), self.assets.due(now)
            self._fires = math.inf if fires is None else fires
            self._ticks = math.inf if ticks is None else ticks

    def ended(self, run: ActiveRun) -> None:
        """A run has ended, and that is committed."""
        if run.cause is not None:
            self._ended.append(run)

    def _end(self, run: ActiveRun, now: float) -> None:
        cause, name = run.cause, run.graph.dag
        assert cause is not None
        if cause.kind == "backfill":
            self.backfills.look(cause.backfill, now)
            return
        if cause.request:
            self._request(self.assets.finish(cause.request, now), now)
        elif self._database.rows("asset_subscription_get", name):
            self._request(self.assets.look(name, now), now)
        self.schedules.look(name, now)
        self._changed = True

    def _recover(self, now: float) -> None:
        """Makes up for what a controller that led before did not come to."""
        if self._database.rows("asset_subscription_any"):
            for (number,) in self._database.rows("asset_runs_ended"):
                self._request(self.assets.finish(number, now), now)
            self._request(self.assets.recover(now), now)
            self._request(self.assets.wanted(), now)
        self.schedules.recover(now)
        self.backfills.recover(now)

    # -- tasks that write assets -------------------------------------------------------------------------------------

    def written(self, instance: Instance, result: Artifact | None) -> list[Written]:
        """Returns the assets that the success of an instance writes.

        Raises:
            GraphError: what it returned is no URI.
        """
        return written(instance.spec, result, self._controller.evidence.read)

    def wrote(self, instance: Instance, written: Iterable[Written], now: float) -> None:
        """Makes the events of what an instance wrote, and the runs that they start."""
        run = instance.run
        for index, one in enumerate(written):
            source = f"{run.id} {instance.label} {instance.epoch}.{index}"
            number, started = self._emit(one.asset, one.key, source, now)
            payload: dict[str, Any] = {"asset": one.asset, "event": number, "runs": started, "launch": instance.epoch}
            payload["task"] = instance.label
            self._controller.ledger.tell_of(
                now, run, instance, "asset", payload | ({"key": one.key} if one.key else {})
            )

    def _emit(self, asset: str, key: str | None, source: str | None, now: float) -> tuple[int, list[str]]:
        requested = self.assets.emit(asset, now, key=key, source=source)
        rows_of = self._database.rows
        number = int((rows_of("asset_event_highest") if source is None else rows_of("asset_event_of", source))[0][0])
        event = Trigger(number, check_asset(asset), now, key)
        for name in waiting.keys_of(event):
            self._controller.deferrals.wake(waiting.KIND, name, waiting.payload(event))
        started = self._request(requested, now)
        self._changed = True
        return number, started

    def _request(self, requested: Iterable[Requested], now: float) -> list[str]:
        """Makes the runs of requests; returns their ids. A request of a DAG that is known no more ends at once."""
        made = []
        wanted = deque(requested)
        while wanted:
            request = wanted.popleft()
            found = self._database.rows("dag_get", request.subscription)
            if not found:
                wanted.extend(self.assets.finish(request.number, now))
                continue
            dag = KnownDag(*found[0])
            id = causes.request_id(dag.name, request.number)
            cause = causes.of_request(self._database, request.number)
            self.assets.started(request.number, id)
            if self._start(dag, dags.version_of(self._database, dag.version), id, cause):
                made.append(id)
        return made

    def _come(self, instance: Instance, row: rows.DeferralRow) -> dict[str, Any] | None:
        """Returns the event that a task begins to wait for, if it has come already."""
        asset, key = waiting.split(row.key)
        since = msgspec.json.decode(row.details).get("since")
        run = rows.run_row(self._database, instance.run.id)
        found = waiting.already(self._database, asset, key, run.created_at if run is not None else row.since, since)
        return None if found is None else waiting.payload(found)

    def prepare(self, run: ActiveRun) -> None:
        """Warms the code of the DAGs that wait for what this run's tasks are declared to write."""
        outlets = {uri for node in run.graph.nodes for uri in node.outlets}
        names = {name for uri in outlets for (name,) in self._database.rows("asset_followers", uri)}
        for name in sorted(names):
            if found := self._database.rows("dag_get", name):
                version = dags.version_of(self._database, KnownDag(*found[0]).version)
                preloads = dict.fromkeys(node.preload for node in version.graph.nodes)
                self._controller.engine.prepare(version.bundle, list(preloads))

    # -- orders ------------------------------------------------------------------------------------------------------

    def register(self, graph: bytes, bundle: str, module: str, source: str, principal: str) -> dict[str, Any]:
        """Makes a DAG known; returns its name, its version, and whether anything changed."""
        now = self._controller.clock()
        dag, changed = self.dags.register(graph, bundle, module, source, principal, now)
        if changed:
            if self._database.rows("asset_subscription_get", dag.name):
                self._request(self.assets.look(dag.name, now), now)
            self._changed = True
        return {"dag": dag.name, "version": dag.version, "changed": changed}

    def obey(self, order: Order, principal: str) -> Any:
        """Does what a person says; returns the answer.

        Raises:
            UsageError: it cannot be done; nothing was written.
        """
        now = self._controller.clock()
        self._changed = True
        match order:
            case Emit():
                return self._told(order, now)
            case PauseDag():
                return self._pause(order.dag, order.paused, now)
            case Unregister():
                self.dags.unregister(order.dag)
                return True
            case CreateBackfill():
                return self.backfills.create(order, principal, now)
            case ChangeBackfill():
                changed = self.backfills.change(order.id, order.to, now)
                if changed and order.to == "cancelled":
                    for run in [each for each in self._controller.runs.values() if _backfill(each) == order.id]:
                        self._controller.cancel(run.id)
                return changed

    def _told(self, order: Emit, now: float) -> dict[str, Any]:
        """Makes the event that a person tells of, once for each name."""
        asset, source = check_asset(order.asset), None
        if order.id:
            if not order.id.isprintable() or len(order.id) > _LONGEST:
                raise UsageError(f"id {order.id[:50]!r}: use up to {_LONGEST} printable characters")
            source = f"{_NAMED}{order.id}"
            if found := self._database.rows("asset_event_by", source):
                number, known, key = found[0]
                if (known, key) != (asset, order.key):
                    what = known if key is None else f"{known}, key {key!r}"
                    raise UsageError(f"id {order.id!r} names event {number} of {what}: choose another id")
                return {"event": number, "runs": [], "new": False}
        number, runs = self._emit(asset, order.key, source, now)
        return {"event": number, "runs": runs, "new": True}

    def _pause(self, name: str, paused: bool, now: float) -> bool:
        if not self.dags.pause(name, paused):
            return False
        if self._database.rows("asset_subscription_get", name):
            self._request(self.assets.pause(name, now) if paused else self.assets.resume(name, now), now)
        self.schedules.look(name, now)
        return True

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _write(self, batch: Batch) -> None:
        self._database.enter(self._controller.epoch)
        self._database.put(batch)

    def _start(self, dag: KnownDag, version: Version, id: str, cause: Cause) -> bool:
        controller = self._controller
        if id in controller.runs or rows.run_row(self._database, id) is not None:
            return False
        controller.begin(id, version.graph, version.digest, version.bundle, dag.principal, cause)
        return True

    def _active(self, name: str) -> int:
        return sum(_counts(run, name) for run in self._controller.runs.values())

    def _scheduled(self, name: str) -> int:
        return sum(_counts(run, name) and not run.cause.request for run in self._controller.runs.values() if run.cause)

    def _of_backfill(self, id: str) -> int:
        return sum(_backfill(run) == id for run in self._controller.runs.values())


def _counts(run: ActiveRun, name: str) -> bool:
    return run.graph.dag == name and run.cause is not None and run.cause.kind != "backfill"


def _backfill(run: ActiveRun) -> str:
    return run.cause.backfill if run.cause is not None else ""
