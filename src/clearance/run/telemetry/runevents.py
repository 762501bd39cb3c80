"""What OpenLineage is told of an event: from rows to `run.openlineage`."""

from __future__ import annotations

import json
from typing import Any

from clearance.graph.model import Binding, Graph, Items, Node, Result
from clearance.run import rows
from clearance.run.telemetry import openlineage as spec
from clearance.run.telemetry.facts import Facts, failure_of
from clearance.run.telemetry.lifecycle import END, RUNNING, START, Phase, phases
from clearance.store.outbox import Event
from clearance.types import masking
from clearance.types.states import RunState, TaskState

_OF_STATE = {
    TaskState.SUCCESS: "COMPLETE", TaskState.SKIPPED: "COMPLETE", TaskState.FAILED: "FAIL",
    TaskState.UP_FOR_RETRY: "FAIL", TaskState.CANCELLED: "ABORT", TaskState.DEFERRED: "COMPLETE",
}  # fmt: skip
_OF_OUTCOME = {"success": "COMPLETE", "deferred": "COMPLETE", "failure": "FAIL", "timeout": "FAIL"}
_OF_RUN = {RunState.SUCCESS: "COMPLETE", RunState.FAILED: "FAIL", RunState.CANCELLED: "ABORT"}


def run_events(facts: Facts, event: Event, namespace: str, blobs: str) -> list[dict[str, Any]]:
    """Returns the run events that an event of the outbox means, in order, with known secrets masked.

    Args:
        facts: rows.
        event: of a run.
        namespace: of jobs and of datasets that are artifacts.
        blobs: where bytes lie: a directory or a URL.
    """
    run = facts.run(event.run)
    if run is None:
        return []
    described = _Described(facts, run, event, namespace, blobs)
    made = [described.whole(phase) if not phase.launch else described.launch(phase)
            for phase in phases(event.instance, event.kind, event.payload)]  # fmt: skip
    return [masking.masker.value(each) for each in made]


class _Described:
    """One event of one run."""

    def __init__(self, facts: Facts, run: rows.RunRow, event: Event, namespace: str, blobs: str) -> None:
        self._facts, self._run, self._event = facts, run, event
        self._namespace, self._blobs = namespace, blobs
        self._version = facts.version(run.version)
        self._graph: Graph = self._version.graph
        self._id = spec.run_id(run.created_at, f"{run.key}/{facts.life(run.number, event.seq)}")

    def whole(self, phase: Phase) -> dict[str, Any]:
        """Returns what is told of the run itself."""
        run, event, graph = self._run, self._event, self._graph
        cause = self._facts.cause(run.number)
        interval = cause is not None and cause.start is not None and cause.end is not None
        kind = phase.kind.upper() if phase.kind != END else _OF_RUN[RunState(event.kind)]
        failed = f"the run {run.id} has failed: `clearance runs show {run.id}`" if kind == "FAIL" else ""
        values = [
            {"key": name, "name": name, "value": json.dumps(value)} for name, value in sorted(graph.parameters.items())
        ]
        described = spec.run_of(
            self._id,
            parent=self._asker(),
            nominalTime=spec.nominal_time(cause.start or 0.0, cause.end or 0.0) if cause and interval else None,
            errorMessage=spec.error(failed, "") if failed else None,
            executionParameters={"parameters": values} if values else None,
        )
        first = graph.nodes[0].file if graph.nodes else ""
        job = spec.job_of(
            self._namespace, graph.dag, "DAG",
            sourceCodeLocation=spec.source(self._version.bundle, first, run.version),
            documentation={"description": graph.doc} if graph.doc else None,
            ownership={"owners": [{"name": f"user:{run.principal}"}]} if run.principal else None,
        )  # fmt: skip
        read = {(each.asset, each.key): spec.asset(each.asset, each.key) for each in cause.events} if cause else {}
        return spec.run_event(kind, event.at, described, job, list(read.values()))

    def _asker(self) -> dict[str, Any] | None:
        """Returns the facet `parent` of a run that a task of another run asked for."""
        found = self._facts.asker(self._run.number)
        if found is None:
            return None
        run, told = found
        id = spec.run_id(run.created_at, f"{run.key}.{told['instance']}.{told['launch']}")
        return spec.parent(id, self._namespace, f"{run.dag}.{str(told['task']).partition('[')[0]}")

    def launch(self, phase: Phase) -> dict[str, Any]:
        """Returns what is told of a launch of a task."""
        run, event = self._run, self._event
        label = str(event.payload["task"])
        node = self._graph.nodes[self._version.places[label.partition("[")[0]]]
        attempt = self._facts.attempt(run.number, event.instance, phase.launch)
        kind = self._kind(phase, attempt)
        failure = failure_of(attempt) if kind in ("FAIL", "ABORT") else None
        reason = str(event.payload.get("reason", ""))
        failed = spec.error(failure.message, failure.traceback) if failure else None
        if failed is None and kind == "FAIL":
            failed = spec.error(reason or "it failed", "")
        described = spec.run_of(
            spec.run_id(run.created_at, f"{run.key}.{event.instance}.{phase.launch}"),
            parent=spec.parent(self._id, self._namespace, self._graph.dag), errorMessage=failed,
        )  # fmt: skip
        job = spec.job_of(
            self._namespace, f"{self._graph.dag}.{node.id}", "TASK",
            sourceCodeLocation=spec.source(self._version.bundle, node.file, run.version),
        )  # fmt: skip
        inputs = self._inputs(node) if phase.kind != RUNNING else []
        at = event.at
        if phase.kind == END and attempt is not None and phase.launch != event.payload.get("launch"):
            at = attempt.finished_at or at
        if phase.kind == START and attempt is not None and event.payload.get("whole"):
            at = attempt.started_at or at
        return spec.run_event(kind, at, described, job, inputs, self._outputs(node, phase, kind))

    def _kind(self, phase: Phase, attempt: rows.AttemptRow | None) -> str:
        if phase.kind in (START, RUNNING):
            return phase.kind.upper()
        if phase.launch == self._event.payload.get("launch") and self._event.kind in _OF_STATE:
            return _OF_STATE[TaskState(self._event.kind)]
        return _OF_OUTCOME.get(attempt.outcome if attempt else "", "ABORT")

    def _inputs(self, node: Node) -> list[dict[str, Any]]:
        """Returns the artifacts of files that a task reads, of tasks that are not mapped."""
        found = []
        for task in dict.fromkeys(_results([*node.inputs.values(), *node.mapped.values()])):
            stored = self._facts.result(self._run.number, self._version.places[task])
            name = f"{self._graph.dag}.{task}"
            data = spec.artifact(self._namespace, name, stored, self._blobs, output=False) if stored else None
            if data is not None:
                found.append(data)
        return found

    def _outputs(self, node: Node, phase: Phase, kind: str) -> list[dict[str, Any]]:
        event = self._event
        if event.kind == "asset":
            return [spec.asset(str(event.payload["asset"]), event.payload.get("key"))]
        if phase.kind != END or kind != "COMPLETE" or event.kind != TaskState.SUCCESS:
            return []
        stored = self._facts.result(self._run.number, event.instance)
        name = f"{self._graph.dag}.{node.id}"
        data = spec.artifact(self._namespace, name, stored, self._blobs, output=True) if stored else None
        return [*([data] if data else []), *map(spec.asset, node.outlets)]


def _results(bindings: list[Binding]) -> list[str]:
    found: list[str] = []
    while bindings:
        binding = bindings.pop(0)
        if isinstance(binding, Result):
            found.append(binding.task)
        elif isinstance(binding, Items):
            bindings.extend(binding.items)
    return found
