"""What a message to the outside is made of: read from committed rows, by the thread that sends it.

A `Facts` belongs to one thread and one read-only connection; what never changes is kept for a while.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from clearance.engine.base import Failure
from clearance.graph import model
from clearance.run import rows
from clearance.run.causes import cause_of
from clearance.store.database import Database
from clearance.store.outbox import Event
from clearance.types.artifact import Artifact
from clearance.types.cause import Cause

_KEPT = 64
_failure = msgspec.json.Decoder(Failure)


class Facts:
    """Reads rows by what an event names.

    Args:
        database: open for reading, in this thread.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._graphs: OrderedDict[str, model.Graph] = OrderedDict()
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

    def bundle(self, version: str) -> str:
        """Returns the digest of the source bundle of a version."""
        return str(self._database.rows("version_get", version)[0][1])

    def graph(self, version: str) -> model.Graph:
        """Returns the graph of a version."""
        found = self._graphs.get(version)
        if found is None:
            found = self._graphs[version] = model.decode(bytes(self._database.rows("version_get", version)[0][3]))
            while len(self._graphs) > _KEPT:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(version)
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

    def traceparent(self, run: int) -> str:
        """Returns the trace to which a run belongs, as its caller gave it; empty for one of its own."""
        first = self.event(run, 1)
        return str(first.payload.get("traceparent", "")) if first else ""


def failure_of(attempt: rows.AttemptRow | None) -> Failure | None:
    """Returns why a launch did not succeed."""
    return _failure.decode(attempt.failure) if attempt is not None and attempt.failure else None
