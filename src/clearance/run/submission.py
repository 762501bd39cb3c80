"""New runs: a graph that somebody submits, or a stored version that something starts, becomes a run with its rows."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.errors import UsageError
from clearance.graph import model
from clearance.run import recovery, rows
from clearance.run.instance import ActiveRun, Instance
from clearance.run.redo.adopting import Adopt
from clearance.run.tags import add_marks, check_tags
from clearance.run.telemetry.tracing import VARIABLE
from clearance.types.cause import Cause

if TYPE_CHECKING:
    from clearance.run.controller import Controller


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A graph that is to be run.

    Attributes:
        graph: canonical JSON of the graph.
        bundle: digest of its source bundle, which lies unpacked in the home.
        module: name of the pipeline's module in the bundle.
        run_id: chosen id; empty for the next number of the DAG.
        principal: who submits.
        traceparent: the trace of the caller; empty for none.
        by: the task that asked for the run, as the event `created` tells of it; empty for none.
        adopt: id of a run of which results are taken over; `again` names tasks that are not.
        tags: what the run is found by later.
    """

    graph: bytes
    bundle: str
    module: str
    run_id: str = ""
    principal: str = ""
    traceparent: str = ""
    by: dict[str, Any] = {}
    adopt: str = ""
    again: tuple[str, ...] = ()
    tags: dict[str, str] = {}


class Submissions:
    """See the module.

    Args:
        controller: which leads.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._numbers = int(controller.database.rows("run_highest")[0][0])
        self._counts: dict[str, int] = {}

    def submit(self, submission: Submission) -> tuple[str, bool]:
        """Creates a run, or goes on with the one that has this id.

        Returns:
            The id of the run, and whether it is new.

        Raises:
            UsageError: the id belongs to a run of other code or parameters, or is no valid id.
        """
        controller = self._controller
        graph = model.decode(submission.graph)
        controller.admission.check(graph)
        check_tags(submission.tags)
        version = recovery.version_digest(submission.graph, submission.bundle)
        if submission.run_id:
            recovery.check_run_id(submission.run_id)
            if found := rows.run_row(controller.database, submission.run_id):
                if found.version != version:
                    raise UsageError(
                        f"run {found.id!r} exists with other code or parameters: choose another --run-id, "
                        f"or go on with `clearance resume {found.id}`"
                    )
                controller.resume(found.id)
                return found.id, False
        now = controller.clock()
        adopt = Adopt(controller, submission.adopt, submission.again) if submission.adopt else None
        if adopt is not None:
            adopt.check(graph)
        id = submission.run_id or self._next_id(graph.dag)
        controller.ledger.add(
            "version_add", version, graph.dag, submission.bundle, submission.module, submission.graph, now
        )  # fmt: skip
        self.begin(
            id, graph, version, submission.bundle, submission.principal,
            traceparent=submission.traceparent, adopt=adopt, tags=submission.tags, by=submission.by,
        )  # fmt: skip
        return id, True

    def begin(
        self,
        id: str,
        graph: model.Graph,
        version: str,
        bundle: str,
        principal: str,
        cause: Cause | None = None,
        traceparent: str = "",
        adopt: Adopt | None = None,
        tags: Mapping[str, str] | None = None,
        by: Mapping[str, Any] | None = None,
    ) -> None:
        """Makes a run of this id, which must be new, of a stored version.

        `cause` says what started it by itself, `by` which task, `adopt` what it takes from a run before.
        """
        controller = self._controller
        now = controller.clock()
        lock = controller.evidence.environment()
        self._numbers += 1
        run = ActiveRun(
            number=self._numbers, key=secrets.token_hex(8), id=id, version=version, bundle=bundle,
            graph=graph, principal=principal, environment=lock.digest, cause=cause, created_at=now,
        )  # fmt: skip
        controller.admission.ask(run)
        ledger = controller.ledger
        ledger.add("environment_add", lock.digest, lock.text)
        ledger.add(
            "run_add", run.number, run.key, id, graph.dag, version, run.state,
            rows.json_text(graph.parameters), principal, lock.digest, now,
        )  # fmt: skip
        add_marks(ledger, run.number, graph.parameters, tags or {})
        controller.machine.changes.added.extend(run.nodes)
        controller.runs[id] = run
        told: dict[str, Any] = {"dag": graph.dag, "tasks": len(run.nodes)}
        if cause is not None:
            ledger.add_cause(run, cause)
            told["cause"] = cause.kind
        if traceparent:
            told["traceparent"] = traceparent
        if by:
            told["by"] = by
        controller.tracing.begin(run, traceparent)
        ledger.tell_of(now, run, None, "created", told)
        ledger.note("run.submitted", id, principal, dag=graph.dag, version=version, bundle=bundle)
        preloads = dict.fromkeys(node.preload for node in graph.nodes)
        controller.engine.prepare(run.bundle, list(preloads))
        controller.triggers.prepare(run)
        controller.deadlines.begin(run)
        if adopt is not None:
            adopt.into(run, now)
        controller.machine.begin(run)
        if adopt is not None:
            controller.commit_decided()

    def submit_defined(self, graph: bytes, run_id: str, dag: str, by: Instance) -> None:
        """Starts the run that a task asked for, on the newest version of the DAG; it belongs to the trace of the task.

        Raises:
            UsageError: the id belongs to a run of other code or parameters.
        """
        controller = self._controller
        bundle, module = controller.database.rows("version_newest", dag)[0]
        self.submit(
            Submission(
                graph=graph, bundle=bundle, module=module, run_id=run_id, principal=by.run.principal,
                traceparent=controller.tracing.environment(by).get(VARIABLE, ""),
                by={"run": by.run.id, "task": by.label, "instance": by.number, "launch": by.epoch},
            )
        )  # fmt: skip

    def _next_id(self, dag: str) -> str:
        controller = self._controller
        number = self._counts.get(dag) or int(controller.database.rows("run_count", dag, dag)[0][0])
        while True:
            number += 1
            id = f"{dag}/{number}"
            if id not in controller.runs and not controller.database.rows("run_get", id):
                self._counts[dag] = number
                return id
