"""The attempts of the supervisor: launched, given processes, watched, ended, judged.

    launch → zygote or worker → Forked → Started → … → Exited or an answer → judge → Finished → acknowledge

Rules:

1. One attempt of an instance at a time: a launch whose key differs from a running one's only by a higher epoch waits
   until that one is killed; what that one spooled is deleted, and nothing is said of it.
2. An attempt is over when every process of it is gone and all that they wrote is in its log.
3. What a worker has told the leading controller itself is not told again. What is acknowledged before the worker's
   answer was read is forgotten as soon as that is read, and no snapshot names it meanwhile.
"""

from __future__ import annotations

import os
import signal
import socket
import time

from clearance.engine.base import Launch, Ready, Snapshot, Started
from clearance.engine.local import definitions, ipc, processes, spool
from clearance.engine.local.accounting import Accounting
from clearance.engine.local.cleaning import Cleaner
from clearance.engine.local.controllers import Controllers
from clearance.engine.local.deadlines import Deadlines
from clearance.engine.local.loop import Loop
from clearance.engine.local.outputs import REPORT, STDERR, STDOUT, Outputs
from clearance.engine.local.results import Finish, Results
from clearance.engine.local.running import Rank, Running, WorkerHandle, ZygoteHandle, epoch_of, is_warm
from clearance.engine.local.verdict import End, judge
from clearance.engine.local.workers import Workers
from clearance.engine.local.zygotes import Zygotes

_STREAMS = {"attempt": (STDOUT, STDERR), "service": (STDOUT, STDERR, REPORT), "define": (REPORT,)}


class Attempts:
    """See the module.

    Args:
        loop: watches what they write and what their zygotes and workers say.
        home: `CLEARANCE_HOME`.
        umask: what attempts get.
        descriptors: soft limit of open files that attempts get.
        controllers: are told.
        accounting: counts network traffic.
    """

    def __init__(
        self, loop: Loop, home: str, umask: int, descriptors: int, controllers: Controllers, accounting: Accounting
    ) -> None:
        self._home = home
        self._controllers = controllers
        self._running: dict[str, Running] = {}
        self._by_prefix: dict[str, Running] = {}
        self._ready: dict[str, Ready] = {}
        self._defined = 0
        self._deadlines = Deadlines()
        self._cleaner = Cleaner(home)
        self._results = Results(self._cleaner, self._cleaner.recover())
        self._outputs = Outputs(loop, home, self._said_ready, lambda worker: self._workers.look(worker))
        self._accounting = accounting
        self._zygotes = Zygotes(loop, home, umask, descriptors, accounting, self._heard, self._lost)
        self._workers = Workers(
            loop, home, self._cleaner, self._outputs, controllers,
            self._worker_ended, self._is_known, self._register,
        )  # fmt: skip
        self._loop = loop

    def __bool__(self) -> bool:
        """Returns whether any runs."""
        return bool(self._running)

    @property
    def warm(self) -> bool:
        """Whether there are zygotes, which `rest` may let go."""
        return bool(self._zygotes)

    @property
    def must_count(self) -> bool:
        """Whether an attempt fails whose network traffic cannot be counted; for zygotes that are made from now on."""
        return self._zygotes.must_count

    @must_count.setter
    def must_count(self, must: bool) -> None:
        self._zygotes.must_count = must

    @property
    def due(self) -> float:
        """The monotonic time of the first deadline; 0 for none."""
        return self._deadlines.next

    def snapshot(self) -> Snapshot:
        """Returns what a new leader is to know."""
        return Snapshot(
            tuple(
                self._started(running)
                for running in self._running.values()
                if running.launch.kind != "define" and not running.acknowledged
            ),
            tuple(self._ready.values()),
            self._results.events(),
        )

    # What the leading controller says.

    def place_blobs(self, blobs: str) -> None:
        """Says where the blobs are, for zygotes that are made from now on."""
        self._zygotes.blobs = blobs

    def prepare(self, bundle: str, preloads: tuple[tuple[str, ...], ...]) -> None:
        """Makes zygotes ahead."""
        for preload in preloads or ((),):
            self._zygotes.get(bundle, preload)

    def launch_all(self, message: ipc.LaunchAll) -> None:
        """Begins these; the attempts that the controller knows to be over leave their workers to them."""
        if message.over:
            told = (self._running.get(key) for key in message.over)
            self._workers.expect([running for running in told if running is not None])
        self._workers.give_back(message.back)
        for launch in message.launches:
            self._launch(launch)

    def take_note(self, message: ipc.Sent) -> None:
        """The controller has sent this to a worker that is lent to it."""
        key = message.launch.attempt
        if self._is_known(key):
            return
        running = Running(message.launch)
        running.direct = self._controllers.direct
        self._register(running)
        worker, record = self._workers.ahead.pop(key, (self._workers.alive(message.worker), None))
        if worker is not None and (record is not None or worker.loan == message.loan):
            self._workers.begin(worker, running, record)
        else:
            self._refuse(running, "lost", "it came to a worker that was gone")

    def lend_workers(self) -> None:
        """Lends the warm workers to the controller that leads now."""
        self._workers.lend_all()

    def recall_workers(self) -> None:
        """The controller that they were lent to leads no more."""
        self._workers.recall()

    def _is_known(self, key: str) -> bool:
        return key in self._running or key in self._results

    def _register(self, running: Running) -> None:
        """Enters an attempt that a worker may have begun already."""
        self._enter(running)
        prefix, _ = epoch_of(running.launch.attempt)
        older = self._by_prefix.get(prefix)
        self._by_prefix[prefix] = running
        if older is not None:
            older.superseded = True
            self._stop(older, "lost", "a newer attempt took its place", 0.0)

    def cancel(self, message: ipc.Cancel) -> None:
        """Ends those that run."""
        for attempt in message.attempts:
            if (running := self._running.get(attempt)) is not None:
                self._stop(running, message.outcome, f"{message.outcome} on request", message.grace)

    def acknowledge(self, attempts: tuple[str, ...]) -> None:
        """Forgets the results of these: they are committed."""
        for attempt in attempts:
            if not self._results.commit(attempt) and (running := self._running.get(attempt)) is not None:
                running.acknowledged = True
        if self._results or self._workers.ahead:
            return
        emptied = self._cleaner.full and not self._running
        if emptied:
            self._workers.recall()  # no worker takes anything from the controller while its log is emptied
        if not self._results:
            self._cleaner.settle(busy=bool(self._running))
        if emptied:
            self._workers.lend_all()

    def mask(self, message: ipc.Mask) -> None:
        """Has the secrets that this attempt revealed masked in what it writes; a worker's as long as it lives."""
        if message.attempt not in self._running:
            self._workers.look_at_all()
        if (running := self._running.get(message.attempt)) is not None:
            (running.worker or running).secrets.add(message.forms)

    def define(self, message: ipc.Define) -> None:
        """Builds a graph."""
        self._defined += 1
        running = Running(definitions.launch_of(message, self._defined))
        self._enter(running)
        self._begin(running)

    def stop_all(self) -> None:
        """Ends everything, each with its own grace."""
        for running in list(self._running.values()):
            self._stop(running, "cancelled", "the engine was stopped", running.launch.grace)

    # From a launch to its processes.

    def _launch(self, launch: Launch) -> None:
        key = launch.attempt
        if key in self._running or key in self._results:
            return
        if not spool.is_safe(key) or (launch.checkpoint and not spool.is_safe(launch.checkpoint)):
            processes.say(f"a launch was refused: {key!r} or {launch.checkpoint!r} is not safe as a file name")
            return
        running = Running(launch)
        self._enter(running)
        prefix, epoch = epoch_of(key)
        older = self._by_prefix.get(prefix)
        if older is None:
            self._by_prefix[prefix] = running
            self._begin(running)
        elif epoch_of(older.launch.attempt)[1] > epoch:
            self._refuse(running, "lost", f"{older.launch.attempt} runs already, and has a higher epoch")
        else:
            self._by_prefix[prefix] = running
            older.successor, running.predecessor = running, older
            older.superseded = True
            self._stop(older, "lost", "a newer attempt took its place", 0.0)

    def _enter(self, running: Running) -> None:
        launch = running.launch
        self._running[launch.attempt] = running
        if launch.timeout > 0:
            self._deadlines.add(time.monotonic() + launch.timeout, running, "timeout")

    def _begin(self, running: Running) -> None:
        launch = running.launch
        if not self._zygotes.can_make(launch.bundle, launch.preload):
            self._refuse(running, "failure", f"the bundle {launch.bundle} is not unpacked in {self._home}/bundles")
            return
        try:
            running.zygote = self._zygotes.get(launch.bundle, launch.preload)
            if is_warm(launch):
                self._workers.lend(running, running.zygote)
            else:
                self._fork(running, running.zygote)
        except OSError as error:  # no descriptors or no processes left
            if not running.ranks:
                self._refuse(running, "failure", f"its process cannot be made: {error.strerror}")
            else:
                self._stop(running, "failure", f"its processes cannot all be made: {error.strerror}", 0.0)

    def _fork(self, running: Running, zygote: ZygoteHandle) -> None:
        """Asks a zygote for the processes of an attempt."""
        launch = running.launch
        port = _free_port() if launch.gang > 1 else 0
        self._loop.send(zygote.channel)
        for number in range(launch.gang):
            rank = Rank()
            descriptors: list[int] = []
            try:
                for stream in _STREAMS[launch.kind]:
                    descriptors.append(self._outputs.open(running, number, stream, rank.outputs))
            except OSError:
                for descriptor in descriptors:
                    os.close(descriptor)
                self._outputs.drain(rank.outputs)
                raise
            running.ranks.append(rank)
            zygote.pending[launch.attempt, number] = running
            zygote.channel.put(ipc.Fork(launch, number, port), descriptors)

    # What comes back.

    def _said_ready(self, ready: Ready) -> None:
        self._ready[ready.attempt] = ready
        self._controllers.tell(ready)

    def _heard(self, zygote: ZygoteHandle, message: ipc.Forked | ipc.Exited) -> None:
        if isinstance(message, ipc.Exited):
            self._exited(zygote, message)
        elif (subject := zygote.pending.pop((message.key, message.rank), None)) is not None:
            if message.pid:
                self._forked(zygote, subject, message)
            else:
                self._unforked(subject, message.rank, message.note)

    def _forked(self, zygote: ZygoteHandle, subject: Running | WorkerHandle, message: ipc.Forked) -> None:
        self._cleaner.journal(message.pid, message.birth)
        if isinstance(subject, WorkerHandle):
            self._workers.forked(subject, message.pid, message.birth)
            running = subject.current
        else:
            rank = subject.ranks[message.rank]
            rank.pid, rank.birth = message.pid, message.birth
            zygote.members[message.pid] = (subject, message.rank)
            running = subject
        if running is None:
            return
        if message.note:
            self._outputs.note(running, message.rank, message.note)
        started = self._started(running)
        if started.pids and running.launch.kind != "define":
            running.started = True
            self._controllers.tell(started)
        if running.outcome:
            self._signal(running, signal.SIGKILL if running.killed else signal.SIGTERM)
        if isinstance(subject, WorkerHandle):
            self._workers.settle_early(subject)

    def _unforked(self, subject: Running | WorkerHandle, rank: int, reason: str) -> None:
        """A process could not be made."""
        running = subject.current if isinstance(subject, WorkerHandle) else subject
        if running is not None:
            running.reason = running.reason or reason
        if isinstance(subject, WorkerHandle):
            self._workers.died(subject, -1, 0.0, 0)
        else:
            self._rank_ended(subject, rank, End(-1, None))

    def _started(self, running: Running) -> Started:
        names = [running.worker.name_of_process] if running.worker else [rank.name for rank in running.ranks]
        if not all(pid for pid, _ in names):
            names = []
        pids, births = tuple(pid for pid, _ in names), tuple(birth for _, birth in names)
        return Started(running.launch.attempt, pids, births, running.launch.nodes)

    def _exited(self, zygote: ZygoteHandle, message: ipc.Exited) -> None:
        member = zygote.members.pop(message.pid, None)
        if isinstance(member, WorkerHandle):
            self._workers.died(member, message.status, message.cpu_seconds, message.peak_memory)
        elif member is not None:
            running, number = member
            launch = running.launch
            record = None if launch.kind == "define" else spool.read(f"{self._home}/spool/{launch.attempt}.{number}")
            self._rank_ended(running, number, End(message.status, record, message.cpu_seconds, message.peak_memory))

    def _rank_ended(self, running: Running, number: int, end: End) -> None:
        rank = running.ranks[number]
        self._outputs.drain(rank.outputs)
        rank.end = end
        failed = end.record is None or end.record.failure is not None
        if failed and running.first_failed < 0:
            running.first_failed = number
        if all(other.end is not None for other in running.ranks):
            self._conclude(running)
        elif failed and not running.outcome:
            self._stop(running, "failure", "", running.launch.grace)

    def _worker_ended(self, running: Running, end: End) -> None:
        running.ranks.append(Rank(end))
        running.first_failed = 0 if end.record is None or end.record.failure else -1
        self._conclude(running)

    def _lost(self, zygote: ZygoteHandle, reason: str) -> None:
        """A zygote is gone, and with it all that came or was to come from it."""
        for pid, member in list(zygote.members.items()):
            running = member.current if isinstance(member, WorkerHandle) else member[0]
            if running is not None and not running.outcome:
                running.outcome, running.reason = "lost", reason
            self._exited(zygote, ipc.Exited(pid, -1, 0.0, 0))
        for (_, number), subject in list(zygote.pending.items()):
            self._unforked(subject, number, reason)

    # Ending.

    def expire(self) -> None:
        """Gives notice to those whose time is over, and kills those whose grace is."""
        for running, what in self._deadlines.take(time.monotonic()):
            if what == "timeout":
                launch = running.launch
                self._stop(running, "timeout", f"it still ran after {launch.timeout:g} s", launch.grace)
            elif not running.over:
                running.killed = True
                self._signal(running, signal.SIGKILL)

    def _stop(self, running: Running, outcome: str, reason: str, grace: float) -> None:
        """Gives notice now and kills after `grace` seconds. The first reason stands; a shorter grace wins."""
        if not running.over and running.worker is not None and running.worker.lent:
            self._workers.take_back(running.worker)
        if running.over:
            return
        if not running.outcome:
            running.outcome, running.reason = outcome, reason
            if running.zygote is None:  # it waits for its predecessor: there is no process
                self._conclude(running)
                return
        if grace > 0 and not running.killed:
            self._signal(running, signal.SIGTERM)
            self._signal(running, signal.SIGCONT)
            self._deadlines.add(time.monotonic() + grace, running, "kill")
        else:
            running.killed = True
            self._signal(running, signal.SIGKILL)

    def _signal(self, running: Running, number: int) -> None:
        if running.worker is not None:
            names = [running.worker.name_of_process]
        else:
            names = [rank.name for rank in running.ranks if rank.end is None]
        inline = running.launch.isolation == "inline" and running.launch.kind == "attempt"
        for pid, birth in names:
            if pid and inline:  # its process is the zygote, which leads no group
                processes.signal_process(pid, birth, number)
            elif pid:
                processes.signal_group(pid, birth, number)
            elif number == signal.SIGKILL and running.zygote is not None:
                self._zygotes.kill(running.zygote)

    def _refuse(self, running: Running, outcome: str, reason: str) -> None:
        running.outcome, running.reason = outcome, reason
        self._conclude(running)

    def _conclude(self, running: Running) -> None:
        """Nothing of the attempt is left: says how it ended, and lets its successor begin."""
        key = running.launch.attempt
        running.concluded = True
        del self._running[key]
        self._ready.pop(key, None)
        if running.log is not None:
            running.log.close()
        if running.launch.kind == "define":
            self._controllers.tell(definitions.answer_of(running))
            return
        prefix, _ = epoch_of(key)
        if self._by_prefix.get(prefix) is running:
            del self._by_prefix[prefix]
        if running.ranks and running.worker is None:
            self._accounting.leave(running.launch)
        self._report(running)
        if (successor := running.successor) is not None and not successor.concluded:
            before = running.predecessor
            if before is not None and not before.concluded:
                before.successor, successor.predecessor = successor, before
            else:
                self._begin(successor)

    def _report(self, running: Running) -> None:
        """Keeps the result until it is committed, and tells of it unless that is done already."""
        launch = running.launch
        ends = [rank.end for rank in running.ranks if rank.end is not None] or [End(-1, None)]
        event = judge(launch, ends, max(running.first_failed, 0), running.outcome, running.reason)
        item = Finish(event, launch.gang, running.worker is not None, bool(running.ranks))
        if running.superseded:
            self._cleaner.forget(item)
            return
        if running.acknowledged:
            self._results.forget(item)
        else:
            alone = launch.gang == 1 and ends[0].record is not None and event.outcome in ("success", "failure")
            if not alone:
                item.written = self._cleaner.write_end(event)
            self._results.keep(item)
        if not running.told and not running.acknowledged:
            self._controllers.tell(event)
        elif running.started:
            self._controllers.withdraw(launch.attempt)

    # The end of what is not used, and of all.

    def rest(self, now: float) -> None:
        """Lets workers and zygotes go that have been idle for long."""
        for zygote in self._zygotes:
            self._workers.rest(zygote)
        self._zygotes.rest(now)

    def close(self) -> None:
        """Ends zygotes and workers, and removes what nobody needs. Nothing runs any more."""
        self._zygotes.close()
        processes.end_children()
        self._cleaner.close(everything=not self._results)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
