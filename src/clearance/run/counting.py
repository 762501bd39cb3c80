"""The counters by which an instance knows what it waits for: kept up at each end, so that nobody looks at all tasks."""

from __future__ import annotations

from collections.abc import Iterator

from clearance.graph import trigger
from clearance.run.changes import Changes
from clearance.run.expansion import Expansion
from clearance.run.instance import BAD, ActiveRun, Instance, counts_as_failure
from clearance.run.shape import Path
from clearance.run.verdicts import outcome
from clearance.types.states import TaskState


def recount(instance: Instance) -> None:
    """Counts anew what comes before an instance."""
    run = instance.run
    before = [run.get(parent, instance.path[:common]) for parent, common in run.shape.parents[instance.node]]
    states = [row.state for row in before if row is not None]
    instance.pending = sum(not state.finished for state in states)
    instance.failed = sum(state in BAD for state in states)
    instance.skipped = states.count(TaskState.SKIPPED)
    instance.barred = states.count(TaskState.UPSTREAM_FAILED)
    held = [run.get(parent, instance.path[:common]) for parent, common in run.shape.holds[instance.node]]
    instance.held = sum(row is not None and not row.state.finished for row in held)


def is_free(instance: Instance) -> bool:
    """True when nothing that is still to come can change what becomes of it."""
    if instance.held or (instance.pending and not _may_run_early(instance)):
        return False
    spec = instance.spec
    return not (spec.on and not spec.of and instance.run.working)


def held_up(run: ActiveRun, expansion: Expansion) -> bool:
    """True while copies are not opened again, since their setup is done again first."""
    holds = run.shape.holds[expansion.node]
    rows = [run.get(node, expansion.path[:common]) for node, common in holds]
    return any(row is not None and not row.state.finished for row in rows)


def count(instance: Instance, changes: Changes) -> list[Instance]:
    """Counts a finished instance down at whoever waits for it; returns those that nothing holds any more."""
    run, shape = instance.run, instance.run.shape
    node, path = instance.node, instance.path
    run.unfinished -= 1
    bad = instance.state in BAD
    run.failures += counts_as_failure(instance)
    run.cancelled += instance.state is TaskState.CANCELLED
    skipped = instance.state is TaskState.SKIPPED
    barred = instance.state is TaskState.UPSTREAM_FAILED
    free: list[Instance] = []
    if path:
        _count_up(instance, run.get(node, path[:-1]), bad, skipped, free)
        expansion = instance.within[-1]
        if (copy := expansion.live.get(path[-1])) is not None:
            copy.unfinished -= 1
            if not copy.unfinished:
                expansion.close(path[-1])
                changes.closed.append((run, expansion, path[-1]))
    chain = shape.chain[node]
    if chain and len(path) == len(chain) - 1:
        _count_up(instance, run.get(chain[-1], path), bad and shape.last(node), False, free)
    for follower in _behind(run, shape.children[node], path):
        follower.pending -= 1
        follower.failed += bad
        follower.skipped += skipped
        follower.barred += barred
        if is_free(follower):
            free.append(follower)
    if shape.held[node]:
        for follower in _behind(run, shape.held[node], path):
            follower.held -= 1
            if is_free(follower):
                free.append(follower)
    if not run.unfinished:
        changes.ended.append((run, outcome(run)))
    elif shape.finals and not run.working:
        free += [run.nodes[final] for final in shape.finals]
    return free


def uncount(instance: Instance) -> None:
    """A finished row is about to be set back: whoever waits for it waits again."""
    run, path = instance.run, instance.path
    bad, skipped = instance.state in BAD, instance.state is TaskState.SKIPPED
    waiting = [run.get(instance.node, path[:-1])] if path else []
    waiting = [row for row in waiting if row is not None and row.state is TaskState.DEFERRED]
    for child, common in run.shape.children[instance.node]:
        if common == len(path):
            depth = run.shape.depth(child)
            found = (run.get(child, path),) if depth == common else run.below(child, path)
            waiting += [row for row in found if row is not None and row.state is TaskState.SCHEDULED]
    for row in waiting:
        if row is not None:
            row.pending += 1
            row.failed -= bad
            row.skipped -= skipped
            row.barred -= instance.state is TaskState.UPSTREAM_FAILED


def keep_count(instance: Instance, state: TaskState) -> None:
    """Keeps what the expansions know of their rows that wait and were launched."""
    gain = (state is TaskState.AWAITING_CLEARANCE) - (instance.state is TaskState.AWAITING_CLEARANCE)
    if gain:
        for expansion in instance.within:
            expansion.waiting += gain
    if state is TaskState.QUEUED:
        for expansion, position in zip(instance.within, instance.path, strict=True):
            expansion.start(position)


def _behind(run: ActiveRun, edges: list[tuple[int, int]], path: Path) -> Iterator[Instance]:
    """Yields the rows that wait for a row at this path."""
    for child, common in edges:
        if common != len(path):
            continue
        depth = run.shape.depth(child)
        for follower in (run.get(child, path),) if depth == common else run.below(child, path):
            if follower is not None and follower.state is TaskState.SCHEDULED:
                yield follower


def _count_up(instance: Instance, above: Instance | None, bad: bool, skipped: bool, free: list[Instance]) -> None:
    """Counts a finished row at the one that stands for it."""
    if above is None or above.state is not TaskState.DEFERRED:
        return
    above.pending -= 1
    above.failed += bad
    above.skipped += skipped
    if not above.pending:
        free.append(above)


def _may_run_early(instance: Instance) -> bool:
    if instance.state is not TaskState.SCHEDULED or instance.spec.mapped:
        return False
    succeeded = instance.upstreams - instance.pending - instance.failed - instance.skipped
    return trigger.early(instance.spec.trigger_rule, succeeded, instance.failed, instance.barred)
