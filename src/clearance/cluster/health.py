"""Node health: signals make nodes suspect; they are tested, cordoned or drained, and come back on probation.

Rules (conditions, signals and what speaks against a node: `cluster.condition`):

1. healthy → suspect → testing, cordoned or draining → drained; from all of these back by way of probation. A suspect
   node goes on until it may be taken out.
2. No more nodes than `most_out` are out at once (testing, cordoned, draining, drained); the others wait in the order in
   which they became suspect. Nodes that are tested because they are new do not count.
3. A node under test has the taint `clearance.dev/preflight:NoSchedule`. Its preflight job tolerates it and is pinned to
   the node; it counts against no quota but that of the recovery queue. Where it succeeds, a new node is healthy and any
   other is on probation; where it fails, or does not start in time, the node is drained.
4. A cordoned node is tried again when nothing bad was said for `calm_seconds`; a drained one when the driver says
   that it was repaired (`NodeReturned`), or removes and adds it.
5. On probation, and while it is suspect, a node is the last choice. Whatever is said against it on probation drains it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from clearance.cluster.application import Application, AppState
from clearance.cluster.condition import (
    ATTEMPT,
    USER,
    Action,
    Condition,
    FailureRule,
    HealthPolicy,
    HealthRule,
    tainted,
)
from clearance.cluster.decision import Cordon, Drain
from clearance.cluster.event import ConditionRestored, JobFinished, NodeChanged, NodeSignal
from clearance.cluster.job import Job, TaskGroup, Toleration
from clearance.cluster.node import Node
from clearance.cluster.nodestate import NodeState
from clearance.errors import UsageError

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler

_OUT = (Condition.TESTING, Condition.CORDONED, Condition.DRAINING, Condition.DRAINED)
_SHUT = (Condition.CORDONED, Condition.DRAINING, Condition.DRAINED)
_FIRST = 1 << 30  # priority of a preflight job
_REMEMBERED = 100_000  # attempts


class _Case:
    """A node that is not simply healthy.

    Attributes:
        condition: of it.
        then: what is to be done about it.
        why: for people.
        since: when this condition began.
        bad: when something was last said against it.
        readings: signals whose last reading is bad.
        job: id of its preflight job; empty: there is none.
        new: whether it is tested because it is new.
    """

    __slots__ = ("bad", "condition", "job", "new", "readings", "since", "then", "why")

    def __init__(self, condition: Condition, then: Action, why: str, now: float, new: bool = False) -> None:
        self.condition = condition
        self.then = then
        self.why = why
        self.since = self.bad = now
        self.readings: dict[str, None] = {}
        self.job = ""
        self.new = new


class _Attempts:
    """Attempts within a window: how many there were and how many failed, on each node and in all."""

    def __init__(self, rule: FailureRule) -> None:
        self._rule = rule
        self._order: deque[tuple[float, str, bool]] = deque()
        self._by_node: dict[str, tuple[int, int]] = {}
        self._all = 0, 0

    def add(self, node: str, at: float, failed: bool) -> str:
        """Counts an attempt; returns what is to be said against the node, empty where nothing is."""
        order = self._order
        order.append((at, node, failed))
        self._count(node, failed, 1)
        while order[0][0] + self._rule.window < at or len(order) > _REMEMBERED:
            _, other, earlier = order.popleft()
            self._count(other, earlier, -1)
        own, failures = self._by_node.get(node, (0, 0))
        total, bad = self._all[0] - own, self._all[1] - failures
        elsewhere = bad / total if total else 0.0
        if not failed or failures < self._rule.count or failures / own < elsewhere * self._rule.times:
            return ""
        return f"{failures} of {own} attempts failed on it, and {bad} of {total} elsewhere"

    def forget(self, node: str) -> None:
        """Forgets the attempts on a node."""
        if node in self._by_node:
            kept = deque(each for each in self._order if each[1] != node)
            for _, _, failed in (each for each in self._order if each[1] == node):
                self._count(node, failed, -1)
            self._order = kept

    def _count(self, node: str, failed: bool, sign: int) -> None:
        total, bad = self._by_node.get(node, (0, 0))
        if total + sign:
            self._by_node[node] = total + sign, bad + sign * failed
        else:
            del self._by_node[node]
        self._all = self._all[0] + sign, self._all[1] + sign * failed


class Health:
    """See the module.

    Args:
        scheduler: whose nodes these are.
        policy: what is done about them.

    Raises:
        UsageError: the policy cannot be.
    """

    def __init__(self, scheduler: Scheduler, policy: HealthPolicy) -> None:
        policy.check()
        self._scheduler = scheduler
        self.policy = policy
        self._cases: dict[str, _Case] = {}
        self._said: dict[tuple[str, HealthRule], deque[float]] = {}
        self._attempts = _Attempts(policy.failures) if policy.failures is not None else None
        self._tests = 0
        self._readings: dict[str, dict[str, tuple[float, float]]] = {}

    # -- what the scheduler tells --------------------------------------------------------------------------------------

    def equip(self, node: Node) -> Node:
        """Returns a node as the driver told of it, with the taint of its condition."""
        case = self._cases.get(node.name)
        return tainted(node, case.condition if case is not None else Condition.HEALTHY)

    def came(self, state: NodeState) -> None:
        """A node has come."""
        if self.policy.preflight is not None and self.policy.preflight.new:
            now = self._scheduler.now
            case = self._cases[state.name] = _Case(Condition.SUSPECT, Action.TEST, "it is new", now, new=True)
            self._test(state, case)

    def went(self, state: NodeState) -> None:
        """A node goes."""
        self._readings.pop(state.name, None)
        case = self._cases.pop(state.name, None)
        for key in [key for key in self._said if key[0] == state.name]:
            del self._said[key]
        if self._attempts is not None:
            self._attempts.forget(state.name)
        if case is not None:
            self._end_test(case)

    def signalled(self, event: NodeSignal, state: NodeState) -> None:
        """The driver tells something of a node.

        Raises:
            UsageError: there is no such signal, or its value is no number.
        """
        self.policy.known(event.kind)
        if not math.isfinite(event.value) or not math.isfinite(event.at):
            raise UsageError(
                f"node {event.node!r} tells {event.kind} {event.value:g} at {event.at:g}: tell finite numbers"
            )
        now = self._scheduler.now
        at = min(event.at, now)
        if event.kind != ATTEMPT:
            self._readings.setdefault(state.name, {})[event.kind] = event.value, at
        if event.kind == ATTEMPT and self._attempts is not None:
            why = self._attempts.add(state.name, at, event.value > 0)
            if why:
                assert self.policy.failures is not None
                self._speak(state, self.policy.failures.then, why, at)
        bad_reading = False
        for rule in self.policy.rules:
            if rule.signal != event.kind or at + rule.window < now:
                continue
            if rule.bad(event.value):
                bad_reading |= rule.limit is not None
                said = self._said.setdefault((state.name, rule), deque(maxlen=rule.count))
                said.append(at)
                if len(said) == rule.count and said[0] + rule.window >= at:
                    self._speak(state, rule.then, f"{event.kind} is {event.value:g}", at)
        case = self._cases.get(state.name)
        if case is not None:
            if bad_reading:
                case.readings[event.kind] = None
            else:
                case.readings.pop(event.kind, None)

    def restored(self, event: ConditionRestored, state: NodeState) -> None:
        """A node was out before: it is again, and nothing is decided about it anew."""
        if event.condition not in _OUT:
            return
        self._cases.pop(state.name, None)
        drained = event.condition in (Condition.DRAINING, Condition.DRAINED)
        then = Action.DRAIN if drained else Action.CORDON
        case = self._cases[state.name] = _Case(Condition.SUSPECT, then, event.reason, self._scheduler.now)
        if event.condition == Condition.TESTING and self.policy.preflight is not None:
            self._test(state, case)
        else:
            self._set(state, case, Condition.DRAINING if drained else Condition.CORDONED)

    def returned(self, state: NodeState) -> None:
        """The driver says that a drained node was repaired.

        Raises:
            UsageError: it is not drained.
        """
        case = self._cases.get(state.name)
        if case is None or case.condition not in _SHUT:
            condition = case.condition if case is not None else Condition.HEALTHY
            raise UsageError(f"node {state.name!r} is {condition}: only one that is closed can return")
        case.readings.clear()
        self._try_again(state, case)

    def ended(self, app: Application, ending: AppState) -> None:
        """A job has ended: it may be the preflight job of a node."""
        name = app.job.tags.get("preflight", "") if app.job.user == USER else ""
        case = self._cases.get(name)
        if case is None or case.job != app.id:
            return
        case.job = ""
        state = self._scheduler.nodes.named[name]
        if case.condition != Condition.TESTING:
            return
        if ending != AppState.COMPLETED:
            self._drain(state, case, f"its preflight job {ending.lower()}")
        elif case.new:
            self._set(state, case, Condition.HEALTHY)
        elif case.readings:
            self._set(state, case, Condition.CORDONED)
        else:
            self._set(state, case, Condition.PROBATION)

    def why(self, name: str) -> str:
        """Returns why a node takes nothing new; empty where that is not for its health."""
        case = self._cases.get(name)
        return self.explain(name) if case is not None and case.condition in _SHUT else ""

    def readings(self, name: str) -> dict[str, tuple[float, float]]:
        """Returns by signal what was last told of a node, and when."""
        return dict(self._readings.get(name, {}))

    def out(self) -> dict[str, tuple[Condition, str]]:
        """Returns the nodes that are out, but those that are tested because they are new, and why."""
        return {
            name: (case.condition, case.why)
            for name, case in self._cases.items()
            if case.condition in _OUT and not case.new
        }  # fmt: skip

    def explain(self, name: str) -> str:
        """Says how well a node is, and why; empty where it is healthy."""
        case = self._cases.get(name)
        return f"it is {case.condition}: {case.why}" if case is not None else ""

    def pass_all(self, fork: Scheduler) -> None:
        """Lets a fork be as it will be when all nodes under test have passed."""
        tests = {name: case for name, case in self._cases.items() if case.condition == Condition.TESTING}
        for name, case in tests.items():
            node = tainted(fork.nodes.named[name].node, Condition.HEALTHY)
            ended = [JobFinished(case.job)] if case.job in fork.apps else []
            fork.apply([*ended, NodeChanged(node)], fork.now)

    @property
    def due(self) -> float:
        """When something is decided even if nothing happens, in seconds of the driver's clock; infinity: nothing."""
        moments = []
        for case in self._cases.values():
            if case.condition == Condition.PROBATION:
                moments.append(max(case.bad, case.since) + self.policy.probation_seconds)
            elif case.condition in (Condition.CORDONED, Condition.SUSPECT) and not case.readings:
                moments.append(case.bad + self.policy.calm_seconds)
        return min((moment for moment in moments if moment > self._scheduler.now), default=math.inf)

    # -- deciding ------------------------------------------------------------------------------------------------------

    def decide(self) -> None:
        """Takes nodes out that may be, and lets those back that are well again."""
        scheduler, now, policy = self._scheduler, self._scheduler.now, self.policy
        named = scheduler.nodes.named
        for name, case in list(self._cases.items()):
            state, calm = named[name], not case.readings and case.bad + policy.calm_seconds <= now
            if case.condition == Condition.DRAINING:
                self._end_test(case)
                if not state.held:
                    self._set(state, case, Condition.DRAINED)
            elif case.condition == Condition.CORDONED and calm:
                self._try_again(state, case)
            elif case.condition == Condition.SUSPECT and calm and case.then != Action.DRAIN:
                self._set(state, case, Condition.PROBATION)
            elif case.condition == Condition.PROBATION and max(case.bad, case.since) + policy.probation_seconds <= now:
                self._set(state, case, Condition.HEALTHY)
        waiting = [(name, case) for name, case in self._cases.items() if case.condition == Condition.SUSPECT]
        if waiting:
            out = sum(case.condition in _OUT and not case.new for case in self._cases.values())
            room = policy.cap(len(named)) - out
            for name, case in sorted(waiting, key=lambda each: each[1].since):
                if room > 0 and self._take_out(named[name], case):
                    room -= 1

    def _speak(self, state: NodeState, then: Action, why: str, at: float) -> None:
        """Something is said against a node."""
        now = self._scheduler.now
        case = self._cases.get(state.name)
        if case is None:
            case = self._cases[state.name] = _Case(Condition.HEALTHY, then, why, now)
        case.bad = max(case.bad, at)
        condition = case.condition
        if condition == Condition.PROBATION:
            case.then, case.why = Action.DRAIN, f"{why}, while on probation"
            self._set(state, case, Condition.SUSPECT)
        elif condition == Condition.HEALTHY:
            self._set(state, case, Condition.SUSPECT)
        elif then > case.then and condition not in (Condition.DRAINING, Condition.DRAINED):
            case.then, case.why = then, why
            if condition in (Condition.TESTING, Condition.CORDONED) and then == Action.DRAIN:
                self._drain(state, case, why)

    def _take_out(self, state: NodeState, case: _Case) -> bool:
        """Does what is to be done about a suspect node; returns whether it is out thereby."""
        if case.then == Action.DRAIN:
            self._drain(state, case, case.why)
        elif case.then == Action.CORDON:
            self._set(state, case, Condition.CORDONED)
            self._tell_cordon(state, case, lifted=False)
        elif self.policy.preflight is not None:
            self._test(state, case)
        else:
            return False
        return True

    def _drain(self, state: NodeState, case: _Case, why: str) -> None:
        case.then, case.why, case.new = Action.DRAIN, why, False
        self._set(state, case, Condition.DRAINING)
        self._scheduler.decide(Drain(self._scheduler.next_id(), why, state.name))

    def _try_again(self, state: NodeState, case: _Case) -> None:
        """Lets a node back: by way of a test, where there is one."""
        case.then = Action.TEST
        self._tell_cordon(state, case, lifted=True)
        if self.policy.preflight is not None:
            self._test(state, case)
        else:
            self._set(state, case, Condition.PROBATION)

    def _tell_cordon(self, state: NodeState, case: _Case, lifted: bool) -> None:
        reason = f"it was closed: {case.why}" if lifted else case.why
        self._scheduler.decide(Cordon(self._scheduler.next_id(), reason, state.name, lifted))

    def _test(self, state: NodeState, case: _Case) -> None:
        """Submits the preflight job of a node."""
        preflight = self.policy.preflight
        assert preflight is not None
        self._end_test(case)
        while not case.job or case.job in self._scheduler.apps or case.job in self._scheduler.ended:
            self._tests += 1
            case.job = f"preflight/{state.name}/{self._tests}"
        self._set(state, case, Condition.TESTING)
        group = TaskGroup("check", 1, preflight.resources, tolerations=(Toleration(),), node=state.name)
        job = Job(
            case.job, user=USER, priority=_FIRST, task_groups=(group,), runtime_estimate=preflight.seconds,
            timeout=preflight.timeout, tags={"preflight": state.name}, movable=False, preemptible=False,
        )  # fmt: skip
        self._scheduler.submit_forced(job)

    def _end_test(self, case: _Case) -> None:
        """Takes back a preflight job that does not run any more."""
        job, app = case.job, self._scheduler.apps.get(case.job)
        if job and (app is None or not app.held):
            case.job = ""
            if app is not None:
                self._scheduler.take_back(app)
                self._scheduler.forget(job)

    def _set(self, state: NodeState, case: _Case, condition: Condition) -> None:
        case.condition, case.since = condition, self._scheduler.now
        if condition == Condition.HEALTHY:
            del self._cases[state.name]
        state.condition = condition
        self._scheduler.reequip(state, tainted(state.node, condition))
