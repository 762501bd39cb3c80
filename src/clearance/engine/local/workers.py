"""The warm workers: they are lent to one attempt after another, and answer when it is over.

A worker may tell the controller of a success itself (see `worker`), a moment before it answers here. Rules:

1. That counts only when it told the controller that leads now: the name of the socket is new with each adoption.
2. A controller that knows of an end before we do names the attempt in its next launch. Its worker is about to answer
   and then to read what it is to do next, so that is sent at once, rather than a new process made.
3. When a worker dies before it answers, its log in the spool says how its attempt ended. The controller may then hear
   of that twice; it takes the first.
4. A worker is lent to the controller that leads: it gets a descriptor of the worker's socket, sends it attempts itself,
   and says so here after (`Sent`). What a worker has taken stands on its slate before it runs. So an attempt is known
   here when the controller has said so, or as soon as it matters: when the worker writes, dies, or the loan ends.
5. A loan ends with the controller's lead, or when the worker was idle for long. What was sent and not taken by then is
   refused, and is lost to the controller that says so. It ends with a notice too: the worker is killed after what it
   runs, and must not have taken anything else by then.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from clearance.engine.base import Launch, Started
from clearance.engine.local import ipc, processes, slate, spool
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
        cleaner: removes what a dead one leaves.
        outputs: reads what they write.
        controllers: are told of starts.
        ended: is called when the attempt of one is over.
        known: says whether an attempt runs or is over, as far as is known.
        found: is called with an attempt that one runs and of which nothing was said.

    Attributes:
        ahead: answers to attempts of which nothing was said yet, with the worker.
    """

    def __init__(
        self,
        loop: Loop,
        home: str,
        cleaner: Cleaner,
        outputs: Outputs,
        controllers: Controllers,
        ended: Callable[[Running, End], None],
        known: Callable[[str], bool],
        found: Callable[[Running], None],
    ) -> None:
        self._loop = loop
        self._home = home
        self._cleaner = cleaner
        self._outputs = outputs
        self._controllers = controllers
        self._ended = ended
        self._known = known
        self._found = found
        self._alive: dict[str, WorkerHandle] = {}
        self.ahead: dict[str, tuple[WorkerHandle, ipc.Spooled]] = {}
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
                self._controllers.tell_patiently(Started(launch.attempt, (worker.pid,), (worker.birth,), launch.nodes))
                running.started = True
        else:
            worker = self._make(zygote, launch.cpu_millis)
        worker.current = running
        running.worker = worker
        running.direct = self._controllers.direct
        self._lend_out(worker)
        worker.channel.put(ipc.Run(launch, running.direct))
        self._loop.send(worker.channel)

    def _make(self, zygote: ZygoteHandle, cpu_millis: int) -> WorkerHandle:
        self._made += 1
        ours, theirs = ipc.pair()
        channel = ipc.Packets(ours, ipc.Spooled | ipc.Refused)
        worker = WorkerHandle(f"worker-{os.getpid()}-{self._made}", channel, zygote)
        mine: list[int] = []
        try:
            worker.shared = slate.make()
            mine.append(os.dup(worker.shared))
            mine.append(self._outputs.open(worker, 0, STDOUT, worker.outputs))
            mine.append(self._outputs.open(worker, 0, STDERR, worker.outputs))
        except OSError:
            for descriptor in mine:
                os.close(descriptor)
            worker.close_shared()
            self._outputs.drain(worker.outputs)
            worker.channel.discard()
            theirs.close()
            raise
        self._alive[worker.name] = worker
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
            if worker is None or worker.zygote is not zygote or worker.current is not running or worker.lent:
                continue
            if not running.outcome:
                self._let_go(worker)
                zygote.idle.append(worker)
        self._over = []

    @staticmethod
    def _let_go(worker: WorkerHandle) -> None:
        """What a worker ran is over, and its answer is on its way."""
        if worker.current is not None:
            worker.current.over = True
            worker.unanswered.append(worker.current)
            worker.current = None

    # Loans to the controller.

    def alive(self, name: str) -> WorkerHandle | None:
        """Returns the worker of this name; None when it is gone."""
        return self._alive.get(name)

    def lend_all(self) -> None:
        """Lends every worker to the controller that leads now."""
        for worker in self._alive.values():
            if not worker.lent and self._lend_out(worker) and worker in worker.zygote.idle:
                worker.zygote.idle.remove(worker)

    def _lend_out(self, worker: WorkerHandle) -> bool:
        """Lends a worker; False when nobody leads, or the one who does cannot be told now."""
        zygote, current = worker.zygote, worker.current
        worker.begin_loan()
        running = current.launch.attempt if current is not None else ""
        lent = ipc.Lent(worker.name, worker.loan, zygote.bundle, zygote.preload, running)
        worker.lent = self._controllers.lend(lent, worker.channel.connection.fileno())
        return worker.lent

    def give_back(self, names: tuple[str, ...]) -> None:
        """The controller needs these no more."""
        for name in names:
            worker = self._alive.get(name)
            if worker is not None and worker.lent:
                self.take_back(worker)

    def recall(self) -> None:
        """Ends every loan: nobody leads any more, or somebody else."""
        for worker in list(self._alive.values()):
            if worker.lent:
                self.take_back(worker)
        for key, (worker, record) in list(self.ahead.items()):
            self.begin(worker, Running(Launch(attempt=key, entry="")), record)
        self.ahead.clear()

    def take_back(self, worker: WorkerHandle) -> None:
        """Ends the loan of one, and takes note of what it has taken."""
        worker.lent = False
        worker.begin_loan()
        self.look(worker)
        if worker.current is None:
            worker.zygote.idle.append(worker)

    def look(self, worker: WorkerHandle) -> None:
        """Takes note of what a worker runs that nothing was said of."""
        run = worker.taken() if worker.loan else None
        if run is None:
            return
        key = run.launch.attempt
        if key != worker.answered and key not in self.ahead and not self._known(key):
            running = Running(run.launch)
            running.direct = run.direct
            self._found(running)
            self.begin(worker, running, None)

    def look_at_all(self) -> None:
        """Takes note of everything that lent workers run."""
        for worker in list(self._alive.values()):
            if worker.lent:
                self.look(worker)

    def begin(self, worker: WorkerHandle, running: Running, record: ipc.Spooled | None) -> None:
        """A worker runs what the controller sent it, or has answered that already with this record."""
        running.zygote, running.worker = worker.zygote, worker
        worker.rested = False
        if record is not None:
            running.told = record.told and running.direct == self._controllers.direct
            self._ended(running, End(0, record, record.cpu_seconds, record.peak_memory))
            return
        self._let_go(worker)
        worker.current = running
        if worker.pid:  # else its zygote has yet to tell of it, which is then told of this attempt
            running.started = True
            launch = running.launch
            started = Started(launch.attempt, (worker.pid,), (worker.birth,), launch.nodes)
            self._controllers.tell_patiently(started)

    # Answers.

    def _answered(self, worker: WorkerHandle) -> bool:
        """Takes one packet of a worker's; False when there is none."""
        try:
            packet = worker.channel.take()
        except EngineError as error:
            processes.say(str(error))
            packet = None
        if packet is None:
            self._loop.unwatch(worker.channel.connection.fileno())
            return False
        if not worker.pid:
            worker.early += packet[0]
        else:
            self._settle(worker, packet[0])
        return bool(packet[0])

    def _settle(self, worker: WorkerHandle, records: list[ipc.Spooled | ipc.Refused]) -> None:
        """Takes a worker's answers: it is free for the next attempt."""
        for record in records:
            if isinstance(record, ipc.Refused):
                self._refused(worker, record.attempt)
                continue
            worker.answered = record.attempt
            early = bool(worker.unanswered)
            running = worker.unanswered[0] if early else worker.current
            if running is None or record.attempt != running.launch.attempt:
                if not self._known(record.attempt):
                    self.ahead[record.attempt] = (worker, record)
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
            elif not worker.lent and not self._lend_out(worker):
                worker.zygote.idle.append(worker)

    def _refused(self, worker: WorkerHandle, attempt: str) -> None:
        """A worker has not run what it seemed to have taken."""
        running = worker.current
        if running is not None and running.launch.attempt == attempt:
            worker.current = None
            running.outcome = running.outcome or "lost"
            running.reason = running.reason or "it came to a worker that was taken back"
            self._ended(running, End(-1, None))
            if not worker.lent and worker not in worker.zygote.idle:
                worker.zygote.idle.append(worker)

    def died(self, worker: WorkerHandle, status: int, cpu: float, peak: int) -> None:
        """Takes leave of one that is gone; what it wrote to its log says how its attempt ended."""
        while self._answered(worker):
            pass
        self.look(worker)
        del self._alive[worker.name]
        if worker in worker.zygote.idle:
            worker.zygote.idle.remove(worker)
        self._loop.unwatch(worker.channel.connection.fileno())
        self._outputs.drain(worker.outputs)
        worker.close_shared()
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
        for worker in self._alive.values():
            if worker.zygote is zygote and worker.lent and worker.current is None:
                if worker.rested:
                    self.take_back(worker)
                worker.rested = True
        while zygote.idle and zygote.idle[0].rested:
            worker = zygote.idle.pop(0)
            self._loop.unwatch(worker.channel.connection.fileno())
            worker.channel.connection.shutdown(socket.SHUT_RDWR)  # a controller may have a descriptor of it too
            worker.channel.connection.close()  # it ends at the end of file, and its zygote tells
        for worker in zygote.idle:
            worker.rested = True
