"""What a test of a DAG comes to: states, results, order, decisions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from clearance.engine.base import Failure
from clearance.errors import UsageError, nearest
from clearance.graph.task import Task
from clearance.run.arguments import nested
from clearance.run.instance import ActiveRun
from clearance.run.look.cards import cards_of
from clearance.store import serializers
from clearance.store.blobs import Blobs
from clearance.types.artifact import Artifact
from clearance.types.card import Card
from clearance.types.written import Written


class Decision(msgspec.Struct, frozen=True):
    """A change of state: `at` (UTC), `task`, the new `state`, and `reason` where there is one."""

    at: datetime
    task: str
    state: str
    reason: str = ""


class Tested:
    """A run of `Dag.test`.

    Attributes:
        state: `success` or `failed`.
        order: each launch, as `train` or `train[2]`; a task that was retried stands there as often.
        decisions: every change of state, in order.
        failures: why a task failed, by label: `kind`, `message`, `traceback`.
        written: task and event of each asset that was written.
    """

    def __init__(
        self, run: ActiveRun, blobs: Blobs, folder: tempfile.TemporaryDirectory[str], hints: Callable[[str], Any]
    ) -> None:
        self.state = ""
        self.order: list[str] = []
        self.decisions: list[Decision] = []
        self.failures: dict[str, Failure] = {}
        self.written: list[tuple[str, Written]] = []
        self._run = run
        self._blobs = blobs
        self._folder = folder  # it lives for as long as its files may be looked at
        self._hints = hints

    def __repr__(self) -> str:
        return f"<test of dag {self._run.graph.dag!r} {self.state}>"

    @property
    def states(self) -> dict[str, str]:
        """The state of each task and instance, by label."""
        return {each.label: str(each.state) for each in self._run.instances()}

    @property
    def attempts(self) -> dict[str, int]:
        """How many attempts each task and instance took that count for retries, by label."""
        return {each.label: each.attempts for each in self._run.instances() if each.epoch}

    def __getitem__(self, task: Any) -> Any:
        """Returns `result(task)`."""
        return self.result(task)

    def result(self, task: Any, annotation: Any = msgspec.UNSET) -> Any:
        """Returns what a task returned, read back from its bytes; of a mapped one the list of what its instances did.

        Args:
            task: a `Task`, or its id; `train[2]` for one instance.
            annotation: type to read it as; by default what the task is annotated to return.

        Raises:
            UsageError: no such task, or it did not succeed.
        """
        node, path = self._locate(task)
        spec, levels = self._run.graph.nodes[node], self._run.shape.levels(node)
        wanted = self._hints(spec.function).get("return", Any) if annotation is msgspec.UNSET else annotation

        def value(artifact: Artifact | None) -> Any:
            if artifact is None:
                return None
            return serializers.load(artifact, wanted, self._blobs, Path(self._folder.name) / "results")

        if len(path) < levels:
            rows = {at: row.result for (other, at), row in self._run.rows.items() if other == node}
            below = {at: result for at, result in rows.items() if at[: len(path)] == path}
            return nested(below, path, levels, value, list)
        row = self._run.get(node, path)
        if row is None or row.state != "success":
            state = "not there" if row is None else row.state
            raise UsageError(f"task {task!r} is {state} and has no result{self._why(row.label if row else '')}")
        return value(row.result)

    def cards(self, task: Any) -> list[Card]:
        """Returns the cards that a task returned or showed.

        Raises:
            UsageError: no such task.
        """
        row = self._run.get(*self._locate(task))
        return cards_of(row.result, self._blobs) if row is not None and row.result is not None else []

    def _why(self, label: str) -> str:
        failure = self.failures.get(label)
        return f": {failure.kind}: {failure.message}" if failure is not None else ""

    def _locate(self, task: Any) -> tuple[int, tuple[int, ...]]:
        label = task.id if isinstance(task, Task) else str(task)
        found = self._run.locate(label)
        if found is None and isinstance(task, Task):  # in a group
            inside = [node.id for node in self._run.graph.nodes if node.id.rpartition(".")[2] == label]
            found = self._run.locate(inside[0]) if len(inside) == 1 else None
        if found is None:
            known = [node.id for node in self._run.graph.nodes]
            raise UsageError(f"dag {self._run.graph.dag!r} has no task {label!r}{nearest(label, known)}")
        return found
