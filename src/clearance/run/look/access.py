"""What has run, from Python: `Run("digits/42").task("train").result`, `Dag("digits").latest_run`.

    from clearance import Dag, Run

    run = Dag("digits").latest_successful_run
    model = run["train"].result
    for run in Run.search("lr>0.1 tag:team=vision"):
        print(run.id, run.parameters)

Read only: it works while a controller is at work, and after it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec

from clearance.errors import ClearanceError, UsageError, nearest
from clearance.graph.model import Graph, decode
from clearance.run import recovery, rows
from clearance.run.host import lease
from clearance.run.host.client import Client, Gone
from clearance.run.host.messages import Ended, Follow
from clearance.run.look import search
from clearance.run.look.reading import Reader, moment
from clearance.run.look.task import Task, look
from clearance.run.shape import Shape
from clearance.run.tags import tags_of
from clearance.settings import Settings
from clearance.types.states import RunState

PAUSE = 0.2


class Run:
    """A run.

    Args:
        id: `digits/42`.
        settings: which installation; None for that of the environment (`CLEARANCE_HOME`, …).

    Attributes:
        id: of the run.

    Raises:
        UsageError: there is no such run; the message names the nearest.
        StoreError: nothing is remembered yet.
    """

    def __init__(self, id: str, settings: Settings | None = None) -> None:
        self._reader = Reader(settings)
        with self._reader.database() as database:
            self._row = recovery.known(database, id)
        self.id = id

    @classmethod
    def _of(cls, reader: Reader, row: rows.RunRow) -> Run:
        made = cls.__new__(cls)
        made._reader, made._row, made.id = reader, row, row.id
        return made

    @classmethod
    def search(cls, query: str = "", limit: int | None = None, settings: Settings | None = None) -> Iterator[Run]:
        """Finds runs, newest first, read a page at a time.

        Args:
            query: terms such as `lr>0.1 tag:team=vision dag:digits state:failed created>=2026-03-01`.
            limit: how many at most; None for all.
            settings: as for `Run`.

        Raises:
            UsageError: a term that is none.
        """
        wanted = search.parse(query)
        reader = Reader(settings)
        return (cls._of(reader, row) for row in search.pages(reader.database, wanted, limit))

    def __repr__(self) -> str:
        return f"<run {self.id!r} {self.state}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __getitem__(self, task: str) -> Task:
        return self.task(task)

    @property
    def state(self) -> str:
        """`queued`, `running`, `success`, `failed` or `cancelled`, as it stands now."""
        return self._now().state

    @property
    def dag(self) -> str:
        """Id of its DAG."""
        return self._row.dag

    @property
    def version(self) -> str:
        """Digest of its graph and its source bundle."""
        return self._row.version

    @property
    def principal(self) -> str:
        """Who started it."""
        return self._row.principal

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was run with, by name."""
        found: dict[str, Any] = msgspec.json.decode(self._row.parameters)
        return found

    @property
    def created_at(self) -> datetime:
        """When it was made, in UTC."""
        found = moment(self._row.created_at)
        assert found is not None
        return found

    @property
    def finished_at(self) -> datetime | None:
        """When it ended, in UTC; None while it goes on."""
        return moment(self._now().finished_at)

    @property
    def tags(self) -> dict[str, str]:
        """Its tags, as they are now."""
        with self._reader.database() as database:
            return tags_of(database, self._row.number)

    @property
    def tasks(self) -> list[Task]:
        """Its tasks in topological order; a mapped one stands for its instances."""
        with self._reader.database() as database:
            found = rows.node_rows(database, self._row.number)
        return [Task(self._reader, self._row, self._graph.nodes[row.node], self._shape, row) for row in found]

    def task(self, name: str) -> Task:
        """Returns a task; `train[3]`, or `train[3,1]` in a mapped group, is one instance.

        Raises:
            UsageError: there is none; the message names the nearest.
        """
        graph, shape = self._graph, self._shape
        with self._reader.database() as database:
            return look(self._reader, database, shape, graph.nodes, self.id, name)

    def result(self, task: str, annotation: Any = msgspec.UNSET) -> Any:
        """Returns `self.task(task).load(annotation)`."""
        return self.task(task).load(annotation)

    @property
    def logs(self) -> Iterator[tuple[str, str]]:
        """Yields each task and instance that has written something, and what its newest attempt wrote."""
        for task in self.tasks:
            yield from _logs(task)

    def wait(self, timeout: float | None = None) -> Run:
        """Waits until it has ended, and returns it.

        Args:
            timeout: seconds; None for as long as it takes.

        Raises:
            ClearanceError: it has not ended in time, or nobody leads who could bring it to its end.
        """
        until = None if timeout is None else time.monotonic() + timeout
        alone = time.monotonic() + lease.SECONDS
        while not RunState(self._now().state).finished:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise ClearanceError(f"run {self.id} is {self._row.state} after {timeout:g} s")
            with self._reader.database() as database:
                held = lease.holder(database, time.time())
            if held is not None:
                alone = time.monotonic() + lease.SECONDS
                if self._follow(held.address, left):
                    continue
            elif time.monotonic() > alone:
                raise ClearanceError(
                    f"run {self.id} is {self._row.state} and nobody leads: go on with `clearance resume {self.id}`"
                )
            time.sleep(PAUSE if left is None else min(PAUSE, max(left, 0.0)))
        return self

    def _follow(self, address: str, timeout: float | None) -> bool:
        """Listens to whoever leads until the run has ended; False when they cannot be reached, or have gone."""
        try:
            with Client(address, timeout) as client:
                client.send(Follow(self.id, 2**62))
                return any(isinstance(reply, Ended) for reply in client.replies())
        except Gone:
            return False

    def _now(self) -> rows.RunRow:
        if not RunState(self._row.state).finished:
            with self._reader.database() as database:
                self._row = recovery.known(database, self.id)
        return self._row

    @cached_property
    def _graph(self) -> Graph:
        with self._reader.database() as database:
            return decode(bytes(database.rows("version_get", self._row.version)[0][3]))

    @cached_property
    def _shape(self) -> Shape:
        return Shape(self._graph)


class Version(msgspec.Struct, frozen=True):
    """A version of a DAG: `digest` of graph and bundle, `bundle`, `module`, and `created_at` in UTC."""

    digest: str
    bundle: str
    module: str
    created_at: datetime


class Dag:
    """A DAG by its id, as the installation remembers it; the one that can be run is `clearance.dag`.

    Args:
        name: its id.
        settings: as for `Run`.

    Raises:
        UsageError: no version of it is known; the message names the nearest.
        StoreError: nothing is remembered yet.
    """

    def __init__(self, name: str, settings: Settings | None = None) -> None:
        self._reader = Reader(settings)
        self.name = name
        with self._reader.database() as database:
            if not database.rows("version_newest", name):
                known = [found for (found,) in database.rows("version_dags")]
                raise UsageError(f"no dag {name!r} is known here{nearest(name, known)}: run it once")

    def __repr__(self) -> str:
        return f"<dag {self.name!r}>"

    @property
    def latest_run(self) -> Run | None:
        """Its newest run; None where it has none."""
        return next(self.runs(limit=1), None)

    @property
    def latest_successful_run(self) -> Run | None:
        """Its newest run that succeeded; None where none did."""
        return next(self.runs(state="success", limit=1), None)

    def runs(
        self,
        *,
        tags: Mapping[str, str | None] | None = None,
        state: str = "",
        parameters: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Iterator[Run]:
        """Yields its runs, newest first, read a page at a time.

        Args:
            tags: that they must have; None for any value.
            state: in which they must be.
            parameters: that they must have had; plain values.
            limit: how many at most; None for all.

        Raises:
            UsageError: no such state.
        """
        texts = {
            name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in (parameters or {}).items()
        }
        wanted = search.conditions(dag=self.name, state=state, tags=tags, parameters=texts)
        return (Run._of(self._reader, row) for row in search.pages(self._reader.database, wanted, limit))

    @property
    def versions(self) -> list[Version]:
        """Its versions, newest first."""
        with self._reader.database() as database:
            found = database.rows("versions_of", self.name)
        made = []
        for digest, bundle, module, at, _ in found:
            created = moment(at)
            assert created is not None
            made.append(Version(digest, bundle, module, created))
        return made


def _logs(task: Task) -> Iterator[tuple[str, str]]:
    if task.mapped:
        for instance in task:
            yield from _logs(instance)
    elif written := task.logs:
        yield task.name, written
