"""What the supervisor remembers: of an attempt, a worker, a zygote, a pipe that it reads, and of a result."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from clearance.engine.base import Finished, Launch
from clearance.engine.local import processes
from clearance.engine.local.ipc import Packets, Spooled

if TYPE_CHECKING:
    from clearance.engine.local.frames import Log
    from clearance.engine.local.verdict import End

_EPOCH = re.compile(r"(.+)[.-]([0-9]{1,18})\Z")


def epoch_of(attempt: str) -> tuple[str, int]:
    """Splits a key into what names the attempt and its fencing epoch: `run.train.1.7` → (`run.train.1`, 7).

    A key that ends in no number has epoch 0 and is all name.
    """
    match = _EPOCH.match(attempt)
    return (match[1], int(match[2])) if match else (attempt, 0)


class Output:
    """The read end of a pipe: `stream` 1 output, 2 error, 0 the report of a service or a definition."""

    __slots__ = ("fd", "owner", "rank", "stream")

    def __init__(self, fd: int, owner: Running | Worker, rank: int, stream: int) -> None:
        self.fd = fd
        self.owner = owner
        self.rank = rank
        self.stream = stream


class Rank:
    """One process of an attempt; pid and birth are 0 until it exists, `end` is None until it is gone."""

    __slots__ = ("birth", "end", "outputs", "pid")

    def __init__(self, end: End | None = None) -> None:
        self.pid = 0
        self.birth = 0
        self.end = end
        self.outputs: list[Output] = []

    @property
    def name(self) -> tuple[int, int]:
        """Pid and birth."""
        return self.pid, self.birth


class Running:
    """An attempt that was launched and is not over.

    Attributes:
        launch: what was asked.
        zygote: where its processes come from; None while it waits for its predecessor to be gone.
        worker: the warm process that runs it.
        ranks: its processes.
        outcome: what it is being ended for; empty while it is left alone.
        reason: a sentence on that.
        killed: SIGKILL was sent, or is due as soon as there is a process.
        first_failed: rank that failed first; -1 for none.
        superseded: a newer attempt took its place: its result counts no more.
        successor: that newer attempt.
        predecessor: the older attempt that must be gone before this one begins.
        concluded: it is over.
        report: bytes of the report that are not yet whole messages.
        log: its frames.
        started: `Started` was emitted.
        told: its worker has told the controller how it ended.
        acknowledged: the controller has committed that already.
    """

    __slots__ = (
        "acknowledged",
        "concluded",
        "first_failed",
        "killed",
        "launch",
        "log",
        "outcome",
        "predecessor",
        "ranks",
        "reason",
        "report",
        "started",
        "successor",
        "superseded",
        "told",
        "worker",
        "zygote",
    )

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.zygote: ZygoteHandle | None = None
        self.worker: Worker | None = None
        self.ranks: list[Rank] = []
        self.outcome = ""
        self.reason = ""
        self.killed = False
        self.first_failed = -1
        self.superseded = False
        self.successor: Running | None = None
        self.predecessor: Running | None = None
        self.concluded = False
        self.report = bytearray()
        self.log: Log | None = None
        self.started = False
        self.told = False
        self.acknowledged = False


class Worker:
    """A warm process.

    Attributes:
        name: `worker-PID-N`: of its spool log and its directory.
        channel: to it.
        zygote: where it comes from.
        pid: 0 until it is known.
        birth: with the pid.
        current: the attempt that it runs; None while it is idle.
        outputs: its pipes.
        rested: it was idle at the last look at the idle ones.
        early: answers that came before the pid was known, so that `Started` comes before `Finished`.
    """

    __slots__ = ("birth", "channel", "current", "early", "name", "outputs", "pid", "rested", "zygote")

    def __init__(self, name: str, channel: Packets, zygote: ZygoteHandle) -> None:
        self.name = name
        self.channel = channel
        self.zygote = zygote
        self.pid = 0
        self.birth = 0
        self.current: Running | None = None
        self.outputs: list[Output] = []
        self.rested = False
        self.early: list[Spooled] = []


class ZygoteHandle:
    """A zygote as the supervisor sees it: its channel, and what it is to run or runs."""

    __slots__ = ("birth", "bundle", "channel", "idle", "members", "pending", "pid", "preload", "used")

    def __init__(self, channel: Packets, bundle: str, preload: tuple[str, ...], pid: int) -> None:
        self.channel = channel
        self.bundle = bundle
        self.preload = preload
        self.pid = pid
        self.birth = processes.birth_of(pid) if pid else 0
        self.pending: dict[tuple[str, int], Running | Worker] = {}
        self.members: dict[int, tuple[Running, int] | Worker] = {}
        self.idle: list[Worker] = []
        self.used = 0.0  # when it last came to be idle; counted from the next look at it


class Finish:
    """A result that is not acknowledged, and which files it has.

    Attributes:
        event: what is said of it.
        gang: number of processes: `spool/KEY.0` … of them.
        worker: its record lies in a worker's log instead.
        directory: it may have a working directory.
        written: `spool/KEY.end` exists.
    """

    __slots__ = ("directory", "event", "gang", "worker", "written")

    def __init__(self, event: Finished, gang: int, worker: bool, directory: bool, written: bool = False) -> None:
        self.event = event
        self.gang = gang
        self.worker = worker
        self.directory = directory
        self.written = written
