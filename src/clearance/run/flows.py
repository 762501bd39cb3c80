"""Flows in the control loop: steps that they have done become rows, steps that they call become instances.

Rules:

1. A step is an instance of its task's node, at the path of its index. The node's row stands for them: it waits as long
   as the flow runs, and ends as a success, or skipped when the flow did not call it.
2. A step of the flow's own process is written as it has ended, start and end in one transaction. What could not be told
   before the attempt's end is read from the engine then, before the end itself is taken.
3. A flow that begins is told what is committed, after the commit. One that was tried again because it failed begins
   before the last step that failed; one that was lost or evicted goes on behind the last step.
4. A step that was called twice, by an attempt and by the one after it, is one instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.engine.base import Answer, Begun, Called, Failure, Finished, History, Step, Stepped
from clearance.errors import UsageError
from clearance.graph import model
from clearance.run import recovery, rows
from clearance.run.arguments import Steps
from clearance.run.expansion import Copy, Expansion
from clearance.run.instance import ActiveRun, Instance
from clearance.run.redo.clearing import restored
from clearance.types.states import TaskState

if TYPE_CHECKING:
    from clearance.run.changes import Changes
    from clearance.run.controller import Controller

PAGE = 500
_failure = msgspec.json.Decoder(Failure)
_encode = msgspec.msgpack.encode


class Flows:
    """See the module.

    Args:
        controller: whose runs these are.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._begun: list[Instance] = []
        self._asked: list[tuple[ActiveRun, int]] = []
        self._positions: dict[ActiveRun, dict[int, int]] = {}
        self._failed: dict[ActiveRun, int] = {}

    # -- what flows say ----------------------------------------------------------------------------------------------

    def observe(self, flow: Instance, event: Begun | Stepped | Called, now: float) -> None:
        """Takes what the newest attempt of a flow has said."""
        if isinstance(event, Begun):
            self._begun.append(flow)
        elif isinstance(event, Stepped):
            self._take(flow, event.steps, now)
        else:
            self._call(flow, event)

    def before_end(self, flow: Instance, event: Finished, now: float) -> None:
        """An attempt of a flow is over: what it did and could not tell is taken."""
        self._take(flow, self._controller.engine.steps(event.attempt), now)
        if event.outcome in ("failure", "timeout"):
            self._go_back(flow)

    def _known(self, run: ActiveRun) -> dict[int, int]:
        """Returns the instance numbers of the steps of a run, by position."""
        found = self._positions.get(run)
        if found is None:
            found = self._positions[run] = dict(self._controller.database.rows("step_numbers", run.number))
        return found

    def _take(self, flow: Instance, steps: Sequence[Step], now: float) -> None:
        known = self._known(flow.run)
        for step in steps:
            if step.position not in known:
                self._write(flow.run, step, now)

    def _write(self, run: ActiveRun, step: Step, now: float) -> None:
        """Writes a step that has ended in its flow's process: nobody waits for it."""
        controller, ledger = self._controller, self._controller.ledger
        node = run.shape.index[step.task]
        expansion = run.expansions[node, ()]
        old = self._stored(run, node, step.index, expansion)
        number = old.number if old else run.total
        each = Instance(run, number, node, (step.index,), within=())
        each.epoch, each.attempts = (old.epoch if old else 0) + 1, step.attempts
        each.state = TaskState.FAILED if step.failure else TaskState.SUCCESS
        if old:
            ledger.reuse_instance(each, old, now)
        else:
            run.total += 1
            ledger.add_instance(each, now)
        self._number(run, step, number, None)
        row = ledger.attempt(each)
        row.outcome = "failure" if step.failure else "success"
        row.started_at, row.finished_at = step.started_at, step.finished_at
        row.cpu_seconds = step.cpu_seconds
        row.failure = msgspec.json.encode(step.failure).decode() if step.failure else ""
        payload: dict[str, Any] = {
            "task": each.label, "attempt": each.attempts, "from": TaskState.RUNNING,
            "launch": each.epoch, "whole": True,
        }  # fmt: skip
        if step.failure:
            self._failed[run] = max(self._failed.get(run, -1), step.position)
            payload["reason"] = step.failure.message
        elif step.result is not None:
            controller.reports.keep(each, step.result, step.started_at, now)
        ledger.tell_of(now, run, each, each.state, payload)

    def _call(self, flow: Instance, event: Called) -> None:
        run, step = flow.run, event.step
        known = self._known(run)
        if step.position in known:
            self._asked.append((run, known[step.position]))
            return
        controller = self._controller
        node = run.shape.index[step.task]
        expansion = run.expansions[node, ()]
        old = self._stored(run, node, step.index, expansion)
        elements = expansion.elements
        assert isinstance(elements, Steps)
        elements.put(step.index, event.arguments)
        row = run.nodes[node]
        row.pending += 1
        if old is None:
            instance = controller.machine.open_step(run, expansion, step.index)
        else:
            instance = restored(run, old.number, node, (step.index,), (expansion,), old)
            expansion.live[step.index] = Copy(unfinished=1)
            instance.mapped = event.arguments
            controller.machine.again_step(instance)
        self._number(run, step, instance.number, _encode(event.arguments))

    def _stored(self, run: ActiveRun, node: int, index: int, expansion: Expansion) -> rows.InstanceRow | None:
        """Returns the row of a step that is done once more; a step at a new index has none."""
        if index >= expansion.total:
            expansion.total = expansion.opened = index + 1
            return None
        return self._controller.stored.row(run.number, node, (index,))

    def _number(self, run: ActiveRun, step: Step, number: int, arguments: bytes | None) -> None:
        self._known(run)[step.position] = number
        self._controller.ledger.add(
            "step_add", run.number, step.position, number, step.path, step.task, step.index, step.entry, step.inputs,
            arguments,
        )  # fmt: skip

    def _go_back(self, flow: Instance) -> None:
        """The flow failed: the last step that failed, and what came after it, are not steps any more."""
        run = flow.run
        stored = self._controller.database.rows("step_last_failed", run.number)[0][0]
        position = max(-1 if stored is None else stored, self._failed.pop(run, -1))
        if position >= 0:
            self._controller.ledger.add("step_drop", run.number, position)
            self._positions[run] = {at: number for at, number in self._known(run).items() if at < position}

    # -- what flows are told -----------------------------------------------------------------------------------------

    def committed(self, changes: Changes) -> None:
        """Tells flows what this turn has committed."""
        begun, self._begun = self._begun, []
        for flow in begun:
            self._tell_history(flow)
        for instance, state in changes.dirty.items():
            if instance.spec.step and instance.path and state.finished:
                self._asked.append((instance.run, instance.number))
        asked, self._asked = self._asked, []
        for run, number in asked:
            self._answer(run, number)
        for run, _ in changes.ended:
            self._positions.pop(run, None)
            self._failed.pop(run, None)

    def _tell_history(self, flow: Instance) -> None:
        run, first = flow.run, 0
        while True:
            page = [step for _, step in self._steps(run.number, first)]
            more = len(page) == PAGE
            self._controller.engine.reply(flow.attempt, History(tuple(page), more))
            if not more:
                return
            first = page[-1].position + 1

    def _answer(self, run: ActiveRun, number: int) -> None:
        """Tells a flow how a step has ended, if it has."""
        for row in self._controller.database.rows("step_numbered", run.number, number):
            _, step = _step(row)
            if step.finished_at:
                if step.failure is not None:
                    self._failed[run] = max(self._failed.get(run, -1), step.position)
                self._controller.engine.reply(run.nodes[0].attempt, Answer(step))

    def _steps(self, run: int, first: int) -> list[tuple[int, Step]]:
        return [_step(row) for row in self._controller.database.rows("steps", run, first, PAGE)]

    # -- forks -------------------------------------------------------------------------------------------------------

    def position_of(self, run: int, label: str, id: str) -> int:
        """Returns the position of a step that people write as `train[3]`.

        Raises:
            UsageError: the flow has made no such step.
        """
        task, _, rest = label.partition("[")
        index = rest.removesuffix("]") or "0"
        found = self._controller.database.rows("step_at", run, task, int(index)) if index.isdigit() else []
        if not found:
            raise UsageError(f"run {id!r} has no step {label!r}: `clearance flow steps {id}` lists them")
        return int(found[0][0])

    def fork(self, id: str, label: str, run_id: str, principal: str) -> tuple[str, bool]:
        """Makes a run of the same version and parameters that goes on from a step of another run.

        Args:
            id: of the other run.
            label: the first step that is done anew.
            run_id: of the new run.
            principal: who wants it.

        Returns:
            The id of the new run, and whether it is new.

        Raises:
            UsageError: no such run or step, or the id is that of another run.
        """
        controller = self._controller
        recovery.check_run_id(run_id)
        source = recovery.known(controller.database, id)
        _, bundle, _, data = controller.database.rows("version_get", source.version)[0]
        graph = model.decode(bytes(data))
        if not graph.nodes or not graph.nodes[0].flow:
            raise UsageError(f"run {id!r} is no run of a flow: `clearance retry` does tasks of a DAG again")
        position = self.position_of(source.number, label, id)
        if found := rows.run_row(controller.database, run_id):
            if found.version != source.version:
                raise UsageError(f"run {run_id!r} exists: choose another --run-id")
            return run_id, False
        controller.begin(run_id, graph, source.version, bundle, principal)
        self._copy(source.number, controller.runs[run_id], position, controller.clock())
        return run_id, True

    def _copy(self, source: int, run: ActiveRun, before: int, now: float) -> None:
        """Gives a new run the steps of another that came before a position and have ended, as they are."""
        ledger = self._controller.ledger
        known = self._positions[run] = {}
        for _, step in self._all(source, before):
            if not step.finished_at:
                continue
            node = run.shape.index[step.task]
            expansion = run.expansions[node, ()]
            expansion.total = expansion.opened = max(expansion.total, step.index + 1)
            each = Instance(run, run.total, node, (step.index,))
            run.total += 1
            each.epoch, each.attempts = 1, step.attempts
            each.state = TaskState.FAILED if step.failure else TaskState.SUCCESS
            ledger.add_instance(each, now)
            self._number(run, step, each.number, None)
            row = ledger.attempt(each)
            row.outcome = "failure" if step.failure else "success"
            row.started_at, row.finished_at = step.started_at, step.finished_at
            row.failure = msgspec.json.encode(step.failure).decode() if step.failure else ""
            if step.result is not None:
                data = rows.artifact_encoder.encode(step.result)
                ledger.add("artifact_add", run.number, each.number, step.result.digest, data, now)
        ledger.tell_of(now, run, None, "forked", {"steps": len(known), "before": before})

    def _all(self, run: int, before: int) -> list[tuple[int, Step]]:
        found: list[tuple[int, Step]] = []
        first = 0
        while page := self._steps(run, first):
            found += [each for each in page if each[1].position < before]
            first = page[-1][1].position + 1
            if first >= before:
                break
        return found


def _step(row: Sequence[Any]) -> tuple[int, Step]:
    position, number, path, task, index, entry, inputs, state, attempts, data, failure, begun, ended = row
    over = TaskState(state).finished
    problem: Failure | None = None
    if over and state != TaskState.SUCCESS:
        problem = _failure.decode(failure) if failure else Failure(str(state), f"it ended as {state}")
    return number, Step(
        position=position, path=path, index=index, task=task, entry=entry, inputs=inputs,
        result=rows.artifact_decoder.decode(bytes(data)) if over and data is not None and problem is None else None,
        failure=problem, attempts=attempts, started_at=begun or 0.0, finished_at=(ended or 1.0) if over else 0.0,
    )  # fmt: skip
