"""What becomes of an instance of which nothing is pending any more: pure.

Setups and conditions come before the trigger rule. A run that is being cancelled runs nothing but teardowns and
handlers.
"""

from __future__ import annotations

from clearance.errors import ClearanceError
from clearance.graph import trigger
from clearance.run import conditions
from clearance.run.arguments import Arguments
from clearance.run.changes import Changes
from clearance.run.instance import BAD, ActiveRun, Instance
from clearance.types.states import RunState, TaskState


def verdict(instance: Instance, arguments: Arguments, changes: Changes) -> TaskState | None:
    """Returns the state of an instance that is not to run; None for one that is."""
    run, spec = instance.run, instance.spec
    if spec.on:
        return None if _handles(instance) else TaskState.SKIPPED
    if run.cancelling and not (spec.setup and _setup(instance).state is TaskState.SUCCESS):
        return TaskState.CANCELLED
    if run.shape.setups[instance.node] and (state := stands(instance)) is not None:
        return state
    if spec.conditions and (state := _judge(instance, arguments, changes)) is not None:
        return state
    succeeded = instance.upstreams - instance.pending - instance.failed - instance.skipped
    decided = trigger.decide(spec.trigger_rule, succeeded, instance.failed, instance.skipped, instance.barred)
    return None if decided == trigger.RUN else TaskState(decided)


def stands(instance: Instance) -> TaskState | None:
    """Returns what becomes of an instance whose setup did not succeed; None where it did, or there is none."""
    run = instance.run
    rows = [run.get(node, instance.path[: run.shape.common(node, instance.node)])
            for node in run.shape.setups[instance.node]]  # fmt: skip
    states = {row.state for row in rows if row is not None}
    return TaskState.UPSTREAM_FAILED if states & BAD else TaskState.SKIPPED if TaskState.SKIPPED in states else None


def _judge(instance: Instance, arguments: Arguments, changes: Changes) -> TaskState | None:
    """Judges the conditions of an instance; None where all of them hold."""
    run = instance.run
    rows = [run.get(node, instance.path[: run.shape.common(node, instance.node)])
            for node in run.shape.reads[instance.node]]  # fmt: skip
    states = {row.state for row in rows if row is not None}
    if states & BAD:
        return TaskState.UPSTREAM_FAILED
    if TaskState.SKIPPED in states:
        skipped = next(row.label for row in rows if row is not None and row.state is TaskState.SKIPPED)
        because(instance, changes, f"{skipped}, which its condition reads, was skipped", note=True)
        return TaskState.SKIPPED
    try:
        reason = conditions.refuted(instance, arguments)
    except ClearanceError as error:
        because(instance, changes, str(error), note=True)
        return TaskState.FAILED
    if reason:
        because(instance, changes, reason, note=True)
        return TaskState.SKIPPED
    return None


def _handles(instance: Instance) -> bool:
    """True for a handler of something that ended as it says."""
    run, spec = instance.run, instance.spec
    if not spec.of:
        return outcome(run) == (RunState.FAILED if spec.on == "failure" else RunState.SUCCESS)
    row = run.get(run.shape.index[spec.of], instance.path)
    return row is not None and row.state is (TaskState.FAILED if spec.on == "failure" else TaskState.SUCCESS)


def _setup(instance: Instance) -> Instance:
    row = instance.run.get(instance.run.shape.index[instance.spec.setup], instance.path)
    assert row is not None
    return row


def because(instance: Instance, changes: Changes, reason: str, note: bool = False) -> None:
    """Says why an instance ends as it does; as a `note` where no desk was asked."""
    changes.reasons[instance] = instance.reason = reason
    if note:
        changes.notes[instance] = reason


def outcome(run: ActiveRun) -> RunState:
    """Returns the state of a run of which every instance has finished."""
    if run.cancelled:
        return RunState.CANCELLED
    return RunState.FAILED if run.failures else RunState.SUCCESS
