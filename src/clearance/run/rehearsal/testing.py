"""`Dag.test`: a run in this process, with no database and no processes, through the real state machine.

Rules:

1. What decides is `run.machine` and `run.deferral`, what carries values are the real serializers: a trigger rule, a
   retry, a map or a type that cannot travel behaves as in a run.
2. Nothing waits: the clock is the test's own and jumps to whatever is due next.
3. A wait that no mock and no time ends is an error that names it, never a test that hangs.

Not tested here: isolation, timeouts, resources, gangs (rank 0 of 1), services (an `Endpoint` is returned as it is).
"""

from __future__ import annotations

import heapq
import importlib
import os
import random
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from clearance.engine.base import Failure
from clearance.engine.context import Facts, context
from clearance.engine.local import attempt, failures
from clearance.errors import ClearanceError, UsageError
from clearance.graph.origin import locate, module_name
from clearance.run.arguments import Arguments
from clearance.run.deferral import DEFER, Deferrals, describe
from clearance.run.instance import ActiveRun, Instance
from clearance.run.machine import Machine
from clearance.run.rehearsal.clock import FakeClock
from clearance.run.rehearsal.mocks import REAL, Happening, Mocks, call
from clearance.run.rehearsal.rehearsed import Decision, Tested
from clearance.run.reports import SKIP
from clearance.run.rows import DeferralRow
from clearance.run.starts import waiting
from clearance.run.starts.written import written
from clearance.store import serializers
from clearance.store.blobs import Blobs, open_blobs
from clearance.types.artifact import Artifact
from clearance.types.cause import Cause, Trigger
from clearance.types.states import TaskState

if TYPE_CHECKING:
    from clearance.graph.dag import Dag

MOST = 10_000  # launches of one instance


def test_dag(
    dag: Dag,
    *,
    mocks: Mapping[Any, Any] | None,
    clock: FakeClock | None,
    interval: tuple[datetime, datetime] | None,
    parameters: dict[str, Any],
) -> Tested:
    """Runs a DAG as `Dag.test` says."""
    graph = dag.graph(**parameters)
    cause = None
    if interval is not None:
        start, end = (FakeClock(one)() for one in interval)
        cause = Cause(kind="schedule", start=start, end=end)
    run = ActiveRun(number=1, key="test", id=f"{graph.dag}/test", version="", bundle="", graph=graph, cause=cause)
    return _Rehearsal(run, Path(dag.path), Mocks(graph, mocks or {}), clock or FakeClock()).play()


class _Waits(Deferrals):
    """Waits without a database: of what happens elsewhere only mocks tell."""

    def __init__(self, rehearsal: _Rehearsal) -> None:
        super().__init__(cast(Any, rehearsal))
        self.already = {waiting.KIND: self._came}
        self._first: dict[Instance, float] = {}
        self._events: list[Trigger] = []

    def come(self, event: Trigger) -> None:
        """A task of this run has written an asset."""
        self._events.append(event)
        for name in waiting.keys_of(event):
            self.wake(waiting.KIND, name, waiting.payload(event))

    def _came(self, instance: Instance, row: DeferralRow) -> Any:
        found = (event for event in self._events if row.key in waiting.keys_of(event))
        return next(map(waiting.payload, found), None)

    def _began(self, instance: Instance, started: float) -> float:
        return self._first.setdefault(instance, started)


class _Rehearsal:
    """One run of a test."""

    def __init__(self, run: ActiveRun, path: Path, mocks: Mocks, clock: FakeClock) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="clearance-test-")
        self._place = Path(self._folder.name)
        self._blobs: Blobs = open_blobs(str(self._place / "blobs"))
        self.machine = Machine(Arguments(lambda artifact: serializers.read_bytes(artifact, self._blobs)))
        self._run = run
        self._path = path
        self._mocks = mocks
        self._clock = clock
        self._waits = _Waits(self)
        self._ready: deque[Instance] = deque()
        self._retries: list[tuple[float, int, Instance]] = []
        self._serial = 0
        self._rng = random.Random(0)  # noqa: S311
        self._targets: dict[str, attempt.Target] = {}
        self._told = Tested(run, self._blobs, self._folder, self._hints)

    def play(self) -> Tested:
        """Runs to the end."""
        with self._clock.standing():
            self.machine.begin(self._run)
            while not self._told.state:
                self._take()
                if self._ready:
                    self._attempt(self._ready.popleft())
                elif self._run.filling:
                    for expansion in list(self._run.filling):
                        self.machine.fill(self._run, expansion)
                elif not self._told.state:
                    self._skip_time()
            self._take()
        return self._told

    def _take(self) -> None:
        """Writes down what was decided since the last time."""
        changes = self.machine.take()
        now = self._clock.now
        for instance, state in changes.dirty.items():
            reason = changes.reasons.get(instance, "")
            self._told.decisions.append(Decision(now, instance.label, str(state), reason))
        self._ready.extend(each for each in changes.ready if each.state is TaskState.AWAITING_CLEARANCE)
        for _, end in changes.ended:
            self._told.state = str(end)

    def _skip_time(self) -> None:
        """Jumps to whatever is due next.

        Raises:
            UsageError: nothing is: what is waited for never comes.
        """
        due = min(self._retries[0][0] if self._retries else float("inf"), self._waits.due)
        if due == float("inf"):
            waits = [each for each in self._run.instances() if each.state is TaskState.DEFERRED and each.deferral]
            shown = "; ".join(f"{each.label} {describe(each.deferral)}" for each in waits[:5] if each.deferral)
            raise UsageError(
                f"the test of dag {self._run.graph.dag!r} cannot go on: {shown}: mock it, for example with "
                "clearance.testing.approve(), arrives() or ends()"
            )
        now = max(due, self._clock())
        self._clock.move(now)
        while self._retries and self._retries[0][0] <= now:
            instance = heapq.heappop(self._retries)[2]
            if instance.state is TaskState.UP_FOR_RETRY and instance.due_at <= now:
                self.machine.wake(instance)
        self._waits.fire(now)

    def _attempt(self, instance: Instance) -> None:
        """Launches and ends an attempt, as the controller would."""
        instance.epoch += 1
        instance.attempts += 1
        if instance.epoch > MOST:
            raise UsageError(f"task {instance.label!r} was launched {MOST:,} times: it never comes to an end")
        machine, now = self.machine, self._clock()
        machine.move(instance, TaskState.QUEUED)
        machine.move(instance, TaskState.RUNNING)
        self._told.order.append(instance.label)
        try:
            result = self._call(instance)
            wrote = written(instance.spec, result, lambda each: serializers.read_bytes(each, self._blobs))
        except (Exception, SystemExit) as error:
            self._failed(instance, failures.describe(error, 0), now)
            return
        self._told.failures.pop(instance.label, None)
        machine.finish(instance, TaskState.SUCCESS, result)
        for one in wrote:
            self._told.written.append((instance.label, one))
            event = Trigger(len(self._told.written), one.asset, self._clock(), one.key)
            self._waits.come(event)

    def _failed(self, instance: Instance, failure: Failure, now: float) -> None:
        machine = self.machine
        if DEFER in failure.bases:
            self._waits.take(instance, failure, now, self._clock())
            self._happen(instance)
        elif SKIP in failure.bases:
            machine.finish(instance, TaskState.SKIPPED, reason=failure.message)
        else:
            self._told.failures[instance.label] = failure
            machine.fail(instance, failure, self._clock(), self._rng)
            if instance.state is TaskState.UP_FOR_RETRY:
                machine.changes.reasons[instance] = failure.message
                self._serial += 1
                heapq.heappush(self._retries, (instance.due_at, self._serial, instance))

    def _happen(self, instance: Instance) -> None:
        """What a task waits for happens at once, where a mock says so."""
        mock, row = self._mocks.all_of(instance), instance.deferral
        if not isinstance(mock, Happening) or row is None or instance.state is not TaskState.DEFERRED:
            return
        if row.kind == "time":
            return
        if row.kind != mock.kind:
            raise UsageError(f"mocks: task {instance.label!r} {describe(row)}: the mock is of {mock.kind!r}")
        key = f"{self._run.key}.{instance.number}" if row.kind == "approval" else row.key
        self._waits.wake(row.kind, key, msgspec.json.decode(msgspec.json.encode(mock.payload(instance, self._clock()))))

    def _call(self, instance: Instance) -> Artifact | None:
        """Calls the function, or what stands for it, in a folder of its own; stores what it returns."""
        spec = instance.spec
        mock = self._mocks.of(instance)
        real = mock is REAL or isinstance(mock, Happening)
        hints = self._hints(spec.function, required=real)
        folder = self._place / f"{instance.number}.{instance.epoch}"
        folder.mkdir()
        facts = Facts(
            attempt=instance.attempt, run=self._run.id, task=spec.id, instance=instance.position,
            number=instance.attempts, directory=str(folder), cause=self._run.cause,
            rendezvous=f"file://{folder}/rendezvous", checkpoint=str(self._place / f"checkpoint.{instance.number}"),
            resumed=self._waits.resumed(instance),
        )  # fmt: skip
        with _inside(facts):
            values = attempt.loaded(self.machine.arguments.of(instance), hints, self._blobs, folder)
            result = self._targets[spec.function].call(**values) if real else call(mock, values)
            return attempt.kept(result, hints, self._blobs, folder)

    def _hints(self, entry: str, required: bool = False) -> dict[str, Any]:
        """Returns the annotations of a function; none where it cannot be imported and is not needed.

        Raises:
            ClearanceError: it is needed.
        """
        if entry not in self._targets:
            try:
                self._targets[entry] = self._resolve(entry)
            except (ImportError, ClearanceError):
                if required:
                    raise
                return {}
        return self._targets[entry].hints

    def _resolve(self, entry: str) -> attempt.Target:
        module, _, name = entry.partition(":")
        found: Any = sys.modules.get(module)
        main = sys.modules.get("__main__")
        file = getattr(main, "__file__", None)
        if found is None and file and module_name("__main__", file) == module:
            found = main
        if found is None:
            root = str(locate(self._path)[0])
            sys.path.insert(0, root)
            try:
                found = importlib.import_module(module)
            finally:
                sys.path.remove(root)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            raise UsageError(f"{module!r} has no {name!r}: a task must be defined at its top level")
        return attempt.Target(found, attempt.hints_of(found))


@contextmanager
def _inside(facts: Facts) -> Iterator[None]:
    """Is inside an attempt meanwhile: `context` answers, and the working directory is its own."""
    before = os.getcwd()
    os.chdir(facts.directory)
    context._enter(facts)
    try:
        yield
    finally:
        context._enter(None)
        os.chdir(before)
