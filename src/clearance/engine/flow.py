"""A flow in its process: each call of a task becomes a step, is checked against what is recorded, and recorded.

Rules:

1. A step is known by its position among the flow's calls. At a position that is recorded, the same task must be called
   at the same path with the same arguments; then the record is the answer. Else `FlowChanged` says what differs.
2. Calls come from the flow's own thread: of two threads nobody knows which calls first.
3. What a step returns is what a repeated flow would get: files and models as they are stored.
4. A step that fails raises `StepFailed`, whether it fails now or is recorded to have failed.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from clearance.engine.base import Failure, Step
from clearance.engine.local import failures
from clearance.errors import Defer, FlowChanged, GraphError, StepFailed
from clearance.graph import flowing
from clearance.graph.flow import Flow, needs_own_process
from clearance.graph.retry import is_retried, wait_of
from clearance.graph.task import Task
from clearance.store import serializers
from clearance.store.blobs import Blobs
from clearance.types import masking
from clearance.types.artifact import Argument, Artifact, Literal, Stored
from clearance.types.references import File, Tree

_AS_IT_IS = frozenset({"json", "msgpack", "npy", "safetensors", "parquet"})


class Line(Protocol):
    """How a flow's process reaches the controller."""

    def begin(self) -> list[Step]:
        """Returns what is committed of this flow."""

    def record(self, step: Step) -> None:
        """Keeps a step that has ended in this process."""

    def call(self, step: Step, arguments: dict[str, Argument]) -> None:
        """Asks that a step be run as an instance of its own."""

    def answer(self, position: int) -> Step:
        """Waits until a step that was called has ended, and returns it."""

    def answered(self, position: int) -> bool:
        """Returns whether `answer` would not wait."""


class Recorder:
    """Makes steps of calls; see the module.

    Args:
        tasks: what the flow may call.
        line: to the controller.
        blobs: where results lie.
        directory: the attempt's own.
    """

    def __init__(
        self, tasks: Mapping[tuple[str, str], Task[..., Any]], line: Line, blobs: Blobs, directory: Path
    ) -> None:
        self._line = line
        self._blobs = blobs
        self._directory = directory
        self._path: list[str] = []
        self._position = 0
        self._counts: Counter[str] = Counter()
        self._flows: Counter[str] = Counter()
        self._known = {key: needs_own_process(task) for key, task in tasks.items()}
        self._recorded = {step.position: step for step in line.begin()}
        self._results = {step.result.digest for step in self._recorded.values() if step.result is not None}
        self._thread = threading.get_ident()
        self._open: dict[int, _Called] = {}
        self._rng = random.Random()  # noqa: S311

    @contextmanager
    def inside(self, flow: str) -> Iterator[None]:
        """Steps that are called meanwhile belong to this flow, which the running one calls."""
        self._path.append(f"{flow}[{self._flows[flow]}]")
        self._flows[flow] += 1
        try:
            yield
        finally:
            self._path.pop()

    def submit(self, task: Task[..., Any], arguments: Mapping[str, Any]) -> flowing.Future:
        """Begins a step; one that runs in this process has ended when this returns."""
        if threading.get_ident() != self._thread:
            raise GraphError(f"{task.where} is called in another thread than its flow's: use {task.id}.submit(…)")
        step = self._next(task, arguments)
        recorded = self._recorded.get(step.position)
        if recorded is not None:
            _check(step, recorded)
            if recorded.finished_at:
                return _Ended(self, task, recorded)
        if self._known[task.origin.entry, task.id]:
            called = self._open[step.position] = _Called(self, task, step.position)
            stored = {name: self._argument(value) for name, value in arguments.items()}
            self._line.call(msgspec.structs.replace(step, started_at=time.time()), stored)
            return called
        return self._run(task, arguments, step)

    def finish(self) -> None:
        """Waits for the steps of which nobody asked for the result."""
        for position in list(self._open):
            self.ended(position)

    def ended(self, position: int) -> Step:
        """Waits for the end of a step that runs elsewhere."""
        step = self._line.answer(position)
        self._open.pop(position, None)
        if step.result is not None:
            self._results.add(step.result.digest)
        return step

    def has_ended(self, position: int) -> bool:
        """Returns whether `ended` would not wait."""
        return self._line.answered(position)

    def value(self, task: Task[..., Any], step: Step) -> Any:
        """Returns what a step returned.

        Raises:
            StepFailed: it failed.
        """
        if step.failure is not None:
            raise StepFailed(step.label, step.failure.kind, step.failure.message)
        if step.result is None:
            return None
        return serializers.load(step.result, task.signature.returns, self._blobs, self._directory)

    def _next(self, task: Task[..., Any], arguments: Mapping[str, Any]) -> Step:
        if (task.origin.entry, task.id) not in self._known:
            raise GraphError(
                f"{task.where} is not known to the flow: give it a name at the top level of one of the pipeline's files"
            )
        step = Step(
            position=self._position, path="/".join((*self._path, "")), index=self._counts[task.id], task=task.id,
            entry=task.origin.entry, inputs=fingerprint(arguments),
        )  # fmt: skip
        self._position += 1
        self._counts[task.id] += 1
        return step

    def _argument(self, value: Any) -> Argument:
        """Returns an argument for another process: what a step returned by its digest, other plain data as it is."""
        artifact = serializers.dump(value, Any, self._blobs, self._directory)
        if artifact is None:
            return Literal(None)
        if artifact.serializer == "json" and artifact.digest not in self._results:
            return Literal(msgspec.json.decode(serializers.read_bytes(artifact, self._blobs)))
        return Stored(artifact)

    def _run(self, task: Task[..., Any], arguments: Mapping[str, Any], step: Step) -> _Ended:
        begun, used = time.time(), time.process_time()
        tries = 0
        result: Artifact | None = None
        failure: Failure | None = None
        while True:
            tries += 1
            before = flowing.use(None)
            try:
                value = task.function(**arguments)
                if masking.masker:
                    value = masking.masker.value(value)
                result = serializers.dump(value, task.signature.returns, self._blobs, self._directory)
                failure = None
                break
            except Defer:
                raise GraphError(
                    f"{task.where} waits without a process, which a step of the flow's own process cannot: "
                    "give it isolation='process'"
                ) from None
            except Exception as error:
                value, cause = None, error
                failure = failures.describe(error, 0)
            finally:
                flowing.use(before)
            if tries > task.options.retries.times or not is_retried(task.options.retries, failure.kind, failure.bases):
                break
            time.sleep(wait_of(task.options.retries, tries, self._rng))
        done = msgspec.structs.replace(
            step, result=result, failure=failure, attempts=tries, started_at=begun, finished_at=time.time(),
            cpu_seconds=round(time.process_time() - used, 6),
        )  # fmt: skip
        self._line.record(done)
        if result is not None:
            self._results.add(result.digest)
        if failure is not None:
            raise StepFailed(done.label, failure.kind, failure.message) from cause
        if result is None or result.serializer in _AS_IT_IS:
            return _Ended(self, task, done, value, known=True)
        return _Ended(self, task, done)


class _Ended:
    """A step whose end is known."""

    def __init__(self, recorder: Recorder, task: Task[..., Any], step: Step, value: Any = None, known: bool = False):
        self._recorder, self._task, self._step, self._value, self._known = recorder, task, step, value, known

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        return self._value if self._known else self._recorder.value(self._task, self._step)


class _Called:
    """A step that runs as an instance of its own."""

    def __init__(self, recorder: Recorder, task: Task[..., Any], position: int) -> None:
        self._recorder, self._task, self._position = recorder, task, position
        self._step: Step | None = None

    def done(self) -> bool:
        return self._step is not None or self._recorder.has_ended(self._position)

    def result(self) -> Any:
        if self._step is None:
            self._step = self._recorder.ended(self._position)
        return self._recorder.value(self._task, self._step)


def _check(called: Step, recorded: Step) -> None:
    for what, now, then in (
        ("the task", called.entry, recorded.entry),
        ("the call path", called.path + called.label, recorded.path + recorded.label),
        ("the arguments", called.inputs, recorded.inputs),
    ):
        if now != then:
            shown = "" if what == "the arguments" else f", {now} in place of {then}"
            raise FlowChanged(
                f"step {called.position}, {recorded.label}: {what} differ{'s' if what != 'the arguments' else ''} from "
                f"what is recorded{shown}: a flow must make the same calls from the same parameters and results; "
                "put what changes (time, chance, files) into a task, or fork the run before this step"
            )


def fingerprint(arguments: Mapping[str, Any]) -> str:
    """Returns a digest of arguments by what they say: data by value, files and models by digest, arrays by content."""
    try:
        data = msgspec.json.encode(_known(arguments), enc_hook=_content, order="deterministic")
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        data = b"".join(f"{name}:{type(value).__qualname__};".encode() for name, value in sorted(arguments.items()))
    return hashlib.sha256(data).hexdigest()[:32]


def _known(value: Any) -> Any:
    """Returns a value in which files and trees are their digests: their paths change from one attempt to the next."""
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, (File, Tree)):
        return {"digest": str(value.digest or value.path)}
    if isinstance(value, Mapping):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(item) for item in value]
    return value


def _content(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    return [type(value).__module__, type(value).__qualname__, list(getattr(value, "shape", ()))]


def run(flow: Flow, values: Mapping[str, Any], line: Line, blobs: Blobs, directory: Path) -> Any:
    """Calls the flow's function, its tasks being steps, and returns what it returns."""
    recorder = Recorder(flow.tasks(), line, blobs, directory)
    flowing.use(recorder)
    try:
        result = flow.function(**values)
        recorder.finish()
        return result
    finally:
        flowing.use(None)
