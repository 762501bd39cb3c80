"""The supervisor: the one process that owns what runs, and outlives the controllers that come and go.

    controller ⇄ supervisor ⇄ zygote (one a bundle and preload set) → a process of an attempt
                            ⇄ worker (a warm process, forked from a zygote)

Rules:

1. One thread, one epoll, no polling: it wakes for a message, for output, for a death, or for a deadline.
2. It outlives the controller. It ends when told to stop, or when for `IDLE` seconds no controller was connected
   and nothing ran. If it dies, its zygotes end everything; the next supervisor finds the results in the spool.
3. Output before end: all that a process wrote is in its log before `Finished` is emitted. In one round of epoll,
   output is read before messages; what was written before a message is readable before it.
4. One attempt of an instance at a time: a launch whose key differs from a running one's only by a higher epoch
   waits until that one is killed; what that one spooled is deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import msgspec

from clearance.engine.base import Defined, Launch, Ready, Snapshot, Started
from clearance.engine.local import ipc, processes, spool
from clearance.engine.local.cleaning import Cleaner
from clearance.engine.local.running import Finish, Output, Rank, Running, Worker, ZygoteHandle, epoch_of
from clearance.engine.local.verdict import End, judge
from clearance.errors import EngineError
from clearance.types.artifact import Literal

IDLE = 60.0
PATIENCE = 0.002
ZYGOTE_IDLE = 600.0
DEFINITION = 60.0
REMEMBERED = 4096


class Controller:
    """A connection: it may act once it has adopted."""

    __slots__ = ("blocked", "stream")

    def __init__(self, connection: socket.socket) -> None:
        self.stream = ipc.Stream(connection, ipc.Command)
        self.blocked = False


class Supervisor:
    """See the module.

    Args:
        home: `CLEARANCE_HOME`; exists.
        first: an accepted connection to the controller that started us.
        umask: what attempts get.
        descriptors: soft limit of open files that attempts get.
    """

    def __init__(self, home: str, first: socket.socket, umask: int, descriptors: int) -> None:
        self.home = home
        self._umask = umask
        self._descriptors = descriptors
        self.blobs = os.path.join(home, "blobs")
        self._node = socket.gethostname()
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._outputs: dict[int, Output] = {}
        self._controllers: dict[int, Controller] = {}
        self._leader: Controller | None = None
        self._zygotes: dict[tuple[str, tuple[str, ...]], ZygoteHandle] = {}
        self._running: dict[str, Running] = {}
        self._by_prefix: dict[str, Running] = {}
        self._finished: dict[str, Finish] = {}
        self._forgotten: dict[str, None] = {}
        self._ready: dict[str, Ready] = {}
        self._events: list[msgspec.Struct] = []
        self._patience = 0.0
        self._dirty: dict[int, ipc.Packets] = {}
        self._deadlines: list[tuple[float, int, Running, str]] = []
        self._counter = 0
        self._workers = 0
        self._stopping = False
        self._trim_at = time.monotonic() + IDLE
        self._idle_since = 0.0
        self._epoch = self._read_epoch()
        self._direct = ""
        self._cleaner = Cleaner(home)
        for item in self._cleaner.recover():
            self._finished[item.event.attempt] = item
        self._listener = self._listen()
        self._watch(self._listener.fileno(), self._accept)
        self._admit(first)

    # What the supervisor is made of: descriptors and who handles them.

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        os.chdir(self.home)
        with contextlib.suppress(FileNotFoundError):
            os.unlink("supervisor.sock")
        listener.bind("supervisor.sock")
        os.chmod("supervisor.sock", 0o600)
        listener.listen(64)
        return listener

    def _watch(self, fd: int, handler: Callable[[int], None]) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run(self) -> NoReturn:
        """Serves until it is told to stop, or until it is idle for long."""
        poll = self._epoll.poll
        outputs, handlers = self._outputs, self._handlers
        while True:
            ready = poll(self._timeout())
            for fd, _ in ready:
                if (output := outputs.get(fd)) is not None:
                    self._read(output)
            for fd, mask in ready:
                if (handler := handlers.get(fd)) is not None:
                    handler(mask)
            if self._deadlines:
                self._expire()
            if self._trim_at <= time.monotonic():
                self._trim()
            if self._dirty:
                self._flush_packets()
            if self._events and not self._patient():
                self._flush_events()
            if (self._stopping or not self._controllers) and not self._running:
                self._maybe_end()

    def _timeout(self) -> float:
        deadline = self._deadlines[0][0] if self._deadlines else 0.0
        if not self._controllers and not self._running and not self._stopping:
            if not self._idle_since:
                self._idle_since = time.monotonic()
            end = self._idle_since + IDLE
            deadline = min(deadline, end) if deadline else end
        elif self._zygotes:
            deadline = min(deadline, self._trim_at) if deadline else self._trim_at
        if self._events:
            deadline = min(deadline, self._patience) if deadline else self._patience
        return max(0.0, deadline - time.monotonic()) + 0.0005 if deadline else -1

    def _patient(self) -> bool:
        """True while nothing but starts of warm workers waits to be told, and that not for long.

        A short task is over by then: start and end reach the controller together, and cost it one turn.
        """
        started = all(type(event) is Started for event in self._events)
        return started and time.monotonic() < self._patience

    def _trim(self) -> None:
        """Lets warm workers go that were idle for a whole round, and zygotes that were for `ZYGOTE_IDLE` seconds."""
        now = time.monotonic()
        self._trim_at = now + IDLE
        for zygote in list(self._zygotes.values()):
            while zygote.idle and zygote.idle[0].rested:
                worker = zygote.idle.pop(0)
                self._unwatch(worker.channel.connection.fileno())
                worker.channel.connection.close()  # it ends at the end of file, and its zygote tells
            for worker in zygote.idle:
                worker.rested = True
            branches = any(key[0] == zygote.bundle and key[1] for key in self._zygotes) and not zygote.preload
            if zygote.members or zygote.pending or branches:
                zygote.used = 0.0
            elif not zygote.used:
                zygote.used = now
            elif now - zygote.used >= ZYGOTE_IDLE and zygote.pid:
                self._zygote_died(zygote)

    def _maybe_end(self) -> None:
        if self._stopping or (self._idle_since and time.monotonic() >= self._idle_since + IDLE):
            self._end()

    def _end(self) -> NoReturn:
        """Ends the zygotes, and this process. Nothing runs any more."""
        os.unlink(os.path.join(self.home, "supervisor.sock"))
        for zygote in self._zygotes.values():
            zygote.channel.connection.close()
            for member in zygote.members.values():
                if isinstance(member, Worker):
                    member.channel.connection.close()
        processes.end_children()
        self._cleaner.close(everything=not self._finished)
        for controller in self._controllers.values():
            controller.stream.connection.close()
        os._exit(0)

    # Controllers.

    def _accept(self, _: int) -> None:
        try:
            connection, _address = self._listener.accept()
        except BlockingIOError:
            return
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], sys.byteorder) != os.getuid():
            connection.close()
            return
        self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        controller = Controller(connection)
        self._controllers[connection.fileno()] = controller
        self._idle_since = 0.0
        self._watch(connection.fileno(), lambda mask: self._hear(controller, mask))

    def _drop(self, controller: Controller) -> None:
        fd = controller.stream.connection.fileno()
        if fd < 0:
            return
        self._unwatch(fd)
        self._controllers.pop(fd, None)
        controller.stream.connection.close()
        if self._leader is controller:
            self._leader = None
            self._events.clear()

    def _send(self, controller: Controller, messages: list[msgspec.Struct]) -> None:
        controller.stream.put(messages)
        self._push(controller)

    def _push(self, controller: Controller) -> None:
        try:
            whole = controller.stream.flush()
        except OSError:
            self._drop(controller)
            return
        if whole == controller.blocked:
            controller.blocked = not whole
            mask = select.EPOLLIN if whole else select.EPOLLIN | select.EPOLLOUT
            self._epoll.modify(controller.stream.connection.fileno(), mask)

    def _hear(self, controller: Controller, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._push(controller)
            if not mask & ~select.EPOLLOUT or controller.stream.connection.fileno() < 0:
                return
        try:
            messages = controller.stream.take()
        except EngineError as error:
            _say(str(error))
            messages = None
        if messages is None:
            self._drop(controller)
            return
        for message in messages:
            self._obey(controller, message)

    def _obey(self, controller: Controller, message: ipc.Command) -> None:
        if isinstance(message, ipc.Configure):
            self.blobs = message.blobs
        elif isinstance(message, ipc.Adopt):
            self._adopt(controller, message.epoch, message.direct)
        elif controller is not self._leader:
            self._send(controller, [ipc.Fenced(self._epoch)])
        elif isinstance(message, ipc.LaunchAll):
            for launch in message.launches:
                self._launch(launch)
        elif isinstance(message, ipc.Cancel):
            for attempt in message.attempts:
                if (running := self._running.get(attempt)) is not None:
                    self._stop(running, message.outcome, f"{message.outcome} on request", message.grace)
        elif isinstance(message, ipc.Acknowledge):
            self._acknowledge(message.attempts)
        elif isinstance(message, ipc.Define):
            self._define(message)
        elif isinstance(message, ipc.Prepare):
            for preload in message.preloads or ((),):
                self._zygote(message.bundle, preload)
        elif message.stop:
            self._stopping = True
            for running in list(self._running.values()):
                self._stop(running, "cancelled", "the engine was stopped", running.launch.grace)

    def _read_epoch(self) -> int:
        try:
            with open(os.path.join(self.home, "epoch")) as file:
                return int(file.read() or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def _adopt(self, controller: Controller, epoch: int, direct: str) -> None:
        if epoch < self._epoch:
            self._send(controller, [ipc.Fenced(self._epoch)])
            return
        if epoch > self._epoch:
            self._epoch = epoch
            with contextlib.suppress(OSError), open(os.path.join(self.home, "epoch"), "w") as file:
                file.write(str(epoch))
        if self._leader is not None and self._leader is not controller:
            self._send(self._leader, [ipc.Fenced(epoch)])
            if self._leader is not None:
                self._drop(self._leader)
        self._leader = controller
        self._direct = direct
        self._events.clear()
        snapshot = Snapshot(
            tuple(self._started(running) for running in self._running.values() if running.launch.kind != "define"),
            tuple(self._ready.values()),
            tuple(item.event for item in self._finished.values()),
        )
        self._send(controller, [ipc.Adopted(snapshot)])

    def _flush_events(self) -> None:
        events, self._events = self._events, []
        if self._leader is not None:
            self._send(self._leader, events)

    def _forget(self, attempt: str, item: Finish) -> None:
        self._cleaner.forget(item)
        self._forgotten[attempt] = None
        if len(self._forgotten) > REMEMBERED:
            del self._forgotten[next(iter(self._forgotten))]

    def _acknowledge(self, attempts: tuple[str, ...]) -> None:
        for attempt in attempts:
            item = self._finished.pop(attempt, None)
            if item is not None:
                self._forget(attempt, item)
            elif running := self._running.get(attempt):
                running.acknowledged = True
        if not self._finished:
            self._cleaner.settle(busy=bool(self._running))

    # Launching.

    def _launch(self, launch: Launch) -> None:
        key = launch.attempt
        if key in self._running or key in self._finished or key in self._forgotten:
            return
        if not spool.is_safe(key) or (launch.checkpoint and not spool.is_safe(launch.checkpoint)):
            _say(f"a launch was refused: {key!r} or {launch.checkpoint!r} is not safe as a file name")
            return
        running = Running(launch)
        self._running[key] = running
        if launch.timeout > 0:
            self._deadline(time.monotonic() + launch.timeout, running, "timeout")
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

    def _begin(self, running: Running) -> None:
        launch = running.launch
        zygote = self._zygotes.get((launch.bundle, launch.preload))
        if zygote is None and launch.bundle and not os.path.isdir(self._code(launch.bundle)):
            self._refuse(running, "failure", f"the bundle {launch.bundle} is not unpacked in {self.home}/bundles")
            return
        try:
            self._place(running, zygote or self._zygote(launch.bundle, launch.preload))
        except OSError as error:  # no descriptors or no processes left; what was begun is told by the zygote
            if running.zygote is None or not running.ranks:
                for rank in running.ranks:
                    self._drain(rank.outputs)
                self._refuse(running, "failure", f"its process cannot be made: {error.strerror}")
            else:
                self._stop(running, "failure", f"its processes cannot all be made: {error.strerror}", 0.0)

    def _place(self, running: Running, zygote: ZygoteHandle) -> None:
        """Asks a zygote or a worker for the processes of an attempt."""
        launch = running.launch
        running.zygote = zygote
        if launch.isolation == "worker" and launch.gang == 1 and launch.kind == "attempt":
            self._lend(running, zygote)
            return
        port = _free_port() if launch.gang > 1 else 0
        for number in range(launch.gang):
            rank = Rank()
            running.ranks.append(rank)
            zygote.pending[launch.attempt, number] = running
            descriptors: list[int] = []
            if launch.kind != "define":
                descriptors.append(self._pipe(running, number, 1, rank.outputs))
                descriptors.append(self._pipe(running, number, 2, rank.outputs))
            if launch.kind != "attempt":
                descriptors.append(self._pipe(running, number, 0, rank.outputs))
            zygote.channel.put(ipc.Fork(launch, number, port), descriptors)
        self._dirty[id(zygote)] = zygote.channel

    def _code(self, bundle: str) -> str:
        return os.path.join(self.home, "bundles", bundle.removeprefix("sha256:"))

    def _pipe(self, owner: Running | Worker, rank: int, stream: int, outputs: list[Output]) -> int:
        """Makes a pipe that we read; returns the end to write to. Stream 0 is the report."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        output = Output(ours, owner, rank, stream)
        outputs.append(output)
        self._outputs[ours] = output
        self._epoll.register(ours, select.EPOLLIN)
        return theirs

    def _lend(self, running: Running, zygote: ZygoteHandle) -> None:
        launch = running.launch
        if zygote.idle:
            worker = zygote.idle.pop()
            worker.rested = False
            if not self._events:
                self._patience = time.monotonic() + PATIENCE
            self._events.append(Started(launch.attempt, (worker.pid,), (worker.birth,), self._node))
            running.started = True
        else:
            self._workers += 1
            ours, theirs = ipc.pair()
            worker = Worker(f"worker-{os.getpid()}-{self._workers}", ipc.Packets(ours, ipc.Spooled), zygote)
            self._watch(ours.fileno(), lambda _: self._answered(worker))
            output = self._pipe(worker, 0, 1, worker.outputs)
            error = self._pipe(worker, 0, 2, worker.outputs)
            zygote.pending[worker.name, 0] = worker
            zygote.channel.put(ipc.StartWorker(worker.name), [theirs.detach(), output, error])
            self._dirty[id(zygote)] = zygote.channel
        worker.current = running
        running.worker = worker
        worker.channel.put(ipc.Run(launch, self._direct, self._node))
        self._dirty[id(worker)] = worker.channel

    def _zygote(self, bundle: str, preload: tuple[str, ...]) -> ZygoteHandle:
        key = (bundle, preload)
        if (zygote := self._zygotes.get(key)) is not None:
            return zygote
        ours, theirs = ipc.pair()
        channel = ipc.Packets(ours, ipc.Forked | ipc.Exited)
        if preload:
            base = self._zygote(bundle, ())
            base.channel.put(ipc.Branch(preload), [theirs.detach()])
            self._dirty[id(base)] = base.channel
            pid = 0
        else:
            pid = os.fork()
            if pid == 0:
                self._become_zygote(theirs, bundle)
            theirs.close()
        zygote = self._zygotes[key] = ZygoteHandle(channel, bundle, preload, pid)
        self._watch(ours.fileno(), lambda _: self._told(zygote))
        return zygote

    def _become_zygote(self, connection: socket.socket, bundle: str) -> NoReturn:
        try:
            keep = connection.fileno()
            os.closerange(3, keep)
            os.closerange(keep + 1, 1 << 20)
            from clearance.engine.local import attempt, zygote

            place = attempt.Place(self.home, self.blobs, bundle, (), self._umask, self._descriptors)
            zygote.begin(connection, place)
        except BaseException as error:
            _say(f"a zygote cannot start: {type(error).__name__}: {error}")
        finally:
            os._exit(70)

    def _flush_packets(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for key, channel in dirty.items():
            fd = channel.connection.fileno()
            if fd < 0:
                continue
            try:
                if not channel.flush():
                    self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
                    self._handlers[fd] = self._unblocked(key, channel, self._handlers[fd])
            except OSError:
                continue  # its end of file tells the rest

    def _unblocked(self, key: int, channel: ipc.Packets, after: Callable[[int], None]) -> Callable[[int], None]:
        """Returns a handler that sends on when the other side reads again, then puts the usual one back."""

        def handler(mask: int) -> None:
            fd = channel.connection.fileno()
            if mask & select.EPOLLOUT:
                self._handlers[fd] = after
                self._epoll.modify(fd, select.EPOLLIN)
                self._dirty[key] = channel
            if mask & ~select.EPOLLOUT:
                after(mask)

        return handler

    # What comes back.

    def _read(self, output: Output) -> bool:
        """Takes one piece of what a process wrote, False when there is none; closes the pipe at its end."""
        try:
            data = os.read(output.fd, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._close_output(output)
            return False
        owner = output.owner
        if isinstance(owner, Worker):
            if owner.current is not None:
                self._log(owner.current, output.stream, 0, data)
            else:
                _append(os.path.join(self.home, "logs", f"{owner.name}.log"), data)
        elif output.stream:
            self._log(owner, output.stream, output.rank, data)
        else:
            owner.report += data
            if owner.launch.kind == "service":
                self._reported(owner)
        return True

    def _log(self, running: Running, stream: int, rank: int, data: bytes) -> None:
        if running.log is None:
            from clearance.engine.local.frames import Log

            running.log = Log(os.path.join(self.home, "logs", f"{running.launch.attempt}.frames"))
        running.log.append(stream, rank, data)

    def _close_output(self, output: Output) -> None:
        if self._outputs.pop(output.fd, None) is not None:
            os.close(output.fd)  # closing takes it out of the epoll: we hold the only descriptor

    def _drain(self, outputs: list[Output]) -> None:
        """Reads what is left in the pipes of a process that is gone, and closes them."""
        for output in outputs:
            while self._outputs.get(output.fd) is output and self._read(output):
                pass
            if self._outputs.get(output.fd) is output:
                self._close_output(output)
        outputs.clear()

    def _reported(self, running: Running) -> None:
        decoder = msgspec.msgpack.Decoder(list[Ready])
        while len(running.report) >= 4:
            length = int.from_bytes(running.report[:4], "big")
            if len(running.report) < 4 + length:
                return
            try:
                messages = decoder.decode(bytes(running.report[4 : 4 + length]))
            except msgspec.MsgspecError as error:
                _say(f"{running.launch.attempt} reported what is no message: {error}")
                running.report.clear()
                return
            del running.report[: 4 + length]
            for message in messages:
                if message.attempt == running.launch.attempt:
                    self._ready[message.attempt] = message
                    self._events.append(message)

    def _told(self, zygote: ZygoteHandle) -> None:
        try:
            packet = zygote.channel.take()
        except EngineError as error:
            _say(str(error))
            packet = None
        if packet is None:
            self._zygote_died(zygote)
            return
        for message in packet[0]:
            if isinstance(message, ipc.Forked):
                self._forked(zygote, message)
            else:
                self._exited(zygote, message)

    def _forked(self, zygote: ZygoteHandle, message: ipc.Forked) -> None:
        if not message.key:
            zygote.pid, zygote.birth = message.pid, message.birth
            return
        subject = zygote.pending.pop((message.key, message.rank), None)
        if subject is None:
            return
        if not message.pid:
            self._unforked(subject, message)
            return
        self._cleaner.journal(message.pid, message.birth)
        if isinstance(subject, Worker):
            subject.pid, subject.birth = message.pid, message.birth
            zygote.members[message.pid] = subject
            running = subject.current
        else:
            rank = subject.ranks[message.rank]
            rank.pid, rank.birth = message.pid, message.birth
            zygote.members[message.pid] = (subject, message.rank)
            running = subject
        if running is None:
            return
        early: list[ipc.Spooled] = []
        if isinstance(subject, Worker):
            early, subject.early = subject.early, []
        if message.note:
            self._log(running, 3, message.rank, message.note.encode() + b"\n")
        started = self._started(running)
        if started.pids and running.launch.kind != "define":
            running.started = True
            self._patience = 0.0
            self._events.append(started)
        if running.outcome:
            self._signal(running, signal.SIGKILL if running.killed else signal.SIGTERM)
        if early and isinstance(subject, Worker):
            self._settle(subject, early)

    def _unforked(self, subject: Running | Worker, message: ipc.Forked) -> None:
        """A process could not be made."""
        if isinstance(subject, Worker):
            if subject.current is not None:
                subject.current.reason = message.note
            self._worker_died(subject, -1, 0.0, 0)
            return
        subject.reason = subject.reason or message.note
        self._rank_ended(subject, message.rank, End(-1, None))

    def _started(self, running: Running) -> Started:
        if running.worker is not None:
            pids: tuple[int, ...] = (running.worker.pid,)
            births: tuple[int, ...] = (running.worker.birth,)
        else:
            pids = tuple(rank.pid for rank in running.ranks)
            births = tuple(rank.birth for rank in running.ranks)
        if not all(pids):
            pids = births = ()
        return Started(running.launch.attempt, pids, births, self._node)

    def _exited(self, zygote: ZygoteHandle, message: ipc.Exited) -> None:
        member = zygote.members.pop(message.pid, None)
        if member is None:
            return
        if isinstance(member, Worker):
            self._worker_died(member, message.status, message.cpu_seconds, message.peak_memory)
            return
        running, number = member
        key = running.launch.attempt
        record = None if running.launch.kind == "define" else spool.read(f"{self.home}/spool/{key}.{number}")
        self._rank_ended(running, number, End(message.status, record, message.cpu_seconds, message.peak_memory))

    def _rank_ended(self, running: Running, number: int, end: End) -> None:
        rank = running.ranks[number]
        self._drain(rank.outputs)
        rank.end = end
        record = end.record
        failed = record is None or record.failure is not None
        if failed and running.first_failed < 0:
            running.first_failed = number
        if all(other.end is not None for other in running.ranks):
            self._conclude(running)
        elif failed and not running.outcome:
            self._stop(running, "failure", "", running.launch.grace)

    def _answered(self, worker: Worker) -> None:
        try:
            packet = worker.channel.take()
        except EngineError as error:
            _say(str(error))
            packet = None
        if packet is None:
            self._unwatch(worker.channel.connection.fileno())
            return
        if not worker.pid:
            worker.early += packet[0]
            return
        self._settle(worker, packet[0])

    def _settle(self, worker: Worker, records: list[ipc.Spooled]) -> None:
        """Takes a worker's answers: it is free for the next attempt."""
        for record in records:
            running = worker.current
            if running is None or record.attempt != running.launch.attempt:
                continue
            worker.current = None
            running.told = record.told
            self._finish_worker(running, End(0, record, record.cpu_seconds, record.peak_memory))
            if running.outcome:  # it was given notice, and may be about to die of it
                processes.signal_group(worker.pid, worker.birth, signal.SIGKILL)
            else:
                worker.zygote.idle.append(worker)

    def _finish_worker(self, running: Running, end: End) -> None:
        running.ranks.append(Rank(end))
        running.first_failed = 0 if end.record is None or end.record.failure else -1
        self._conclude(running)

    def _worker_died(self, worker: Worker, status: int, cpu: float, peak: int) -> None:
        self._answered(worker)
        if worker in worker.zygote.idle:
            worker.zygote.idle.remove(worker)
        self._unwatch(worker.channel.connection.fileno())
        self._drain(worker.outputs)
        worker.channel.discard()
        self._cleaner.retire(worker.name)
        running = worker.current
        worker.current = None
        if running is not None:
            log = f"{self.home}/spool/{worker.name}.log"
            key = running.launch.attempt
            record = next((one for one in spool.records(log) if one.attempt == key), None)
            self._finish_worker(running, End(status, record, cpu, peak))

    def _zygote_died(self, zygote: ZygoteHandle) -> None:
        """Ends what ran in it: leaders die with their zygote, and their orphans have become our children."""
        self._unwatch(zygote.channel.connection.fileno())
        del self._zygotes[zygote.bundle, zygote.preload]
        status = -1
        if zygote.pid and processes.birth_of(zygote.pid) == zygote.birth:
            os.kill(zygote.pid, signal.SIGKILL)
            if not zygote.preload:
                _, status = os.waitpid(zygote.pid, 0)
        zygote.channel.discard()
        for member in zygote.members.values():
            pid, birth = (member.pid, member.birth) if isinstance(member, Worker) else member[0].ranks[member[1]].name
            processes.signal_group(pid, birth, signal.SIGKILL)
        processes.end_children(frozenset(other.pid for other in self._zygotes.values()))
        how = processes.describe_status(status)[1].partition(" before")[0] if status >= 0 else "ended"
        name = (zygote.bundle.removeprefix("sha256:") or "none")[:12]
        reason = f"the process that imports the pipeline {how}: see {self.home}/logs/zygote-{name}.log"
        for pid, member in list(zygote.members.items()):
            if not isinstance(member, Worker) and not member[0].outcome:
                member[0].outcome, member[0].reason = "lost", reason
            elif isinstance(member, Worker) and member.current is not None and not member.current.outcome:
                member.current.outcome, member.current.reason = "lost", reason
            self._exited(zygote, ipc.Exited(pid, -1, 0.0, 0))
        for (_, number), subject in list(zygote.pending.items()):
            if isinstance(subject, Worker):
                if subject.current is not None:
                    subject.current.reason = subject.current.reason or reason
                self._worker_died(subject, -1, 0.0, 0)
            else:
                subject.reason = subject.reason or reason
                self._rank_ended(subject, number, End(-1, None))

    # Ending.

    def _deadline(self, when: float, running: Running, what: str) -> None:
        self._counter += 1
        heapq.heappush(self._deadlines, (when, self._counter, running, what))
        if len(self._deadlines) > 1024 and len(self._deadlines) > 4 * len(self._running):
            self._deadlines = [entry for entry in self._deadlines if not entry[2].concluded]
            heapq.heapify(self._deadlines)

    def _expire(self) -> None:
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, running, what = heapq.heappop(self._deadlines)
            if running.concluded:
                continue
            if what == "timeout":
                launch = running.launch
                self._stop(running, "timeout", f"it still ran after {launch.timeout:g} s", launch.grace)
            else:
                running.killed = True
                self._signal(running, signal.SIGKILL)

    def _stop(self, running: Running, outcome: str, reason: str, grace: float) -> None:
        """Gives notice now and kills after `grace` seconds. The first reason stands; a shorter grace wins."""
        if not running.outcome:
            running.outcome, running.reason = outcome, reason
            if running.zygote is None:  # it waits for its predecessor: there is no process
                self._conclude(running)
                return
        if grace > 0 and not running.killed:
            self._signal(running, signal.SIGTERM)
            self._signal(running, signal.SIGCONT)
            self._deadline(time.monotonic() + grace, running, "kill")
        else:
            running.killed = True
            self._signal(running, signal.SIGKILL)

    def _signal(self, running: Running, number: int) -> None:
        if running.worker is not None:
            names = [(running.worker.pid, running.worker.birth)]
        else:
            names = [rank.name for rank in running.ranks if rank.end is None]
        for pid, birth in names:
            if pid:
                processes.signal_group(pid, birth, number)
            elif number == signal.SIGKILL and running.zygote is not None:
                self._kill_stuck(running.zygote)

    def _kill_stuck(self, zygote: ZygoteHandle) -> None:
        """Kills a zygote that does not fork: an import hangs in it. Its end of file tells the rest."""
        target = zygote if zygote.pid else self._zygotes.get((zygote.bundle, ()), zygote)
        if target.pid and processes.birth_of(target.pid) == target.birth:
            os.kill(target.pid, signal.SIGKILL)

    def _refuse(self, running: Running, outcome: str, reason: str) -> None:
        running.outcome, running.reason = outcome, reason
        self._conclude(running)

    def _conclude(self, running: Running) -> None:
        """Nothing of the attempt is left: says how it ended, and lets its successor begin."""
        launch = running.launch
        key = launch.attempt
        running.concluded = True
        del self._running[key]
        self._ready.pop(key, None)
        if running.log is not None:
            running.log.close()
        prefix, _ = epoch_of(key)
        if self._by_prefix.get(prefix) is running:
            del self._by_prefix[prefix]
        if launch.kind == "define":
            self._defined(running)
            return
        ends = [rank.end for rank in running.ranks if rank.end is not None] or [End(-1, None)]
        event = judge(launch, ends, max(running.first_failed, 0), running.outcome, running.reason)
        item = Finish(event, launch.gang, running.worker is not None, bool(running.ranks))
        if running.superseded:
            self._cleaner.forget(item)
        else:
            alone = launch.gang == 1 and ends[0].record is not None and event.outcome in ("success", "failure")
            if not alone:
                item.written = self._cleaner.write_end(event)
            if running.acknowledged:
                self._forget(key, item)
            else:
                self._finished[key] = item
            if not running.told:
                self._events.append(event)
            elif running.started and self._events:
                self._events = [each for each in self._events if getattr(each, "attempt", "") != key]
        if (successor := running.successor) is not None and not successor.concluded:
            before = running.predecessor
            if before is not None and not before.concluded:
                before.successor, successor.predecessor = successor, before
            else:
                self._begin(successor)

    # Definitions.

    def _define(self, message: ipc.Define) -> None:
        self._counter += 1
        launch = Launch(
            attempt=f"define-{self._counter}",
            kind="define",
            bundle=message.bundle,
            entry=message.target,
            arguments={name: Literal(value) for name, value in message.parameters.items()},
            timeout=DEFINITION,
            grace=0.0,
            task=message.request,
        )
        running = self._running[launch.attempt] = Running(launch)
        self._deadline(time.monotonic() + DEFINITION, running, "timeout")
        self._begin(running)

    def _defined(self, running: Running) -> None:
        launch = running.launch
        try:
            answer = msgspec.msgpack.decode(bytes(running.report), type=Defined)
        except msgspec.MsgspecError:
            end = running.ranks[0].end if running.ranks else None
            if running.outcome == "timeout":
                error = f"is not defined after {launch.timeout:g} s: does the code wait for something?"
            elif end is not None and end.status >= 0:
                error = f"cannot be defined: its process {processes.describe_status(end.status)[1]}"
            else:
                error = f"cannot be defined: {running.reason}"
            answer = Defined(launch.task, error=f"{launch.entry} {error}")
        self._events.append(answer)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _append(path: str, data: bytes) -> None:
    with contextlib.suppress(OSError), open(path, "ab", 0) as file:
        file.write(data)


def _say(text: str) -> None:
    """Writes a line to the supervisor's own log."""
    os.write(2, f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n".encode())


def main() -> NoReturn:
    """Entry point: `supervisor HOME`, with the first controller's connection as descriptor 3."""
    home = sys.argv[1]
    umask = os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    processes.set_name("clearance:super")
    processes.adopt_orphans()
    lock = os.open(os.path.join(home, "supervisor.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    first = socket.socket(fileno=3)
    first.set_inheritable(False)
    try:
        Supervisor(home, first, umask, processes.limit_descriptors()).run()
    except BaseException as error:
        import traceback

        _say("".join(traceback.format_exception(error)))
    finally:
        os._exit(70)


if __name__ == "__main__":
    main()
