"""`Task`: a task of a run as people look at it, or one instance of a mapped one.

A mapped task is read some instances at a time: `for instance in task` holds a page of them, `task[3]` reads one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.engine.base import Failure
from clearance.engine.local import frames
from clearance.errors import NotSerialisable, UsageError
from clearance.graph.origin import module_name
from clearance.run import rows
from clearance.run.arguments import nested
from clearance.run.look import views
from clearance.run.look.reading import Reader, moment
from clearance.run.shape import Path, Shape, text
from clearance.run.stored import Stored
from clearance.store.database import Database
from clearance.types.artifact import Artifact
from clearance.types.states import TaskState

if TYPE_CHECKING:
    from clearance.graph.model import Node
    from clearance.run.look.lineage import Step

PAGE = 500


class Attempt(msgspec.Struct, frozen=True):
    """One try.

    Attributes:
        number: from 1, in the order in which they were launched.
        outcome: `success`, `failure`, `timeout`, `evicted`, `lost`, `cancelled`, `deferred`; empty while it runs.
        started_at: when it began; None while it is queued.
        finished_at: when it ended; None while it runs.
        failure: why it did not succeed: `kind`, `message`, `traceback`; else None.
        cpu_seconds: of all its processes.
        peak_memory: bytes.
        stdout: what it wrote there.
        stderr: what it wrote there.
    """

    number: int
    outcome: str
    started_at: datetime | None
    finished_at: datetime | None
    failure: Failure | None
    cpu_seconds: float
    peak_memory: int
    stdout: str
    stderr: str


class Task:
    """A task of a run, from `Run.task`; each attribute is read when it is asked for.

    Attributes:
        run: id of the run.
        name: `train`; `train[3]` for an instance.
    """

    def __init__(self, reader: Reader, run: rows.RunRow, node: Node, shape: Shape, row: rows.InstanceRow) -> None:
        self.run = run.id
        self.name = row.label
        self._reader = reader
        self._run = run
        self._node = node
        self._shape = shape
        self._row = row

    def __repr__(self) -> str:
        return f"<task {self.name!r} of run {self.run!r} {self.state}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and (self.run, self.name) == (other.run, other.name)

    def __hash__(self) -> int:
        return hash((self.run, self.name))

    @property
    def state(self) -> str:
        """Where it stands now; read anew until it has finished."""
        if not TaskState(self._row.state).finished:
            with self._reader.database() as database:
                self._row = rows.InstanceRow(
                    *database.rows("instances_numbered", self._run.number, self._row.number)[0]
                )
        return self._row.state

    @property
    def attempts(self) -> list[Attempt]:
        """Its tries, oldest first."""
        with self._reader.database() as database:
            found = rows.attempt_rows(database, self._run.number, self._row.number)
        return [self._attempt(number, row) for number, row in enumerate(found, 1)]

    @property
    def failure(self) -> Failure | None:
        """Why its newest attempt did not succeed: `kind`, `message`, `traceback`; None where it did."""
        with self._reader.database() as database:
            found = rows.attempt_rows(database, self._run.number, self._row.number)
        return rows.failure_of(found[-1].failure) if found and found[-1].failure else None

    @property
    def left(self) -> Any:
        """What its newest attempt has left although it failed, such as a notebook; None where it has left nothing."""
        with self._reader.database() as database:
            found = rows.left_of(database, self._run.number, self._row.number)
        return self._reader.value(found, Any)

    @property
    def stdout(self) -> str:
        """What its newest attempt wrote to standard output."""
        return self._written(frames.STDOUT)

    @property
    def stderr(self) -> str:
        """What its newest attempt wrote to standard error."""
        return self._written(frames.STDERR)

    @property
    def logs(self) -> str:
        """What its newest attempt wrote to either, in the order in which it came."""
        return self._written(None)

    @property
    def artifact(self) -> Artifact | None:
        """What is known of its result: digest, size, serializer, type, metadata; None where it has none."""
        with self._reader.database() as database:
            return rows.artifact_of(database, self._run.number, self._row.number)

    @property
    def result(self) -> Any:
        """What it returned; of a mapped task the list of what its instances returned, None where one has not.

        A dataclass comes back as itself where this process has its module loaded, as plain data else. Files and models
        lie read-only in the cache of the home.

        Raises:
            UsageError: it has not succeeded.
        """
        return self.load()

    def load(self, annotation: Any = msgspec.UNSET) -> Any:
        """Returns what it returned, as this type.

        Args:
            annotation: of one instance's value; without one, as for `result`.

        Raises:
            UsageError: it has not finished, or it ended without success.
            NotSerialisable: the value does not fit the annotation.
        """
        path, levels = self._row.path, self._shape.levels(self._row.node)
        if len(path) == levels:
            if (state := self.state) != TaskState.SUCCESS:
                raise UsageError(f"{self.run} {self.name} is {state} and has no result")
            return self._value(self.artifact, annotation)
        if not TaskState(self.state).finished:
            raise UsageError(f"{self.run} {self.name} is {self.state}: its instances have not all ended")
        with self._reader.database() as database:
            found = dict(Stored(database).results(self._run.number, self._row.node))
        below = {at: each for at, each in found.items() if at[: len(path)] == path}
        return nested(below, path, levels, lambda each: self._value(each, annotation), list)

    def lineage(self, down: bool = False, limit: int = 1000) -> list[Step]:
        """Returns what its result was made of, or with `down` what was made of it: nearest first.

        Raises:
            UsageError: it has no result.
        """
        from clearance.run.look.lineage import trace

        with self._reader.database() as database:
            return trace(database, self.run, self.name, down, limit)

    # -- mapped ------------------------------------------------------------------------------------------------------

    @property
    def mapped(self) -> bool:
        """True where it stands for instances."""
        return len(self._row.path) < self._depth

    @property
    def counts(self) -> dict[str, int]:
        """How many of the rows directly below it are in each state."""
        with self._reader.database() as database:
            return Stored(database).counts(self._run.number, self._row.node, self._row.path)

    def __len__(self) -> int:
        """Returns how many instances it has had so far."""
        self._check_mapped()
        return sum(self.counts.values())

    def __iter__(self) -> Iterator[Task]:
        """Yields its instances in order, read a page at a time."""
        self._check_mapped()
        last = -1
        while True:
            with self._reader.database() as database:
                page = database.rows(
                    "instances_after", self._run.number, self._row.node, text(self._row.path), last, PAGE
                )
            for found in page:
                yield self._other(rows.InstanceRow(*found))
            if len(page) < PAGE:
                return
            last = page[-1][4]

    def __getitem__(self, index: int | tuple[int, ...]) -> Task:
        """Returns the instance of an index, or of a path of indices.

        Raises:
            UsageError: there is none.
        """
        self._check_mapped()
        path: Path = (*self._row.path, *(index if isinstance(index, tuple) else (index,)))
        with self._reader.database() as database:
            if len(path) <= self._depth and path[-1] < 0:
                count = sum(Stored(database).counts(self._run.number, self._row.node, path[:-1]).values())
                path = (*path[:-1], path[-1] + count)
            found = rows.instance_at(database, self._run.number, self._row.node, path)
        if found is None or len(path) > self._depth:
            raise UsageError(f"{self.run} has no {self._node.id}[{text(path)}]: {self.name} has {len(self)} instances")
        return self._other(found)

    def __bool__(self) -> bool:
        """Returns True: a task is never empty."""
        return True

    def _check_mapped(self) -> None:
        if not self.mapped:
            raise UsageError(f"{self.run} {self.name} is not mapped: it has no instances")

    @property
    def _depth(self) -> int:
        return self._shape.levels(self._row.node) + self._node.is_group

    def _other(self, row: rows.InstanceRow) -> Task:
        return Task(self._reader, self._run, self._node, self._shape, row)

    # -- values and logs ---------------------------------------------------------------------------------------------

    def _value(self, artifact: Artifact | None, annotation: Any) -> Any:
        if annotation is not msgspec.UNSET:
            return self._reader.value(artifact, annotation)
        try:
            return self._reader.value(artifact, _annotation(self._node, artifact))
        except NotSerialisable:  # what this process has loaded is of another version
            return self._reader.value(artifact, Any)

    def _attempt(self, number: int, row: rows.AttemptRow) -> Attempt:
        return Attempt(
            number, row.outcome, moment(row.started_at), moment(row.finished_at),
            rows.failure_of(row.failure) if row.failure else None, row.cpu_seconds, row.peak_memory,
            self._read(row.epoch, frames.STDOUT), self._read(row.epoch, frames.STDERR),
        )  # fmt: skip

    def _written(self, stream: int | None) -> str:
        with self._reader.database() as database:
            epochs = views.epochs(database, self._run, self._row)
        return self._read(epochs[-1], stream) if epochs else ""

    def _read(self, epoch: int, stream: int | None) -> str:
        path = self._reader.settings.home / "logs" / f"{self._run.key}.{self._row.number}.{epoch}.frames"
        found: list[bytes] = []
        offset = 0
        while True:
            some, offset = frames.read(path, offset)
            if not some:
                return b"".join(found).decode(errors="replace")
            found += [frame.data for frame in some if stream is None or frame.stream == stream]


def look(reader: Reader, database: Database, shape: Shape, nodes: tuple[Node, ...], run: str, label: str) -> Task:
    """Returns a task of a run, or one instance.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    found, row = views.find(database, run, label)
    return Task(reader, found, nodes[row.node], shape, row)


def _annotation(node: Node, artifact: Artifact | None) -> Any:
    """Returns what the task is annotated to return, or the type of the value, where its module is loaded here."""
    module, _, name = node.function.partition(":")
    loaded = sys.modules.get(module)
    if loaded is None and (main := getattr(sys.modules.get("__main__"), "__file__", None)):
        loaded = sys.modules["__main__"] if module_name("__main__", main) == module else None
    signature = getattr(_attribute(loaded, name), "signature", None)
    if signature is not None and getattr(signature, "returns", Any) is not Any:
        return signature.returns
    if artifact is not None:
        kind = artifact.type
        for split in (i for i, letter in enumerate(kind) if letter == "."):
            found = _attribute(sys.modules.get(kind[:split]), kind[split + 1 :])
            if isinstance(found, type) and found.__module__ != "builtins":
                return found
    return Any


def _attribute(module: Any, name: str) -> Any:
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
