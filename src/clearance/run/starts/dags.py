"""Known DAGs: what may start by itself while no file is being run.

Rules:

1. A DAG is known by its name; registered again with other code it gets a new version. Runs that go on keep theirs.
2. Its row, its subscription to assets and its place in time are written in one transaction.
3. A new schedule begins now: nothing is run for the past, unless it catches up and says since when. The same schedule
   registered again goes on where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import msgspec

from clearance.errors import UsageError, nearest
from clearance.graph import model
from clearance.graph.firing import DEFAULT, Firing, waits_for
from clearance.graph.model import Graph
from clearance.graph.schedule import EPOCH, Every
from clearance.run import recovery
from clearance.run.starts import causes
from clearance.run.starts.assets import Assets
from clearance.run.starts.mediator import Subscription, parse_condition
from clearance.store.database import Batch, Database

ORDER = (
    "version_add", "dag_put", "schedule_put", "dag_pause", "schedule_clear", "dag_clear",
)  # fmt: skip


class KnownDag(msgspec.Struct, frozen=True):
    """A known DAG as it is stored; `source` names the file it was registered from, for people."""

    name: str
    version: str
    source: str
    principal: str
    paused: int
    registered_at: float


class Version(msgspec.Struct, frozen=True):
    """A stored version of a DAG: digest of its bundle, and its graph."""

    digest: str
    bundle: str
    graph: Graph

    @property
    def firing(self) -> Firing:
        """How it takes what its schedule brings."""
        return self.graph.firing or DEFAULT


def known(database: Database, name: str) -> KnownDag:
    """Returns a known DAG.

    Raises:
        UsageError: it is not known; the message names the nearest.
    """
    found = database.rows("dag_get", name)
    if not found:
        near = nearest(name, [each.name for each in all_known(database)])
        raise UsageError(f"no DAG {name!r} is known{near}; make it known with `clearance dag register FILE`")
    return KnownDag(*found[0])


def all_known(database: Database) -> list[KnownDag]:
    """Returns every known DAG, by name."""
    return [KnownDag(*row) for row in database.rows("dags")]


def version_of(database: Database, digest: str) -> Version:
    """Returns a stored version."""
    _, bundle, _, graph = database.rows("version_get", digest)[0]
    return Version(digest, bundle, _graph(digest, bytes(graph)))


@lru_cache(maxsize=64)
def _graph(digest: str, data: bytes) -> Graph:
    return model.decode(data)


class Dags:
    """Registers DAGs, pauses them and forgets them.

    Args:
        database: where they are remembered.
        write: puts a batch into the transaction of this turn.
        assets: their subscriptions.
    """

    def __init__(self, database: Database, write: Callable[[Batch], None], assets: Assets) -> None:
        self._database = database
        self._write = write
        self._assets = assets

    def register(
        self, graph: bytes, bundle: str, module: str, source: str, principal: str, now: float
    ) -> tuple[KnownDag, bool]:
        """Makes a DAG known, or gives it a new version.

        Returns:
            The DAG, and whether anything changed.
        """
        made = model.decode(graph)
        digest = recovery.version_digest(graph, bundle)
        found = self._database.rows("dag_get", made.dag)
        old = KnownDag(*found[0]) if found else None
        if old is not None and old.version == digest:
            return old, False
        dag = KnownDag(made.dag, digest, source, principal, old.paused if old else 0, now)
        before = version_of(self._database, old.version) if old else None
        batch = Batch(ORDER)
        batch.add("version_add", digest, made.dag, bundle, module, graph, now)
        batch.add("dag_put", *msgspec.structs.astuple(dag))
        if made.schedule is not None and made.schedule.timed:
            last = self._begin(Version(digest, bundle, made), before, now)
            due = made.schedule.next(causes.instant(last))
            batch.add("schedule_put", made.dag, last, None if dag.paused or due is None else due.timestamp())
        else:
            batch.add("schedule_clear", made.dag)
        self._write(batch)
        self._subscribe(made, old)
        if dag.paused and waits_for(made.schedule) is not None:
            self._assets.pause(made.dag, now)
        return dag, True

    def _begin(self, new: Version, before: Version | None, now: float) -> float:
        """Returns the instant after which the schedule fires."""
        row = self._database.rows("schedule_get", new.graph.dag)
        if row and before is not None and before.graph.schedule is not None:
            same = before.graph.schedule == new.graph.schedule and before.firing.start == new.firing.start
            if same or new.graph.catchup:
                return float(row[0][0])
        start = new.firing.start
        schedule = new.graph.schedule
        if start is None and isinstance(schedule, Every) and schedule.start != EPOCH:
            start = schedule.start
        if start is None:
            return now
        since = start.timestamp() - 1e-6
        return since if new.graph.catchup else max(now, since)

    def _subscribe(self, graph: Graph, old: KnownDag | None) -> None:
        on = waits_for(graph.schedule)
        if on is None:
            if old is not None and self._database.rows("asset_subscription_get", graph.dag):
                self._assets.unsubscribe(graph.dag)
            return
        firing = graph.firing or DEFAULT
        self._assets.subscribe(
            Subscription(graph.dag, parse_condition(on), firing.mode, firing.expect, firing.max_active, firing.debounce)
        )

    def unregister(self, name: str) -> None:
        """Forgets a DAG: its runs stay and go on, what waits for it is dropped.

        Raises:
            UsageError: it is not known.
        """
        known(self._database, name)
        if self._database.rows("asset_subscription_get", name):
            self._assets.unsubscribe(name)
        batch = Batch(ORDER)
        batch.add("schedule_clear", name)
        batch.add("dag_clear", name)
        self._write(batch)

    def pause(self, name: str, paused: bool) -> bool:
        """Pauses a DAG or ends its pause; returns whether that changed anything.

        Raises:
            UsageError: it is not known.
        """
        if bool(known(self._database, name).paused) == paused:
            return False
        batch = Batch(ORDER)
        batch.add("dag_pause", int(paused), name)
        self._write(batch)
        return True
