"""The state machine of runs: pure. Facts go in, changed instances and what to do next come out.

Rules:

1. Every change of state is in `TRANSITIONS`, else it is an error of this program.
2. A node is decided by its trigger rule when all its upstream nodes have finished, or as soon as nothing that is
   still to come can change the answer. It never depends on who finished first: a failure wins over a skip.
3. Conditions are judged first, when what they read has ended; a teardown and a handler wait without counting.
4. A finish decrements the counters of its children; nobody looks at all tasks.
5. A row of a mapped task or group, and of a node in such a group, stands for its copies: it waits as `deferred` until
   every one has finished. Copies are opened as the work goes on, about `WINDOW` ahead of it.
6. In a copy of a group a node waits for those of the same copy, and for what is outside of the group.
7. Nothing here recurses over the graph: a chain of 20,000 skipped tasks is a loop.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence

from clearance.engine.base import Failure
from clearance.errors import ClearanceError
from clearance.graph.retry import is_retried, wait_of
from clearance.run import counting, verdicts
from clearance.run.arguments import Arguments
from clearance.run.changes import Changes
from clearance.run.expansion import Expansion
from clearance.run.instance import ActiveRun, Instance
from clearance.run.redo import clearing
from clearance.run.redo.clearing import Choice, Reach
from clearance.run.shape import path_of, text
from clearance.run.verdicts import outcome
from clearance.types.artifact import Artifact
from clearance.types.states import TRANSITIONS, TaskState

LOST_LIMIT = 10
WINDOW = 1000


class Machine:
    """Moves instances; keeps no state of its own but the changes of this turn.

    Args:
        arguments: what mapped tasks and groups are mapped over.
        admits: whether somebody else opens the copies of a group that says how many may be open at the same time.
    """

    def __init__(self, arguments: Arguments, admits: bool = False) -> None:
        self.arguments = arguments
        self.changes = Changes()
        self._admits = admits

    def take(self) -> Changes:
        """Returns the changes since the last call."""
        changes, self.changes = self.changes, Changes()
        return changes

    def begin(self, run: ActiveRun) -> None:
        """Starts a run: everything without upstream is ready."""
        for instance in list(run.nodes):
            self._consider(instance)
        if not run.nodes:
            self._end(run)

    def move(self, instance: Instance, state: TaskState) -> None:
        """Changes the state of an instance to one that is not finished."""
        if state not in TRANSITIONS[instance.state]:
            raise ClearanceError(f"{instance.run.id} {instance.label}: {instance.state} cannot become {state}")
        if instance.within:
            counting.keep_count(instance, state)
        instance.state = state
        self.changes.dirty[instance] = state

    def finish(self, instance: Instance, state: TaskState, result: Artifact | None = None, reason: str = "") -> None:
        """Ends an instance and decides whatever waited for it."""
        if reason:
            verdicts.because(instance, self.changes, reason)
        instance.result = result
        self.move(instance, state)
        waiting: deque[Instance] = deque()
        self._ended(instance, waiting)
        self._decide(waiting)

    def fail(self, instance: Instance, failure: Failure, now: float, rng: random.Random) -> None:
        """Ends a failed attempt: another try later, or failed for good.

        Args:
            instance: whose attempt failed.
            failure: why.
            now: seconds since 1970.
            rng: draws the jitter.
        """
        policy = instance.spec.retries
        retried = instance.attempts <= policy.times and is_retried(policy, failure.kind, failure.bases)
        if retried and not stopping(instance):
            instance.due_at = now + wait_of(policy, instance.attempts, rng)
            self.move(instance, TaskState.UP_FOR_RETRY)
        else:
            self.finish(instance, TaskState.FAILED, reason=failure.message)

    def again(self, instance: Instance, reason: str = "its last attempt was lost", evicted: int = 0) -> None:
        """An attempt ended through no fault of its own (evicted, lost): it asks anew, and uses no retry.

        Args:
            instance: whose attempt it was.
            reason: for people.
            evicted: how many of its attempts were evicted, which may be any number: only those that were lost count.
        """
        instance.attempts -= 1
        self.changes.reasons[instance] = reason
        self.move(instance, TaskState.PREEMPTED)
        if stopping(instance):
            self.finish(instance, TaskState.CANCELLED)
        elif instance.epoch - instance.attempts - deferrals(instance) - evicted > LOST_LIMIT:
            self.move(instance, TaskState.AWAITING_CLEARANCE)
            reason = f"lost {LOST_LIMIT} times: see the logs of its attempts, then `clearance retry`"
            self.finish(instance, TaskState.FAILED, reason=reason)
        else:
            self.wake(instance)

    def wake(self, instance: Instance) -> None:
        """A retry that is due, or a preempted instance, asks for clearance."""
        self.ready(instance)

    def clear(self, run: ActiveRun, choices: Sequence[Choice] | None, reach: Reach = Reach.UNSUCCESSFUL) -> int:
        """Sets rows that have ended back to scheduled.

        Args:
            run: of which everything that happened is committed.
            choices: node and path of each row that was named; None for all.
            reach: what is set back beside them, and whether what succeeded is.

        Returns:
            How many rows were set back.
        """
        return clearing.clear(self, run, choices, reach)

    def mark(self, instance: Instance) -> bool:
        """Ends an instance as a person said, if one did; False where nobody has."""
        said = self._said(instance)
        if said is None:
            return False
        self.finish(instance, said)
        return True

    def _said(self, instance: Instance) -> TaskState | None:
        """Takes what a person said of an instance that is about to end so."""
        said = instance.run.marks.pop((instance.node, instance.path), None)
        if said is None:
            return None
        self.changes.reasons[instance] = said[1]
        self.changes.applied.append((instance.run, instance.number))
        instance.result = None
        return said[0]

    def cancel(self, run: ActiveRun) -> list[Instance]:
        """Cancels a run; returns the instances that must be stopped, whose end then comes as an event.

        Teardowns and handlers go on, unless it is cancelled again.
        """
        again_asked = run.cancelling
        run.cancelling = True
        live = []
        for instance in run.instances():
            if not again_asked and (instance.spec.setup or instance.spec.on):
                continue
            if instance.state in (TaskState.QUEUED, TaskState.RUNNING):
                live.append(instance)
            elif not instance.state.finished and not self._stands_for_others(instance) and not instance.collects:
                self.finish(instance, TaskState.CANCELLED)
        again = self._cancel_stored(run)
        filling, run.filling = run.filling, {}
        for expansion in filling:
            self._stop_filling(run, expansion, again)
        return live

    def _cancel_stored(self, run: ActiveRun) -> Counter[tuple[int, str]]:
        """Cancels what was to be done again and is not in memory; returns how many rows, by node and scope."""
        again: Counter[tuple[int, str]] = Counter()
        for node, scope, position, number in self.arguments.stored_in(run, TaskState.SCHEDULED):
            if (node, path_of(scope, position)) not in run.rows:
                again[node, scope] += 1
                self.changes.marked.append((run, number, TaskState.SCHEDULED, TaskState.CANCELLED))
        run.cancelled += again.total()
        return again

    def _decide(self, waiting: deque[Instance]) -> None:
        """Decides every instance of which nothing is pending any more, and what follows from it."""
        while waiting:
            instance = waiting.popleft()
            if instance.collects or self._stands_for_others(instance):
                if instance.state is TaskState.DEFERRED and not instance.pending:
                    self._close_expanded(instance, waiting)
                continue
            if instance.state is not TaskState.SCHEDULED:
                continue
            if instance.run.marks and (said := self._said(instance)) is not None:
                self._close(instance, said, waiting)
                continue
            verdict = verdicts.verdict(instance, self.arguments, self.changes)
            if verdict is not None:
                self._close(instance, verdict, waiting)
            elif instance.spec.step:
                self._stand_for_steps(instance)
            elif instance.spec.mapped:
                self._expand(instance, waiting)
            else:
                self.ready(instance)

    def start(self, instance: Instance) -> None:
        """An instance of a mapped task that is done again asks for clearance, if its setup has succeeded."""
        state = verdicts.stands(instance)
        if state is None:
            self.ready(instance)
        else:
            waiting: deque[Instance] = deque()
            self._close(instance, state, waiting)
            self._decide(waiting)

    def _stand_for_steps(self, row: Instance) -> None:
        """The row of a task that a flow may call stands for its steps as long as the flow has not ended."""
        counts, elements = self.arguments.steps(row)
        total = sum(counts.values())
        row.run.expansions[row.node, ()] = Expansion(row.node, (), elements, total, total)
        row.pending, row.failed, row.skipped = 1, 0, 0
        self.move(row, TaskState.DEFERRED)

    def open_step(self, run: ActiveRun, expansion: Expansion, index: int) -> Instance:
        """A flow calls a task for the first time at this index; returns the instance, which asks for clearance."""
        expansion.opened = index
        self.open(run, expansion)
        return run.rows[expansion.node, (index,)]

    def again_step(self, instance: Instance) -> None:
        """A flow calls a task again at an index at which it has called it before."""
        clearing.set_back(self, instance)
        self.ready(instance)

    def _end_steps(self, run: ActiveRun) -> list[Instance]:
        """The flow of a run has ended; returns the rows of its tasks of which no step is unfinished."""
        rows = [row for row in run.nodes if row.spec.step and row.state is TaskState.DEFERRED]
        for row in rows:
            row.pending -= 1
        return [row for row in rows if not row.pending]

    def _close_expanded(self, instance: Instance, waiting: deque[Instance]) -> None:
        """Every copy has finished, or no more will be opened."""
        run, node = instance.run, instance.node
        state = TaskState.SUCCESS
        expansion = run.expansions[run.shape.around(node, len(instance.path)), instance.path]
        if instance.spec.step:
            state = TaskState.SUCCESS if expansion.total else TaskState.SKIPPED
        elif instance.failed or (run.cancelling and expansion.opened < expansion.total):
            state = TaskState.CANCELLED if run.cancelling else TaskState.FAILED
            what = "tasks" if instance.spec.is_group else "instances"
            verdicts.because(instance, self.changes, f"{instance.failed} of its {what} did not succeed")
        elif instance.skipped and instance.skipped == expansion.total:
            state = TaskState.SKIPPED
        if not instance.collects:
            expansion.elements = ()
        self._close(instance, state, waiting)

    def _close(self, instance: Instance, state: TaskState, waiting: deque[Instance]) -> None:
        self.move(instance, state)
        self._ended(instance, waiting)

    def _ended(self, instance: Instance, waiting: deque[Instance]) -> None:
        run, state = instance.run, instance.state
        waiting.extend(counting.count(instance, self.changes))
        if instance.spec.flow:
            waiting.extend(self._end_steps(run))
        for node in run.shape.inside.get(instance.node, ()):  # a group that is not run, is not run as a whole
            row = run.get(node, instance.path)
            if row is not None and row.state is TaskState.SCHEDULED:
                self.move(row, state)
                waiting.extend(counting.count(row, self.changes))

    def _expand(self, instance: Instance, waiting: deque[Instance]) -> None:
        run, node, path = instance.run, instance.node, instance.path
        try:
            elements = self.arguments.elements(instance)
        except ClearanceError as error:
            self.move(instance, TaskState.AWAITING_CLEARANCE)
            verdicts.because(instance, self.changes, str(error), note=True)
            self._close(instance, TaskState.FAILED, waiting)
            return
        expansion = Expansion(node, path, elements, len(elements))
        if (taken := None if path else run.taken.pop(node, None)) is not None:
            expansion.opened, expansion.again = taken.opened, deque(taken.again)
            self.begin_expansion(run, expansion)
            counts = defaultdict(Counter, {(each, ""): some for each, some in taken.counts.items()})
            clearing.settle(run, self.standing(run, expansion), expansion, counts)
            waiting.extend(row for row in self.standing(run, expansion) if not row.pending)
            return  # it is filled once its rows are committed
        self.begin_expansion(run, expansion)
        self.fill(run, expansion)
        if not expansion.total:
            waiting.extend(row for row in self.standing(run, expansion) if row.state is TaskState.DEFERRED)

    def begin_expansion(self, run: ActiveRun, expansion: Expansion) -> None:
        """The row of a mapped task or group, and of every node in the group, now stands for its copies."""
        run.expansions[expansion.node, expansion.path] = expansion
        for row in self.standing(run, expansion):
            row.pending, row.failed, row.skipped = expansion.total, 0, 0
            if row.node == expansion.node and row.spec.is_group:
                row.pending = len(run.shape.members[row.node])
            if row.state.finished:
                counting.uncount(row)
                clearing.set_back(self, row)
            self.move(row, TaskState.DEFERRED)
        if expansion.more:
            run.filling[expansion] = None

    @staticmethod
    def standing(run: ActiveRun, expansion: Expansion) -> list[Instance]:
        """Returns the rows that stand for the copies: those of the nodes in a group, and then its own."""
        nodes = [*run.shape.inside.get(expansion.node, ()), expansion.node]
        return [row for node in nodes if (row := run.get(node, expansion.path)) is not None]

    def fill(self, run: ActiveRun, expansion: Expansion) -> None:
        """Opens copies until enough of them wait, or many were opened."""
        spec = run.graph.nodes[expansion.node]
        if spec.is_group and spec.copies and self._admits:
            return
        if counting.held_up(run, expansion):
            return
        for _ in range(WINDOW):
            if not self.wants(run, expansion):
                break
            self.open(run, expansion)

    @staticmethod
    def wants(run: ActiveRun, expansion: Expansion) -> bool:
        """True while there are copies to open, and too few of its copies wait."""
        if not expansion.more or expansion.waiting >= WINDOW:
            return False
        return expansion.fresh < WINDOW or run.shape.returns(expansion.node)

    def open(self, run: ActiveRun, expansion: Expansion) -> None:
        """Opens the next copy."""
        position, old = expansion.open()
        path = (*expansion.path, position)
        row = run.get(expansion.node, expansion.path)
        assert row is not None
        within = (*row.within, expansion)
        nodes = run.shape.inside.get(expansion.node) or (expansion.node,)
        if not expansion.more:
            run.filling.pop(expansion, None)
        if old:
            clearing.reopen(self, run, expansion, position, within)
            return
        made = []
        for node in nodes:
            each = Instance(run, run.total, node, path, within=within)
            run.total += 1
            run.unfinished += 1
            run.rows[node, path] = each
            self.changes.added.append(each)
            made.append(each)
        expansion.live[position].unfinished = len(made)
        if expansion.node == made[0].node:  # an instance of a mapped task waits for nothing more
            made[0].mapped = expansion.elements[position]
            self.ready(made[0])
            return
        for each in made:
            if not each.collects:
                counting.recount(each)
        for each in made:
            self._consider(each)

    def ready(self, instance: Instance) -> None:
        """An instance that waits for nothing more asks for clearance."""
        self.move(instance, TaskState.AWAITING_CLEARANCE)
        self.changes.ready.append(instance)

    def consider(self, instances: Iterable[Instance]) -> None:
        """Decides those of which nothing is pending."""
        for instance in instances:
            if instance.state is TaskState.DEFERRED:
                self._decide(deque([instance]))
            else:
                self._consider(instance)

    def _consider(self, instance: Instance) -> None:
        """Decides an instance if nothing of what comes before it is pending."""
        marked = instance.run.marks and (instance.node, instance.path) in instance.run.marks
        free = marked or counting.is_free(instance)
        if instance.state is TaskState.SCHEDULED and not instance.collects and free:
            self._decide(deque([instance]))

    def _stop_filling(self, run: ActiveRun, expansion: Expansion, again: Counter[tuple[int, str]]) -> None:
        """No more copies are opened, since the run is being cancelled; `again` counts those that were open before."""
        waiting: deque[Instance] = deque()
        for row in self.standing(run, expansion):
            if row.state is TaskState.DEFERRED and not (row.node == expansion.node and row.spec.is_group):
                cancelled = again[row.node, text(expansion.path)]
                row.pending -= expansion.total - expansion.opened + cancelled
                row.failed += cancelled
                if not row.pending:
                    waiting.append(row)
        expansion.again.clear()
        self._decide(waiting)

    def _end(self, run: ActiveRun) -> None:
        self.changes.ended.append((run, outcome(run)))

    @staticmethod
    def _stands_for_others(instance: Instance) -> bool:
        return (instance.node, instance.path) in instance.run.expansions


def stopping(instance: Instance) -> bool:
    """True for what is not tried again, since its run is being cancelled."""
    return instance.run.cancelling and not (instance.spec.setup or instance.spec.on)


def deferrals(instance: Instance) -> int:
    """Returns how many of its launches ended in a wait, and so count neither as attempts nor as lost."""
    return instance.deferral.times if instance.deferral else 0
