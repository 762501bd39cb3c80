"""What the supervisor knows of what runs: an attempt and its processes, a worker, a zygote."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from clearance.engine.base import Launch
from clearance.engine.local import processes, slate
from clearance.engine.local.ipc import Packets, Refused, Run, Spooled
from clearance.types.masking import Masker

if TYPE_CHECKING:
    from clearance.engine.local.frames import Log
    from clearance.engine.local.outputs import Output
    from clearance.engine.local.verdict import End

_EPOCH = re.compile(r"(.+)[.-]([0-9]{1,18})\Z")


def epoch_of(attempt: str) -> tuple[str, int]:
    """Splits a key into what names the attempt and its fencing epoch: `run.train.1.7` → (`run.train.1`, 7).

    A key that ends in no number has epoch 0 and is all name.
    """
    match = _EPOCH.match(attempt)
    return (match[1], int(match[2])) if match else (attempt, 0)


def is_warm(launch: Launch) -> bool:
    """Returns whether a warm worker may run it."""
    return launch.isolation == "worker" and launch.gang == 1 and launch.kind == "attempt" and not launch.devices


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
        direct: the socket at which its worker was to tell the controller.
        over: its worker has told a controller, which has said so; it can be ended no more.
        told: its worker has told the controller that leads now how it ended.
        acknowledged: that is committed already, though the worker's answer was not read yet.
        secrets: are masked in its log.
    """

    __slots__ = (
        "acknowledged",
        "concluded",
        "direct",
        "first_failed",
        "killed",
        "launch",
        "log",
        "outcome",
        "over",
        "predecessor",
        "ranks",
        "reason",
        "report",
        "secrets",
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
        self.worker: WorkerHandle | None = None
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
        self.direct = ""
        self.over = False
        self.told = False
        self.acknowledged = False
        self.secrets = Masker()


class WorkerHandle:
    """A worker as the supervisor sees it.

    Attributes:
        name: `worker-PID-N`: of its spool log and its directory.
        channel: to it.
        zygote: where it comes from.
        pid: 0 until it is known.
        birth: with the pid.
        current: the attempt that it runs; None while it is idle.
        unanswered: those before, of whose ends the controller knows and the worker has not answered yet.
        outputs: its pipes.
        rested: it was idle at the last look at the idle ones.
        shared: descriptor of the memory file that it shares with the supervisor, see `slate`.
        loan: the number under which it was lent last; 0 for never. `lent`: whether it is lent now.
        answered: the attempt that it answered last.
        secrets: are masked in what it writes.
        early: answers that came before the pid was known, so that `Started` comes before `Finished`.
    """

    __slots__ = (
        "answered",
        "birth",
        "channel",
        "current",
        "early",
        "lent",
        "loan",
        "name",
        "outputs",
        "pid",
        "rested",
        "secrets",
        "shared",
        "times",
        "unanswered",
        "zygote",
    )

    def __init__(self, name: str, channel: Packets, zygote: ZygoteHandle) -> None:
        self.name = name
        self.channel = channel
        self.zygote = zygote
        self.pid = 0
        self.birth = 0
        self.current: Running | None = None
        self.unanswered: list[Running] = []
        self.outputs: list[Output] = []
        self.rested = False
        self.shared = -1
        self.times = 0
        self.early: list[Spooled | Refused] = []
        self.secrets = Masker()
        self.loan = 0
        self.lent = False
        self.answered = ""

    def count_read(self) -> None:
        """Says that one of its pipes is about to be read."""
        self.times += 1
        slate.put_reads(self.shared, self.times)

    def begin_loan(self) -> None:
        """Makes the number under which it was lent count no more, and the next one count."""
        self.loan += 1
        slate.put_loan(self.shared, self.loan)

    def taken(self) -> Run | None:
        """Returns what it took last from a controller that it was lent to; None when it took nothing."""
        return slate.run_of(self.shared)

    def close_shared(self) -> None:
        """Closes the slate; nothing is counted any more."""
        if self.shared >= 0:
            os.close(self.shared)
            self.shared = -1

    @property
    def name_of_process(self) -> tuple[int, int]:
        """Pid and birth."""
        return self.pid, self.birth


class ZygoteHandle:
    """A zygote as the supervisor sees it: its channel, and what it is to run or runs."""

    __slots__ = ("birth", "bundle", "channel", "idle", "members", "pending", "pid", "preload", "used")

    def __init__(self, channel: Packets, bundle: str, preload: tuple[str, ...], pid: int) -> None:
        self.channel = channel
        self.bundle = bundle
        self.preload = preload
        self.pid = pid
        self.birth = processes.birth_of(pid) if pid else 0
        self.pending: dict[tuple[str, int], Running | WorkerHandle] = {}
        self.members: dict[int, tuple[Running, int] | WorkerHandle] = {}
        self.idle: list[WorkerHandle] = []
        self.used = 0.0  # when it last came to be idle; counted from the next look at it

    def names(self) -> list[tuple[int, int]]:
        """Returns pid and birth of every process that came from it."""
        return [
            member.name_of_process if isinstance(member, WorkerHandle) else member[0].ranks[member[1]].name
            for member in self.members.values()
        ]
