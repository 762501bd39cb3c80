"""What a message to the outside is made of: read from committed rows, by the thread that sends it.

A `Facts` belongs to one thread and one read-only connection; what never changes is kept for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec

from clearance.engine.base import Failure
from clearance.graph import model
from clearance.run import rows
from clearance.run.starts.causes import cause_of
from clearance.store.database import Database
from clearance.store.outbox import Event
from clearance.types.artifact import Artifact
from clearance.types.cause import Cause

_KEPT = 64
_failure = msgspec.json.Decoder(Failure)


class Version(NamedTuple):
    """A version of a DAG: digest of its source bundle, its graph, and the index of each node."""

    bundle: str
    graph: model.Graph
    places: dict[str, int]


class Facts:
    """Reads rows by what an event names.

    Args:
        database: open for reading, in this thread.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._versions: OrderedDict[str, Version] = OrderedDict()
        self._traces: OrderedDict[int, str] = OrderedDict()
        self._lives: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def event(self, run: int, seq: int) -> Event | None:
        """Returns an event of the outbox."""
        for at, number, instance, kind, payload, place in self._database.rows("event_get", run, seq):
            return Event(at, number, instance, kind, msgspec.json.decode(payload), place)
        return None

    def run(self, number: int) -> rows.RunRow | None:
        """Returns a run as it stands now; None for what belongs to none."""
        found = self._database.rows("run_at", number) if number else []
        return rows.RunRow(*found[0]) if found else None

    def cause(self, number: int) -> Cause | None:
        """Returns what started a run by itself."""
        return cause_of(self._database, number)

    def version(self, digest: str) -> Version:
        """Returns a version of a DAG."""
        found = self._versions.get(digest)
        if found is None:
            _, bundle, _, graph = self._database.rows("version_get", digest)[0]
            read = model.decode(bytes(graph))
            places = {node.id: number for number, node in enumerate(read.nodes)}
            found = self._versions[digest] = Version(str(bundle), read, places)
            while len(self._versions) > _KEPT:
                self._versions.popitem(last=False)
        self._versions.move_to_end(digest)
        return found

    def attempt(self, run: int, instance: int, launch: int) -> rows.AttemptRow | None:
        """Returns one launch of an instance."""
        for row in self._database.rows("attempts_of", run, instance):
            if row[2] == launch:
                return rows.AttemptRow(*row)
        return None

    def result(self, run: int, instance: int) -> Artifact | None:
        """Returns what an instance returned."""
        found = self._database.rows("artifact_get", run, instance)
        return rows.artifact_decoder.decode(bytes(found[0][0])) if found else None

    def life(self, run: int, seq: int) -> int:
        """Returns which life of a run an event belongs to: the number of the event that began it."""
        upto, life = self._lives.get(run, (1, 1))
        if seq < life:
            upto, life = 1, 1
        elif seq <= upto:
            return life
        for begun, payload in self._database.rows("events_of_restart", run, upto, seq):
            if msgspec.json.decode(payload).get("resumed"):
                life = int(begun)
        self._lives[run] = (seq, life)
        while len(self._lives) > _KEPT:
            self._lives.popitem(last=False)
        return life

    def asker(self, run: int) -> tuple[rows.RunRow, dict[str, Any]] | None:
        """Returns the run of the task that asked for a run, and what is told of that task; None where none did."""
        first = self.event(run, 1)
        told: dict[str, Any] = first.payload.get("by", {}) if first else {}
        row = rows.run_row(self._database, told["run"]) if told else None
        return None if row is None else (row, told)

    def traceparent(self, run: int) -> str:
        """Returns the trace to which a run belongs, as its caller gave it; empty for one of its own."""
        if run not in self._traces:
            first = self.event(run, 1)
            self._traces[run] = str(first.payload.get("traceparent", "")) if first else ""
            while len(self._traces) > _KEPT:
                self._traces.popitem(last=False)
        return self._traces[run]


def failure_of(attempt: rows.AttemptRow | None) -> Failure | None:
    """Returns why a launch did not succeed."""
    return _failure.decode(attempt.failure) if attempt is not None and attempt.failure else None
