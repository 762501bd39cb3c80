"""Rows of runs that are not in memory, read from the database as they are needed: a few, or counted."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from clearance.run import rows
from clearance.run.rows import InstanceRow, artifact_decoder
from clearance.run.shape import Path, path_of, text
from clearance.store.database import Database
from clearance.types.artifact import Argument, Artifact

Counts = dict[str, int]
_arguments = msgspec.msgpack.Decoder(dict[str, Argument])


class Stored:
    """What is committed of runs.

    Args:
        database: open for reading.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def artifact(self, run: int, number: int) -> Artifact | None:
        """Returns what an instance returned."""
        return rows.artifact_of(self._database, run, number)

    def reason(self, run: int, number: int) -> str:
        """Returns why an instance ended as it did, as its newest event says; empty where that says nothing."""
        for (payload,) in self._database.rows("event_newest_of", run, number):
            return str(msgspec.json.decode(payload).get("reason", ""))
        return ""

    def counts(self, run: int, node: int, path: Path) -> Counts:
        """Returns how many copies of the row of a node are in each state."""
        return dict(self._database.rows("instance_counts_of", run, node, text(path)))

    def all_counts(self, run: int) -> dict[tuple[int, str], Counts]:
        """Returns how many rows of a run are in each state, by node and scope."""
        found: dict[tuple[int, str], Counts] = defaultdict(dict)
        for node, scope, state, count in self._database.rows("instance_counts", run):
            found[node, scope][state] = count
        return found

    def unsuccessful(self, run: int) -> list[tuple[int, str, int, int, str]]:
        """Returns node, scope, position, number and state of every row with a path that ended without success."""
        return [(*found[:4], found[4]) for found in self._database.rows("instances_bad", run)]

    def unsuccessful_of(self, run: int, node: int, path: Path, limit: int) -> list[int]:
        """Returns the indices of the first copies of the row of a node that failed, were barred or cancelled."""
        return [found[0] for found in self._database.rows("instances_bad_of", run, node, text(path), limit)]

    def finished(self, run: int) -> list[tuple[int, str, int, int, str]]:
        """Returns node, scope, position, number and state of every row with a path that has ended."""
        return [(*found[:4], found[4]) for found in self._database.rows("instances_finished", run)]

    def rows_in(self, run: int, state: str) -> list[tuple[int, str, int, int]]:
        """Returns node, scope, position and number of every row with a path that is in a state."""
        return [(*found,) for found in self._database.rows("instances_in", run, state)]

    def again(self, run: int, node: int, path: Path) -> list[int]:
        """Returns the indices of the copies of the row of a node that are to be opened again."""
        return [found[0] for found in self._database.rows("instances_again", run, node, text(path))]

    def row(self, run: int, node: int, path: Path) -> InstanceRow | None:
        """Returns one row."""
        return rows.instance_at(self._database, run, node, path)

    def results(self, run: int, node: int) -> list[tuple[Path, Artifact | None]]:
        """Returns path and result of every row of a node that has a path."""
        return [
            (path_of(scope, position), None if data is None else artifact_decoder.decode(bytes(data)))
            for scope, position, data in self._database.rows("results_of", run, node)
        ]

    def some_results(self, run: int, node: int, path: Path, first: int, last: int) -> dict[int, Artifact]:
        """Returns the results of the copies of a row from index `first` to `last`, by index."""
        found = self._database.rows("results_between", run, node, text(path), first, last)
        return {position: artifact_decoder.decode(bytes(data)) for position, data in found}

    def calls(self, run: int, task: str) -> dict[int, dict[str, Argument]]:
        """Returns the arguments of the steps of a task that are instances of their own and have not ended, by index."""
        return {index: _arguments.decode(bytes(data)) for index, data in self._database.rows("step_calls", run, task)}
