"""The state machine of runs: pure. Facts go in, changed instances and what to do next come out.

Rules:

1. Every change of state is in `TRANSITIONS`, else it is an error of this program.
2. A node is decided by its trigger rule when all its upstream nodes have finished, or as soon as nothing that is
   still to come can change the answer. It never depends on who finished first: a failure wins over a skip.
3. A finish decrements the counters of its children; nobody looks at all tasks.
4. A mapped task is its node row, which waits as `deferred` until every instance has finished.
5. Nothing here recurses over the graph: a chain of 20,000 skipped tasks is a loop.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from clearance.engine.base import Failure
from clearance.errors import ClearanceError
from clearance.graph import trigger
from clearance.graph.model import RetryPolicy
from clearance.run import arguments
from clearance.run.instance import ActiveRun, Instance
from clearance.types.artifact import Artifact
from clearance.types.states import TRANSITIONS, RunState, TaskState

LOST_LIMIT = 10
_ALIKE = {"timeout": ("builtins.TimeoutError",)}
BAD = frozenset({TaskState.FAILED, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED})


@dataclass
class Changes:
    """What one turn changed: filled by the machine, emptied by the controller's commit.

    Attributes:
        dirty: instances whose row must be written, in order of their first change.
        added: instances whose row must be inserted.
        counted: per child row, how often `pending` fell, and with how many failures and skips.
        opened: rows whose counters start anew.
        ready: instances that may now ask for clearance.
        ended: runs that have finished, with their state.
        reasons: why an instance failed without having been launched.
    """

    dirty: dict[Instance, TaskState] = field(default_factory=dict)
    added: list[Instance] = field(default_factory=list)
    counted: list[tuple[Instance, int, int]] = field(default_factory=list)
    opened: list[Instance] = field(default_factory=list)
    ready: list[Instance] = field(default_factory=list)
    ended: list[tuple[ActiveRun, RunState]] = field(default_factory=list)
    reasons: dict[Instance, str] = field(default_factory=dict)


class Machine:
    """Moves instances; keeps no state of its own but the changes of this turn.

    Args:
        read: returns the bytes of an artifact, for mapping over a result.
    """

    def __init__(self, read: arguments.Read) -> None:
        self._read = read
        self.changes = Changes()

    def take(self) -> Changes:
        """Returns the changes since the last call."""
        changes, self.changes = self.changes, Changes()
        return changes

    def begin(self, run: ActiveRun) -> None:
        """Starts a run: everything without upstream is ready."""
        for instance in list(run.nodes):
            if instance.state is TaskState.SCHEDULED and (not instance.pending or self._may_run_early(instance)):
                self._decide(deque([instance]))
        if not run.unfinished:
            self._end(run)

    def move(self, instance: Instance, state: TaskState) -> None:
        """Changes the state of an instance to one that is not finished."""
        if state not in TRANSITIONS[instance.state]:
            raise ClearanceError(f"{instance.run.id} {instance.label}: {instance.state} cannot become {state}")
        instance.state = state
        self.changes.dirty[instance] = state

    def finish(self, instance: Instance, state: TaskState, result: Artifact | None = None, reason: str = "") -> None:
        """Ends an instance and decides whatever waited for it."""
        if reason:
            self.changes.reasons[instance] = reason
        instance.result = result
        self.move(instance, state)
        self._decide(deque(self._count(instance)))

    def fail(self, instance: Instance, failure: Failure, now: float, rng: random.Random) -> None:
        """Ends a failed attempt: another try later, or failed for good.

        Args:
            instance: whose attempt failed.
            failure: why.
            now: seconds since 1970.
            rng: draws the jitter.
        """
        policy = instance.spec.retries
        if instance.attempts <= policy.times and _retried(policy, failure) and not instance.run.cancelling:
            instance.due_at = now + delay(policy, instance.attempts, rng)
            self.move(instance, TaskState.UP_FOR_RETRY)
        else:
            self.finish(instance, TaskState.FAILED, reason=failure.message)

    def again(self, instance: Instance) -> None:
        """An attempt ended through no fault of its own (evicted, lost): it asks anew, and uses no retry."""
        instance.attempts -= 1
        self.changes.reasons[instance] = "its last attempt was evicted or lost"
        self.move(instance, TaskState.PREEMPTED)
        if instance.run.cancelling:
            self.finish(instance, TaskState.CANCELLED)
        elif instance.epoch - instance.attempts - deferrals(instance) > LOST_LIMIT:
            self.move(instance, TaskState.AWAITING_CLEARANCE)
            reason = f"lost or evicted {LOST_LIMIT} times: see the logs of its attempts, then `clearance retry`"
            self.finish(instance, TaskState.FAILED, reason=reason)
        else:
            self.wake(instance)

    def wake(self, instance: Instance) -> None:
        """A retry that is due, or a preempted instance, asks for clearance."""
        self.move(instance, TaskState.AWAITING_CLEARANCE)
        self.changes.ready.append(instance)

    def cancel(self, run: ActiveRun) -> list[Instance]:
        """Cancels a run; returns the instances that must be stopped, whose end then comes as an event."""
        run.cancelling = True
        live = []
        for instance in run.instances():
            if instance.state in (TaskState.QUEUED, TaskState.RUNNING):
                live.append(instance)
            elif not instance.state.finished and not self._stands_for_others(instance):
                self.finish(instance, TaskState.CANCELLED)
        return live

    def clear(self, run: ActiveRun, chosen: list[Instance]) -> None:
        """Sets finished instances, and everything that depended on them without success, back to scheduled.

        Args:
            run: whose instances they are; its counters are set anew.
            chosen: instances that failed, were skipped or cancelled.
        """
        run.cancelling = False
        cleared: dict[Instance, None] = {}
        waiting = deque(chosen)
        while waiting:
            instance = waiting.popleft()
            if instance in cleared or instance.state in (TaskState.SUCCESS, TaskState.SCHEDULED):
                continue
            cleared[instance] = None
            if instance.position >= 0:
                waiting.append(run.nodes[instance.node])
                continue
            waiting.extend(run.nodes[child] for child in run.children[instance.node])
        for instance in cleared:
            if instance.state.finished:
                run.unfinished += 1
                run.failures -= counts_as_failure(instance)
                run.cancelled -= instance.state is TaskState.CANCELLED
                instance.attempts = 0
                self.move(instance, TaskState.SCHEDULED)
        for instance in cleared:
            if instance.position >= 0 and run.nodes[instance.node].state is TaskState.SCHEDULED:
                self.move(instance, TaskState.AWAITING_CLEARANCE)
                self.changes.ready.append(instance)
        for instance in [each for each in cleared if each.position < 0]:
            if group := run.expanded.get(instance.node):
                self.move(instance, TaskState.DEFERRED)
            else:
                group = [run.nodes[parent] for parent in run.parents(instance.spec)]
            instance.pending = sum(not each.state.finished for each in group)
            instance.failed = sum(each.state in BAD for each in group)
            instance.skipped = sum(each.state is TaskState.SKIPPED for each in group)
            self.changes.opened.append(instance)
        for instance in cleared:
            if instance.state is TaskState.SCHEDULED and not instance.pending:
                self._decide(deque([instance]))

    def _decide(self, waiting: deque[Instance]) -> None:
        """Decides every instance of which nothing is pending any more, and what follows from it."""
        while waiting:
            instance = waiting.popleft()
            if self._stands_for_others(instance):
                if instance.state is TaskState.DEFERRED:
                    self._close_expanded(instance, waiting)
                continue
            if instance.state is not TaskState.SCHEDULED:
                continue
            succeeded = instance.upstreams - instance.pending - instance.failed - instance.skipped
            verdict = trigger.decide(instance.spec.trigger_rule, succeeded, instance.failed, instance.skipped)
            if instance.run.cancelling:
                self._close(instance, TaskState.CANCELLED, waiting)
            elif verdict == trigger.UPSTREAM_FAILED:
                self._close(instance, TaskState.UPSTREAM_FAILED, waiting)
            elif verdict == trigger.SKIPPED:
                self._close(instance, TaskState.SKIPPED, waiting)
            elif instance.spec.mapped:
                self._expand(instance, waiting)
            else:
                self.move(instance, TaskState.AWAITING_CLEARANCE)
                self.changes.ready.append(instance)

    def _close_expanded(self, instance: Instance, waiting: deque[Instance]) -> None:
        """Every instance of a mapped task has finished."""
        state = TaskState.SUCCESS
        if instance.failed:
            state = TaskState.CANCELLED if instance.run.cancelling else TaskState.FAILED
            self.changes.reasons[instance] = f"{instance.failed} of its instances did not succeed"
        self._close(instance, state, waiting)

    def _close(self, instance: Instance, state: TaskState, waiting: deque[Instance]) -> None:
        self.move(instance, state)
        waiting.extend(self._count(instance))

    def _expand(self, instance: Instance, waiting: deque[Instance]) -> None:
        run = instance.run
        try:
            rows = arguments.elements(instance, self._read)
        except ClearanceError as error:
            self.move(instance, TaskState.AWAITING_CLEARANCE)
            self.changes.reasons[instance] = str(error)
            self._close(instance, TaskState.FAILED, waiting)
            return
        group = run.expanded[instance.node] = [
            Instance(run, run.total + position, instance.node, position) for position in range(len(rows))
        ]
        run.total += len(group)
        run.unfinished += len(group)
        instance.pending = len(group)
        self.changes.opened.append(instance)
        self.changes.added.extend(group)
        self.move(instance, TaskState.DEFERRED)
        for each, mapped in zip(group, rows, strict=True):
            each.mapped = mapped
            self.move(each, TaskState.AWAITING_CLEARANCE)
            self.changes.ready.append(each)
        if not group:
            waiting.append(instance)

    def _count(self, instance: Instance) -> list[Instance]:
        """Counts a finished instance down at whoever waits for it; returns those that nothing holds any more."""
        run = instance.run
        run.unfinished -= 1
        bad = instance.state in BAD
        run.failures += counts_as_failure(instance)
        run.cancelled += instance.state is TaskState.CANCELLED
        skipped = instance.state is TaskState.SKIPPED
        if instance.position >= 0:
            followers = [run.nodes[instance.node]]
            skipped = False
        else:
            followers = [run.nodes[child] for child in run.children[instance.node]]
        free = []
        for follower in followers:
            follower.pending -= 1
            follower.failed += bad
            follower.skipped += skipped
            self.changes.counted.append((follower, int(bad), int(skipped)))
            if not follower.pending or self._may_run_early(follower):
                free.append(follower)
        if not run.unfinished:
            self._end(run)
        return free

    def _may_run_early(self, instance: Instance) -> bool:
        if instance.state is not TaskState.SCHEDULED or instance.spec.mapped:
            return False
        succeeded = instance.upstreams - instance.pending - instance.failed - instance.skipped
        return trigger.early(instance.spec.trigger_rule, succeeded, instance.failed)

    def _end(self, run: ActiveRun) -> None:
        self.changes.ended.append((run, outcome(run)))

    @staticmethod
    def _stands_for_others(instance: Instance) -> bool:
        return instance.position < 0 and instance.node in instance.run.expanded


def deferrals(instance: Instance) -> int:
    """Returns how many of its launches ended in a wait, and so count neither as attempts nor as lost."""
    return instance.deferral.times if instance.deferral else 0


def counts_as_failure(instance: Instance) -> bool:
    """True for a task that nothing depends on and that did not come to a good end: it makes its run a failure."""
    leaf = instance.position < 0 and not instance.run.children[instance.node]
    return leaf and instance.state in (TaskState.FAILED, TaskState.UPSTREAM_FAILED)


def outcome(run: ActiveRun) -> RunState:
    """Returns the state of a run of which every instance has finished."""
    if run.cancelled:
        return RunState.CANCELLED
    return RunState.FAILED if run.failures else RunState.SUCCESS


def delay(policy: RetryPolicy, attempts: int, rng: random.Random) -> float:
    """Returns the seconds before the next try: exponential, capped, with full jitter in its upper half."""
    seconds = min(policy.delay * policy.backoff ** max(attempts - 1, 0), policy.max_delay)
    return seconds * (0.5 + rng.random() / 2) if policy.jitter else seconds


def _retried(policy: RetryPolicy, failure: Failure) -> bool:
    """True for an exception that the policy names; `Exception` names every failure, `TimeoutError` a timeout too."""
    names = {failure.kind, *failure.bases, "builtins.Exception", *_ALIKE.get(failure.kind, ())}
    return not policy.on or bool(set(policy.on) & names)
