"""Deferral: tasks that wait without a process, a slot or a worker, and what wakes them.

Rules:

1. What an instance waits for is one row, committed with its state; the heap of due times and the index of keys are
   read back from these rows.
2. A wake is never lost: when an instance begins to wait, and when a controller takes over, what has happened already
   is looked up (`already`), by kind.
3. A wait uses no retry. Its deadline counts from the start of the first attempt and outlives every attempt after it.
4. Of the attempts of an instance that ended in a wait the last `LOOKS` keep their rows: one that looks every second
   for a day does not leave 86,400.
5. A run that a task asks for is started under an id that follows from the task, so that asking twice starts one run.
   Its graph is made while the end of the attempt is not taken yet: the wait and the run are one transaction.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.engine.base import Defined, Failure, Finished
from clearance.errors import GraphError, Refused, UsageError, nearest
from clearance.run import rows
from clearance.run.instance import Instance
from clearance.run.machine import stopping
from clearance.types.deferral import Asked, Resumed, asked, checked
from clearance.types.states import RunState, TaskState

if TYPE_CHECKING:
    from clearance.run.controller import Controller

DEFER = "clearance.errors.Defer"
LOOKS = 10
Already = Callable[[Instance, rows.DeferralRow], Any]


class Deferrals:
    """The instances that wait.

    Args:
        controller: whose turns commit what is changed here.

    Attributes:
        already: by kind, what has happened that an instance begins to wait for, or None. It may raise a
            `UsageError` where that can never happen: the instance fails with it.
    """

    def __init__(self, controller: Controller) -> None:
        self.already: dict[str, Already] = {"run": self._run_ended}
        self._controller = controller
        self._due: list[tuple[float, int, Instance, int]] = []
        self._keys: dict[tuple[str, str], dict[Instance, None]] = {}
        self._starts: dict[str, tuple[Asked, Finished]] = {}
        self._unsaid: list[str] = []
        self._serial = 0
        self._stale = 0

    @property
    def due(self) -> float:
        """When the next wait ends by itself, seconds since 1970."""
        return self._due[0][0] if self._due else float("inf")

    def take(
        self, instance: Instance, failure: Failure, started: float, now: float, made: Defined | None = None
    ) -> None:
        """An attempt raised `Defer`.

        Args:
            instance: whose attempt it was; running or queued.
            failure: with what is waited for.
            started: when that attempt began, seconds since 1970.
            now: seconds since 1970.
            made: the graph of the run that it asks for; None where there is such a run, or none is asked for.
        """
        machine = self._controller.machine
        try:
            wait = checked(failure.data)
        except UsageError as error:
            machine.finish(instance, TaskState.FAILED, reason=str(error))
            return
        began = self._began(instance, started)
        instance.attempts -= 1
        row = instance.deferral = instance.deferral or rows.DeferralRow()
        row.kind, row.key, row.soft, row.waiting = wait.kind, wait.key, int(wait.soft), 1
        row.times += 1
        row.since = row.since or began
        row.state, row.details, row.payload = rows.json_text(wait.state), rows.json_text(wait.details), ""
        row.due_at = wait.until if wait.seconds is None else now + wait.seconds
        row.deadline = None if wait.timeout is None else row.since + wait.timeout
        if stopping(instance):
            machine.finish(instance, TaskState.CANCELLED, reason="cancelled")
            return
        if made is not None and (refused := self._start(instance, row, made)):
            machine.finish(instance, TaskState.FAILED, reason=f"run {row.key!r}: {refused}")
            return
        machine.move(instance, TaskState.DEFERRED)
        machine.changes.reasons[instance] = describe(row)
        self.restore(instance)

    def restore(self, instance: Instance) -> None:
        """Takes an instance whose row says that it waits; wakes it where what it waits for has happened."""
        row = instance.deferral
        if row is None or not row.waiting:
            return
        try:
            happened = self.already[row.kind](instance, row) if row.kind in self.already else None
        except UsageError as error:
            self._controller.machine.finish(instance, TaskState.FAILED, reason=str(error))
            return
        if happened is not None:
            self._wake(instance, row, happened)
            return
        ends = [at for at in (row.due_at, row.deadline) if at is not None]
        if ends:
            self._serial += 1
            heapq.heappush(self._due, (min(ends), self._serial, instance, row.times))
        if key := _key(instance, row):
            self._keys.setdefault(key, {})[instance] = None

    def fire(self, now: float) -> None:
        """Wakes what is due, and ends what has waited too long."""
        while self._due and self._due[0][0] <= now:
            entry = heapq.heappop(self._due)
            if not _holds(entry):
                continue
            instance = entry[2]
            row = instance.deferral
            assert row is not None
            self._drop_key(instance)
            if row.due_at is not None and row.due_at <= now:
                self._wake(instance, row, None)
            else:
                waited = f"{describe(row)}: its timeout of {(row.deadline or now) - row.since:g} s is over"
                state = TaskState.SKIPPED if row.soft else TaskState.FAILED
                self._controller.machine.finish(instance, state, reason=waited)

    def wake(self, kind: str, key: str, payload: Any) -> int:
        """What these instances wait for has happened; returns how many there were.

        Args:
            kind: `approval`, `run` or `asset`.
            key: which; as the tasks named it.
            payload: JSON-compatible; what they are told of it in `context.resumed.payload`.
        """
        woken = 0
        for instance in self._keys.pop((kind, key), ()):
            row = instance.deferral
            if row is not None and _waits(instance, row):
                self._wake(instance, row, payload)
                self._age()
                woken += 1
        return woken

    def forget(self, instance: Instance) -> None:
        """An instance waits no more."""
        self._drop_key(instance)
        self._age()

    def _drop_key(self, instance: Instance) -> None:
        if instance.deferral is not None and (key := _key(instance, instance.deferral)) in self._keys:
            self._keys[key].pop(instance, None)
            if not self._keys[key]:
                del self._keys[key]

    def resumed(self, instance: Instance) -> Resumed | None:
        """Returns what an attempt is told that is about to be launched; None for one that follows no wait."""
        row = instance.deferral
        if row is None or not row.since:
            return None
        payload = msgspec.json.decode(row.payload) if row.payload else None
        return Resumed(row.kind, row.key, msgspec.json.decode(row.state), payload, row.since, row.times)

    # -- runs that tasks start -----------------------------------------------------------------------------------------

    def parks(self, instance: Instance, event: Finished) -> bool:
        """True for the end of an attempt that asks for a run whose graph is made first, as rule 5 says."""
        if self.parked(event.attempt):
            return True
        failure = event.failure
        if failure is None or DEFER not in failure.bases or stopping(instance):
            return False
        try:
            wait = checked(failure.data)
        except UsageError:
            return False
        wanted = msgspec.convert(wait.details, Asked)
        if wait.kind != "run" or not wanted.dag or self._found(wait.key) is not None:
            return False
        if not self._controller.database.rows("version_newest", wanted.dag):
            return False
        token = _token(event.attempt)
        self._starts[token] = wanted, event
        self._unsaid.append(token)
        return True

    def parked(self, attempt: str) -> bool:
        """True while the end of an attempt is kept until a graph is made."""
        return _token(attempt) in self._starts

    def act(self) -> None:
        """Asks the engine for the graphs of the runs that tasks ask for."""
        tokens, self._unsaid = self._unsaid, []
        for token in tokens:
            if token in self._starts:
                wanted = self._starts[token][0]
                bundle, module = self._controller.database.rows("version_newest", wanted.dag)[0]
                self._controller.engine.define(token, bundle, f"{module}:{wanted.dag}", wanted.parameters)

    def defined(self, event: Defined) -> Finished | None:
        """Returns the end of the attempt that was kept until this graph was made; None when no task asked for it."""
        found = self._starts.pop(event.request, None)
        return None if found is None else found[1]

    def lost(self) -> None:
        """The engine died: what it was asked to define is asked again."""
        self._unsaid = list(self._starts)

    def _start(self, instance: Instance, row: rows.DeferralRow, made: Defined) -> str:
        """Starts the run that an instance asks for, in the transaction of its wait; returns what forbids it."""
        if self._found(row.key) is not None:
            return ""
        try:
            if made.error:
                raise GraphError(made.error)
            self._controller.submissions.submit_defined(made.graph, row.key, asked(row.details).dag, instance)
        except (UsageError, Refused) as error:
            return str(error)
        return ""

    def _found(self, run: str) -> RunState | None:
        """Returns the state of a run; None where there is none."""
        if run in self._controller.runs:
            return RunState.RUNNING
        found = rows.run_row(self._controller.database, run)
        return None if found is None else RunState(found.state)

    def _run_ended(self, instance: Instance, row: rows.DeferralRow) -> Any:
        """Returns how a run that is waited for stands, or None while its end is still to come."""
        database, wanted = self._controller.database, asked(row.details)
        if row.key == instance.run.id:
            raise UsageError(f"run {row.key!r} cannot wait for itself")
        if (state := self._found(row.key)) is not None:
            return {"state": state} if state.finished or not wanted.wait else None
        if wanted.dag and not database.rows("version_newest", wanted.dag):
            known = [name for (name,) in database.rows("version_dags")]
            near = nearest(wanted.dag, known)
            raise UsageError(f"no dag {wanted.dag!r} is known here{near}: run it once with `clearance run`")
        raise UsageError(f"no run {row.key!r}: it must have been started before a task waits for it")

    def _age(self) -> None:
        """Counts an entry of the heap that may be stale; lets the stale ones go when they are the most."""
        self._stale += 1
        if self._stale > 64 and 2 * self._stale > len(self._due):
            self._due = [entry for entry in self._due if _holds(entry)]
            heapq.heapify(self._due)
            self._stale = 0

    def _began(self, instance: Instance, started: float) -> float:
        """Returns when the first attempt began since the instance was last cleared."""
        if instance.attempts < 2 or (instance.deferral and instance.deferral.since):
            return started
        before = instance.epoch - instance.attempts
        found = self._controller.database.rows("attempt_first", instance.run.number, instance.number, before)[0][0]
        return min(started, found) if found is not None else started

    def _wake(self, instance: Instance, row: rows.DeferralRow, payload: Any) -> None:
        row.waiting = 0
        row.payload = "" if payload is None else rows.json_text(payload)
        self._controller.machine.wake(instance)


def describe(row: rows.DeferralRow) -> str:
    """Returns in one line what a deferred task waits for."""
    said = asked(row.details)
    if row.kind == "approval":
        who = " or ".join(said.approvers) or "anybody"
        text = f"waits for the decision of {who}" + (f": {said.message}" if said.message else "")
    elif row.kind == "run":
        text = f"waits for run {row.key}" + ("" if said.wait else " to start")
    elif row.kind == "asset":
        text = f"waits for an event of asset {row.key}"
    else:
        text = said.message or "waits"
    ends = [("until", row.due_at), ("at most until", row.deadline)]
    return text + "".join(f", {word} {_moment(at)}" for word, at in ends if at is not None)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _token(attempt: str) -> str:
    return f"start-{attempt}"


def _waits(instance: Instance, row: rows.DeferralRow) -> bool:
    return instance.state is TaskState.DEFERRED and bool(row.waiting)


def _holds(entry: tuple[float, int, Instance, int]) -> bool:
    """True for an entry of the heap whose wait still goes on."""
    _, _, instance, times = entry
    row = instance.deferral
    return row is not None and _waits(instance, row) and row.times == times


def _key(instance: Instance, row: rows.DeferralRow) -> tuple[str, str]:
    return row.kind, f"{instance.run.key}.{instance.number}" if row.kind == "approval" else row.key
