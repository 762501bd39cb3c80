"""Controllers with a clock of their own on a real database, and an engine that runs what the test says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clearance.engine.base import Defined, Event, Failure, Finished, Launch, Node, Snapshot, Started, Usage
from clearance.errors import Defer
from clearance.graph import model
from clearance.graph.dag import Dag
from clearance.run.controller import Controller
from clearance.run.host import lease
from clearance.run.submission import Submission
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.types.artifact import Artifact
from clearance.types.digest import digest_of

NOON = 1_772_366_400.0  # 2026-03-01T12:00:00Z
BUNDLE = "sha256:" + "0" * 64


class Clock:
    """Seconds since 1970, as the test sets them."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class ScriptedEngine:
    """Stands for an engine: what it launches ends when the test says so. What is tested is the controller's truth in
    the database, whatever an engine reports; `tests/run/starts/test_triggering.py` runs the same on the real one."""

    def __init__(self) -> None:
        self.launched: dict[str, Launch] = {}
        self.finished: dict[str, Finished] = {}
        self.events: list[Event] = []
        self.defines: list[str] = []

    def adopt(self, epoch: int) -> Snapshot:
        self.defines.clear()
        running = [Started(key, (1,), (1,), ("here",)) for key in self.launched if key not in self.finished]
        self.events.clear()
        return Snapshot(tuple(running), (), tuple(self.finished.values()))

    def observe(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    @property
    def due(self) -> float:
        return math.inf

    def starting(self) -> dict[str, int]:
        return {}

    def nodes(self) -> list[Node]:
        return [Node("here", {"cpu": 1_000_000, "memory": 2**40})]

    def prepare(self, bundle: str, preloads: object) -> None:
        return

    def define(self, request: str, bundle: str, target: str, parameters: dict[str, Any]) -> None:
        self.defines.append(request)

    def launch(self, launches: Sequence[Launch]) -> None:
        for launch in launches:
            self.launched.setdefault(launch.attempt, launch)

    def cancel(self, attempts: Sequence[str], grace: float, outcome: str = "cancelled") -> None:
        for key in attempts:
            self.end(key, outcome=outcome)

    def acknowledge(self, attempts: Sequence[str]) -> None:
        for key in attempts:
            self.finished.pop(key, None)
            self.launched.pop(key, None)

    def end(self, key: str, outcome: str = "success", result: Any = None, kind: str = "builtins.int") -> None:
        """Ends an attempt; `result` is plain data of the type `kind`."""
        data = json.dumps(result).encode()
        artifact = Artifact(digest_of(data), len(data), "json", kind, data) if result is not None else None
        event = Finished(key, outcome, artifact, usage=Usage())
        self.finished[key] = event
        self.events.append(event)

    def defer(self, key: str, error: Defer) -> None:
        """Ends an attempt that waits."""
        failure = Failure("clearance.errors.Defer", "", ("clearance.errors.Defer",), data=error.data)
        event = self.finished[key] = Finished(key, "failure", failure=failure)
        self.events.append(event)

    def define_all(self, graph: bytes) -> int:
        """Answers every question for a graph with this one; returns how many there were."""
        asked, self.defines = self.defines, []
        self.events += [Defined(request, graph) for request in asked]
        return len(asked)

    def end_all(self, outcome: str = "success") -> int:
        """Ends everything that runs; returns how many that were."""
        keys = [key for key in self.launched if key not in self.finished]
        for key in keys:
            self.end(key, outcome)
        return len(keys)


class Tower:
    """A controller that leads on a database.

    Args:
        url: of the database, which is migrated.
        folder: its home is made in it.
        clock: seconds since 1970.
        engine: a new one unless an earlier controller's is taken over.
    """

    def __init__(self, url: str, folder: Path, clock: Clock, engine: ScriptedEngine | None = None) -> None:
        self.database = Database(url)
        self.database.migrate()
        self.clock = clock
        self.engine = engine or ScriptedEngine()
        epoch = lease.take(self.database, "socket", clock())
        assert isinstance(epoch, int), epoch
        settings = Settings(home=folder / "home")
        settings.make_home()
        self.controller = Controller(settings, self.database, self.engine, epoch, clock=clock)  # type: ignore[arg-type]
        self.controller.recover()
        self.triggers = self.controller.triggers

    def register(self, *dags: Dag) -> None:
        """Makes DAGs known, and commits."""
        for dag in dags:
            self.triggers.register(model.encode(dag.graph()), BUNDLE, "pipe", "pipe.py", "me")
        self.controller.turn()

    def turn(self, at: float | None = None) -> float:
        """One turn, at this time."""
        if at is not None:
            self.clock.now = at
        return self.controller.turn()

    def settle(self, outcome: str = "success") -> None:
        """Turns until nothing is left to do by itself, ending whatever runs."""
        for _ in range(1000):
            self.controller.turn()
            if not self.engine.end_all(outcome) and not self.triggers.pending:
                self.controller.turn()
                if not self.engine.end_all(outcome) and not self.triggers.pending:
                    return
        raise AssertionError("it does not settle")

    def runs(self, dag: str = "") -> list[str]:
        """Returns the ids of the stored runs, oldest first."""
        found = self.database.dialect.execute("SELECT id, dag FROM run ORDER BY number")
        return [id for id, name in found if dag in ("", name)]

    def close(self) -> None:
        self.database.close()


def submit(tower: Tower, dag: Dag, id: str = "") -> str:
    """Starts a run as a person would, and commits."""
    run, _ = tower.controller.submit(
        Submission(graph=model.encode(dag.graph()), bundle=BUNDLE, module="pipe", run_id=id)
    )
    tower.controller.turn()
    return run
