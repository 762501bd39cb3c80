"""WHO runs it: the one protocol between the controller and whatever launches processes.

Rules every engine keeps (`conformance.py` tests them):

1. `launch` is idempotent by attempt key: a key that was launched is not launched again.
2. Everything an engine learns arrives as an event from `observe`, in the order in which it happened.
3. A finished attempt stays in the snapshot of `adopt`, result included, until `acknowledge`.
4. A gang is one attempt with several processes: all start, and the end of one by failure ends all.
5. Ending an attempt ends its whole process group: a notice (SIGTERM), `grace` seconds, then SIGKILL.
6. An engine holds no truth: what it forgets, the database repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from clearance.types.artifact import Argument, Artifact
from clearance.types.cause import Cause
from clearance.types.deferral import Resumed


class Launch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt of a task, or one replica of a service.

    Attributes:
        attempt: unique key of characters `[a-z0-9.-]`; safe as a file name. It ends in the fencing epoch, after a
            dot or a dash: a launch with the same name and a higher epoch kills the older attempt first, of which
            nothing is said any more.
        kind: `attempt` ends; `service` runs until it is told to stop.
        bundle: digest of the source bundle, unpacked at `home/bundles/<hex>`; empty for a service whose
            entry point needs no pipeline code.
        entry: `module:qualified.name` of the function.
        arguments: by parameter name, for a task; a service gets its one config as `{"config": Literal(…)}`.
        isolation: `process` (fresh fork), `worker` (a warm process), `inline` (inside the zygote; for tests).
        preload: modules that the zygote imports before it forks.
        gang: number of processes; each gets rank, size and one rendezvous.
        cpu_millis: thousandths of a CPU, for each process. `OMP_NUM_THREADS` says the whole CPUs, at least 1, as with
            Ray, unless the engine's own environment or `environment` sets it, or `cpu_millis` is 0. A library reads
            it when it is loaded: one that a preload, or an earlier attempt of a warm process, has loaded keeps what
            it read.
        memory: bytes, for each process; 0 means no limit is set.
        timeout: seconds after which the attempt is ended with outcome `timeout`; 0 means none.
        grace: seconds between notice and kill.
        environment: variables added to the process.
        nodes: where each process goes, by name, in the order of ranks; none: all on the engine's first node.
        devices: numbers of the GPUs that each process sees, of its node's from 0, in the order of ranks; none: what is
            set already. With devices a process is always a fresh one, since a warm one may hold others.
        tenant: whom its network traffic is counted for; empty: nobody.
        run: id of the run, for the context and the logs.
        task: id of the task.
        instance: index among the mapped instances; -1 when the task is not mapped.
        number: which attempt this is, from 1.
        checkpoint: name of the directory that is kept from one attempt of this instance to the next.
        flow: the entry is a flow: every call of a task in it is a step.
        cause: what started the run; None where somebody did.
        resumed: what an attempt is told that goes on after a wait.
    """

    attempt: str
    kind: str = "attempt"
    bundle: str = ""
    entry: str
    arguments: dict[str, Argument] = {}
    isolation: str = "process"
    preload: tuple[str, ...] = ()
    gang: int = 1
    cpu_millis: int = 1000
    memory: int = 0
    timeout: float = 0.0
    grace: float = 10.0
    environment: dict[str, str] = {}
    nodes: tuple[str, ...] = ()
    devices: tuple[tuple[int, ...], ...] = ()
    tenant: str = ""
    run: str = ""
    task: str = ""
    instance: int = -1
    number: int = 1
    checkpoint: str = ""
    flow: bool = False
    cause: Cause | None = None
    resumed: Resumed | None = None


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt did not succeed.

    Attributes:
        kind: qualified name of the exception type, or `signal`, `exit`, `timeout`, `lost`, `evicted`.
        bases: qualified names of the exception's whole method resolution order, for `Retry(on=…)`.
        message: one or two lines.
        traceback: as text; frames of Clearance itself left out.
        rank: which process of a gang failed first.
        data: what an exception of Clearance carries beside its message: of `Defer`, what is waited for.
        left: what the attempt leaves although it failed: the exception's `left`, a plain value, a file or a tree, with
            the cards that it has shown; None where there is neither.
    """

    kind: str
    message: str
    bases: tuple[str, ...] = ()
    traceback: str = ""
    rank: int = 0
    data: dict[str, Any] = {}
    left: Artifact | None = None


class Usage(msgspec.Struct, frozen=True):
    """What an attempt consumed: CPU seconds and peak resident bytes, summed over its processes."""

    cpu_seconds: float = 0.0
    peak_memory: int = 0


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The processes exist.

    Attributes:
        attempt: key of the launch.
        pids: one a rank; in a snapshot none while they are being made, and a `Started` follows.
        births: start time of each pid in clock ticks since boot (`/proc/PID/stat` field 22): pid and
            birth together name a process for ever.
        nodes: where each process is, in the order of ranks.
    """

    attempt: str
    pids: tuple[int, ...]
    births: tuple[int, ...]
    nodes: tuple[str, ...]

    @property
    def node(self) -> str:
        """The names of its nodes, each once, with commas between."""
        return ",".join(dict.fromkeys(self.nodes))


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """A service replica says that it can answer, and how to reach it (`info`, for example a url)."""

    attempt: str
    info: dict[str, Any]


class Finished(msgspec.Struct, frozen=True, tag="finished", omit_defaults=True):
    """The attempt is over, its process group is gone, and its spool file (if any) is written.

    Attributes:
        attempt: key of the launch.
        outcome: `success`, `failure`, `timeout`, `cancelled`, `evicted` or `lost`.
        result: what the function returned (rank 0 of a gang); None for a `None`.
        failure: set for every outcome but `success`.
        usage: what it consumed.
    """

    attempt: str
    outcome: str
    result: Artifact | None = None
    failure: Failure | None = None
    usage: Usage = Usage()


class EngineLost(msgspec.Struct, frozen=True, tag="engine_lost"):
    """The engine itself went away: everything it ran that has no spooled result is lost."""

    reason: str


class Defined(msgspec.Struct, frozen=True, tag="defined", omit_defaults=True):
    """A graph that `define` asked for: its canonical JSON, or what is wrong with the pipeline."""

    request: str
    graph: bytes = b""
    error: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a task in a flow: a checkpoint, known by its place and checked by what was called.

    Attributes:
        position: the how-manieth call of the flow it is, from 0, in the order in which they were made.
        path: the flows that the flow called around it: `refine[0]/`, or nothing.
        index: the how-manieth call of this task in the flow, from 0.
        task: its id.
        entry: `module:qualified.name` of the task's function.
        inputs: fingerprint of its arguments.
        result: what it returned; None for a `None`.
        failure: why it failed, after its last try.
        attempts: how often it was tried.
        started_at: seconds since 1970; `finished_at` likewise, 0 while it has not ended.
        cpu_seconds: of the process while it ran.
    """

    position: int
    path: str
    index: int
    task: str
    entry: str
    inputs: str
    result: Artifact | None = None
    failure: Failure | None = None
    attempts: int = 1
    started_at: float = 0.0
    finished_at: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def label(self) -> str:
        """How people write it: `train[3]`."""
        return f"{self.task}[{self.index}]"


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """A flow's attempt has come to its first line and asks what was done before: `reply` with a `History`."""

    attempt: str


class Stepped(msgspec.Struct, frozen=True, tag="stepped"):
    """A flow's attempt has ended these steps in its own process; they are on disk."""

    attempt: str
    steps: tuple[Step, ...]


class Called(msgspec.Struct, frozen=True, tag="called"):
    """A flow's attempt wants this step run as a task instance of its own: `reply` with an `Answer` when it has ended.

    It may ask again for one that it asked for before.
    """

    attempt: str
    step: Step
    arguments: dict[str, Argument]


class History(msgspec.Struct, frozen=True, tag="history"):
    """The steps of a flow that are committed; `more` says that others follow."""

    steps: tuple[Step, ...]
    more: bool = False


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """How a step that was called has ended."""

    step: Step


class Node(msgspec.Struct, frozen=True):
    """One machine (or slice of one) and what it offers: `cpu` and `gpu` in thousandths, `memory` in bytes.

    Attributes:
        name: unique.
        capacity: by resource.
        pool: from which it was rented; empty: it is there anyway.
    """

    name: str
    capacity: dict[str, int]
    pool: str = ""


class Signal(msgspec.Struct, frozen=True, tag="signal"):
    """Something was seen of a node that tells how well it is; see `cluster.condition`.

    Attributes:
        node: its name.
        kind: of the signal.
        value: a reading, or the number of an error.
        at: seconds since 1970.
    """

    node: str
    kind: str
    value: float
    at: float


class Unwatched(msgspec.Struct, frozen=True, tag="unwatched"):
    """A kind of signal is not seen here, and why."""

    kind: str
    reason: str


class NodeReady(msgspec.Struct, frozen=True, tag="node_ready"):
    """A node has come that was asked for."""

    node: Node


class NodeGone(msgspec.Struct, frozen=True, tag="node_gone"):
    """A node is there no more, and with it what ran on it."""

    name: str


class Scaling(msgspec.Struct, frozen=True):
    """A pool is to have more nodes, or to lose these.

    Attributes:
        id: an order is done once, however often it is given.
        pool: its name.
        add: how many nodes are to come.
        capacity: of each that comes, as `Node.capacity`.
        start_seconds: how long each takes to come, where nobody else says it.
        remove: names of nodes that are to go; one that is not there is ignored.
    """

    id: str
    pool: str
    add: int = 0
    capacity: dict[str, int] = {}
    start_seconds: float = 0.0
    remove: tuple[str, ...] = ()


Event = (
    Started
    | Ready
    | Finished
    | Defined
    | EngineLost
    | Begun
    | Stepped
    | Called
    | Signal
    | Unwatched
    | NodeReady
    | NodeGone
)


class Traffic(msgspec.Struct, frozen=True):
    """Bytes that a tenant has received (`in`) and sent (`out`), inside the cluster and outside of it."""

    tenant: str
    inside_in: int
    inside_out: int
    outside_in: int
    outside_out: int


class Snapshot(msgspec.Struct, frozen=True):
    """What an engine knows when a controller comes to it: attempts that run, and results not yet acknowledged."""

    running: tuple[Started, ...] = ()
    ready: tuple[Ready, ...] = ()
    finished: tuple[Finished, ...] = ()


class Engine(Protocol):
    """What the controller needs of an engine. One thread calls it."""

    def fileno(self) -> int:
        """A descriptor that is readable when `observe` has something to return; another one after `adopt`."""

    def adopt(self, epoch: int) -> Snapshot:
        """Takes over, fencing out any controller with a lower epoch.

        Raises:
            LeaseLost: a controller with a higher epoch was here already.
        """

    def define(self, request: str, bundle: str, target: str, parameters: dict[str, Any]) -> None:
        """Builds the graph of `module:name` in a process that holds the bundle's code; returns at once.

        The event `Defined` of this request brings the graph, or what is wrong with it. A definition that takes
        over 60 seconds is an error.
        """

    def prepare(self, bundle: str, preloads: Sequence[tuple[str, ...]]) -> None:
        """Warms what later launches will need; returns at once."""

    def launch(self, launches: Sequence[Launch]) -> None:
        """Starts attempts; returns at once, the outcome comes as events."""

    def cancel(self, attempts: Sequence[str], grace: float, outcome: str = "cancelled") -> None:
        """Ends attempts; the event says `outcome` (`cancelled` or `evicted`)."""

    def observe(self) -> list[Event]:
        """Returns what has happened since the last call; never blocks.

        Raises:
            LeaseLost: a controller with a higher epoch took over.
        """

    def reply(self, attempt: str, answer: History | Answer) -> None:
        """Tells a flow's attempt; what it is too late for is dropped, since it asks again."""

    def steps(self, attempt: str) -> Sequence[Step]:
        """Returns every step that a flow's attempt has put on disk, told or not; kept until `acknowledge`."""

    def acknowledge(self, attempts: Sequence[str]) -> None:
        """Says that these results are committed: the engine may forget them and delete their spool files."""

    @property
    def due(self) -> float:
        """When `observe` has something though `fileno` is not readable, seconds since 1970; infinity: never."""

    def nodes(self) -> list[Node]:
        """What can be used; no `NodeReady` follows for these."""

    def starting(self) -> dict[str, int]:
        """Returns how many nodes that were asked for have not been told of, by pool."""

    def scale(self, orders: Sequence[Scaling]) -> None:
        """Asks for nodes and gives nodes back; returns at once, what comes of it comes as events.

        Doing it is idempotent by the order's id, also over crashes of whoever calls.
        """

    def traffic(self) -> list[Traffic]:
        """Returns the network traffic of each tenant, by name: of its launches that ran and of those that run.

        Raises:
            EngineError: it is not counted here; the message says why.
        """

    def close(self, stop: bool) -> None:
        """Leaves the engine. With `stop`, everything it runs is ended and it goes away too; without, it goes
        on and waits for the next controller."""
