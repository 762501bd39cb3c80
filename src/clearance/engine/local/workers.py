"""The warm workers: they are lent to one attempt after another, and answer when it is over.

A worker may tell the controller of a success itself (see `worker`), a moment before it answers here. Rules:

1. That counts only when it told the controller that leads now: the name of the socket is new with each adoption.
2. A controller that knows of an end before we do names the attempt in its next launch. Its worker is about to answer
   and then to read what it is to do next, so that is sent at once, rather than a new process made.
3. When a worker dies before it answers, its log in the spool says how its attempt ended. The controller may then hear
   of that twice; it takes the first.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from clearance.engine.base import Started
from clearance.engine.local import ipc, processes, spool
from clearance.engine.local.cleaning import Cleaner
from clearance.engine.local.controllers import Controllers
from clearance.engine.local.loop import Loop
from clearance.engine.local.outputs import STDERR, STDOUT, Outputs
from clearance.engine.local.running import Running, WorkerHandle, ZygoteHandle
from clearance.engine.local.verdict import End
from clearance.errors import EngineError


class Workers:
    """See the module.

    Args:
        loop: watches their channels.
        home: `CLEARANCE_HOME`.
        node: name of this machine.
        cleaner: removes what a dead one leaves.
        outputs: reads what they write.
        controllers: are told of starts.
        ended: is called when the attempt of one is over.
    """

    def __init__(
        self,
        loop: Loop,
        home: str,
        node: str,
        cleaner: Cleaner,
        outputs: Outputs,
        controllers: Controllers,
        ended: Callable[[Running, End], None],
    ) -> None:
        self._loop = loop
        self._home = home
        self._node = node
        self._cleaner = cleaner
        self._outputs = outputs
        self._controllers = controllers
        self._ended = ended
        self._made = 0
        self._over: list[Running] = []

    def expect(self, over: list[Running]) -> None:
        """Says that the workers of these are about to answer: the controller knows already."""
        self._over = over

    def lend(self, running: Running, zygote: ZygoteHandle) -> None:
        """Gives an attempt a worker that is idle, or a new one.

        Raises:
            OSError: there are no descriptors left for a new one.
        """
        if not zygote.idle and self._over:
            self._free(zygote)
        launch = running.launch
        if zygote.idle:
            worker = zygote.idle.pop()
            worker.rested = False
            if worker.pid:  # else its zygote has yet to tell of it, which is then told of this attempt
                self._controllers.tell_patiently(Started(launch.attempt, (worker.pid,), (worker.birth,), self._node))
                running.started = True
        else:
            worker = self._make(zygote, launch.cpu_millis)
        worker.current = running
        running.worker = worker
        running.direct = self._controllers.direct
        worker.channel.put(ipc.Run(launch, running.direct, self._node))
        self._loop.send(worker.channel)

    def _make(self, zygote: ZygoteHandle, cpu_millis: int) -> WorkerHandle:
        self._made += 1
        ours, theirs = ipc.pair()
        worker = WorkerHandle(f"worker-{os.getpid()}-{self._made}", ipc.Packets(ours, ipc.Spooled), zygote)
        mine: list[int] = []
        try:
            worker.reads = os.memfd_create("reads")
            mine.append(os.dup(worker.reads))
            mine.append(self._outputs.open(worker, 0, STDOUT, worker.outputs))
            mine.append(self._outputs.open(worker, 0, STDERR, worker.outputs))
        except OSError:
            for descriptor in mine:
                os.close(descriptor)
            worker.close_reads()
            self._outputs.drain(worker.outputs)
            worker.channel.discard()
            theirs.close()
            raise
        self._loop.watch(ours.fileno(), lambda _: self._answered(worker))
        zygote.pending[worker.name, 0] = worker
        zygote.channel.put(ipc.StartWorker(worker.name, cpu_millis), [theirs.detach(), *mine])
        self._loop.send(zygote.channel)
        return worker

    def forked(self, worker: WorkerHandle, pid: int, birth: int) -> None:
        """Takes note of the process."""
        worker.pid, worker.birth = pid, birth
        worker.zygote.members[pid] = worker

    def settle_early(self, worker: WorkerHandle) -> None:
        """Takes the answers that came before the process was known."""
        early, worker.early = worker.early, []
        self._settle(worker, early)

    def _free(self, zygote: ZygoteHandle) -> None:
        """Makes workers idle whose controller knows that their attempts are over."""
        for running in self._over:
            worker = running.worker
            if worker is None or worker.zygote is not zygote or worker.current is not running:
                continue
            if not running.outcome:
                running.over = True
                worker.unanswered.append(running)
                worker.current = None
                zygote.idle.append(worker)
        self._over = []

    def _answered(self, worker: WorkerHandle) -> None:
        try:
            packet = worker.channel.take()
        except EngineError as error:
            processes.say(str(error))
            packet = None
        if packet is None:
            self._loop.unwatch(worker.channel.connection.fileno())
        elif not worker.pid:
            worker.early += packet[0]
        else:
            self._settle(worker, packet[0])

    def _settle(self, worker: WorkerHandle, records: list[ipc.Spooled]) -> None:
        """Takes a worker's answers: it is free for the next attempt."""
        for record in records:
            early = bool(worker.unanswered)
            running = worker.unanswered[0] if early else worker.current
            if running is None or record.attempt != running.launch.attempt:
                continue
            if early:
                del worker.unanswered[0]
            else:
                for output in worker.outputs:
                    self._outputs.release(output)
                worker.current = None
            running.told = record.told and running.direct == self._controllers.direct
            self._ended(running, End(0, record, record.cpu_seconds, record.peak_memory))
            if early:
                continue
            if running.outcome:  # it was given notice, and may be about to die of it
                processes.signal_group(worker.pid, worker.birth, signal.SIGKILL)
            else:
                worker.zygote.idle.append(worker)

    def died(self, worker: WorkerHandle, status: int, cpu: float, peak: int) -> None:
        """Takes leave of one that is gone; what it wrote to its log says how its attempt ended."""
        self._answered(worker)
        if worker in worker.zygote.idle:
            worker.zygote.idle.remove(worker)
        self._loop.unwatch(worker.channel.connection.fileno())
        self._outputs.drain(worker.outputs)
        worker.close_reads()
        worker.channel.discard()
        self._cleaner.retire(worker.name)
        held = worker.unanswered + ([worker.current] if worker.current is not None else [])
        worker.unanswered, worker.current = [], None
        if held:
            log = f"{self._home}/spool/{worker.name}.log"
            records = {record.attempt: record for record in spool.records(log)}
            for running in held:
                self._ended(running, End(status, records.get(running.launch.attempt), cpu, peak))

    def rest(self, zygote: ZygoteHandle) -> None:
        """Lets those of a zygote go that have been idle since the last call."""
        while zygote.idle and zygote.idle[0].rested:
            worker = zygote.idle.pop(0)
            self._loop.unwatch(worker.channel.connection.fileno())
            worker.channel.connection.close()  # it ends at the end of file, and its zygote tells
        for worker in zygote.idle:
            worker.rested = True
