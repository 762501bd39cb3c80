"""An engine whose attempts end the moment they are launched, as a function says: for the control loop at scale.

What it cannot show is processes; `tests/run/test_running.py` shows these with the real engine.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clearance.engine.base import Event, Failure, Finished, Launch, Node, Snapshot, Started
from clearance.graph.model import Graph, encode
from clearance.run.controller import Controller
from clearance.run.submission import Submission
from clearance.settings import Settings
from clearance.store.database import LEASE, Database
from clearance.types.artifact import Artifact
from clearance.types.digest import digest_of

End = Callable[[Launch], Finished]


def succeeded(launch: Launch, result: bytes | None = None) -> Finished:
    """Returns a success, with this JSON as its result."""
    artifact = None if result is None else Artifact(digest_of(result), len(result), "json", "list", result)
    return Finished(launch.attempt, "success", artifact)


def failed(launch: Launch) -> Finished:
    """Returns a failure."""
    return Finished(launch.attempt, "failure", failure=Failure("builtins.ValueError", "boom", ("builtins.ValueError",)))


def skipped(launch: Launch) -> Finished:
    """Returns what a task that raised `Skip` gives."""
    bases = ("clearance.errors.Skip", "builtins.Exception")
    return Finished(launch.attempt, "failure", failure=Failure("clearance.errors.Skip", "nothing to do", bases))


class InstantEngine:
    """See the module.

    Args:
        end: says how a launched attempt ends.
        cpus: how many are offered.
        keep: holds back what was launched, until `let` is called.
        nodes: how many nodes there are, each with so many CPUs: `here`, or `n0`, `n1`, …
    """

    def __init__(self, end: End, cpus: int = 4, keep: bool = False, nodes: int = 1) -> None:
        self._names = ["here"] if nodes == 1 else [f"n{number}" for number in range(nodes)]
        self._end = end
        self._cpus = cpus
        self._keep = keep
        self._events: list[Event] = []
        self._fd = os.eventfd(0)
        self.held: list[Launch] = []
        self.most = 0

    def fileno(self) -> int:
        return self._fd

    def adopt(self, epoch: int) -> Snapshot:
        return Snapshot()

    def define(self, request: str, bundle: str, target: str, parameters: dict[str, Any]) -> None:
        raise AssertionError("nothing is defined here")

    def prepare(self, bundle: str, preloads: Sequence[tuple[str, ...]]) -> None:
        """Nothing to warm."""

    def launch(self, launches: Sequence[Launch]) -> None:
        for each in launches:
            self._events.append(Started(each.attempt, (1,), (1,), ("here",)))
        self.held += launches
        self.most = max(self.most, len(self.held))
        if not self._keep:
            self.let(len(self.held))

    def let(self, count: int = 1) -> None:
        """Lets the oldest of what is held end."""
        gone, self.held = self.held[:count], self.held[count:]
        self._events += [self._end(each) for each in gone]

    def cancel(self, attempts: Sequence[str], grace: float, outcome: str = "cancelled") -> None:
        gone = {*attempts}
        self.held = [each for each in self.held if each.attempt not in gone]
        self._events += [Finished(each, outcome, failure=Failure(outcome, outcome)) for each in attempts]

    def observe(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def acknowledge(self, attempts: Sequence[str]) -> None:
        """Nothing is kept."""

    @property
    def due(self) -> float:
        return math.inf

    def starting(self) -> dict[str, int]:
        return {}

    def nodes(self) -> list[Node]:
        return [Node(name, {"cpu": self._cpus * 1000, "memory": 2**40, "gpu": 0}) for name in self._names]

    def close(self, stop: bool) -> None:
        os.close(self._fd)


def take_lease(database: Database) -> int:
    """Takes the lease from whoever has it; returns the epoch."""
    database.write("lease_create", LEASE)
    epoch = database.rows("lease_read", LEASE)[0][0]
    assert database.write("lease_take", epoch + 1, "test", "", 1e12, LEASE, epoch) == 1
    return int(epoch) + 1


def lead(home: Path, database: Database, engine: InstantEngine) -> Controller:
    """Returns a controller that has just taken over."""
    settings = Settings(home=home)
    settings.make_home()
    made = Controller(settings, database, engine, take_lease(database))
    made.recover()
    return made


def submit(controller: Controller, graph: Graph) -> str:
    """Submits a graph; returns the id of its run."""
    bundle = digest_of(b"no code")
    return controller.submit(Submission(graph=encode(graph), bundle=bundle, module="m"))[0]


def until_idle(controller: Controller, most: int = 100_000) -> None:
    """Turns until nothing goes on any more."""
    for _ in range(most):
        controller.turn()
        if not controller.runs:
            return
    left = [row for run in controller.runs.values() for row in run.instances() if not row.state.finished]
    raise AssertionError(f"still going on: {[(row.label, row.state) for row in left[:20]]}")
