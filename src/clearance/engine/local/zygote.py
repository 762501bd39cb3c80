"""A zygote: a process that has imported a bundle's code once, and forks itself for every process of an attempt.

Rules:

1. One thread. If an import started another, nothing is forked any more: a fresh interpreter is spawned instead.
2. The zygote is the parent and the subreaper of all that its attempts start: when the first process of an attempt
   ends, the zygote kills the rest of its group, then every orphan of that attempt, and only then says `Exited`.
   An orphan belongs to the attempt whose group or `CLEARANCE_ATTEMPT` it carries; one that carries neither
   (forked, not executed, and in a session of its own) is ended as soon as no attempt runs beside it.
3. One process is forked ahead (the spare): it waits for an attempt, runs that one, and is never used again. A fork
   and its page faults are so off the way of a chain of steps. A spare that was forked before an import is thrown away.
4. When the supervisor is gone (end of file on the socket), the zygote kills all that it started and ends.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from typing import NoReturn

import msgspec

from clearance.engine.base import Launch
from clearance.engine.local import attempt, ipc, processes
from clearance.engine.local.worker import Worker
from clearance.errors import EngineError

_SPAWNED = (
    "from clearance.engine.local.attempt import spawned; "
    "import sys; spawned(int(sys.argv[1]), [int(fd) for fd in sys.argv[2:]])"
)


class _Leader:
    """The first process of an attempt's process group."""

    __slots__ = ("cpu", "key", "peak", "pid", "pidfd", "status", "waiting", "worker")

    def __init__(self, pid: int, pidfd: int, key: str, worker: bool) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.key = key.encode()
        self.worker = worker
        self.status = 0
        self.cpu = 0.0
        self.peak = 0
        self.waiting: dict[int, int] = {}  # pidfd → pid of what the attempt left behind


class _Spare:
    """A process that was forked ahead and waits for its attempt."""

    __slots__ = ("birth", "channel", "pid")

    def __init__(self, pid: int, channel: ipc.Packets) -> None:
        self.pid = pid
        self.birth = processes.birth_of(pid)
        self.channel = channel


_THREADS = "OPENBLAS_NUM_THREADS"
_USUAL = (700, 10, 10)  # thresholds of the garbage collector, as Python sets them


def _import(place: attempt.Place, entry: str) -> BaseException | None:
    """Imports for good what attempts will need; returns what went wrong.

    OpenBLAS (numpy's) starts its threads when it is loaded, and a process with threads must not be forked. Unless
    somebody chose their number, one is enough here: BLAS then runs in the thread that calls it.
    """
    chosen = _THREADS in os.environ
    os.environ.setdefault(_THREADS, "1")
    try:
        return attempt.import_all(place, entry)
    finally:
        if not chosen:
            del os.environ[_THREADS]


class Zygote:
    """See the module.

    Args:
        connection: SEQPACKET socket to the supervisor.
        place: where things are, and what code this zygote holds.
    """

    def __init__(self, connection: socket.socket, place: attempt.Place) -> None:
        self.place = place
        self._pid = os.getpid()
        self._channel = ipc.Packets(connection, ipc.Request)
        self._epoll = select.epoll()
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        self._leaders: dict[int, _Leader] = {}  # by pid: those that run
        self._watched: dict[int, _Leader] = {}  # by pidfd: of the leader, or of what it left behind
        self._branches: set[int] = set()
        self._entries: set[str] = set()
        self._spare: _Spare | None = None
        self._used = False
        self._said = False
        processes.adopt_orphans()
        processes.set_name("clearance:zygot")
        attempt.open_place(place)
        self._trouble = _import(place, "")
        self._freeze()
        gc.set_threshold(*_USUAL)  # the supervisor has others, and tasks get what they would have anywhere
        self._channel.put(ipc.Forked("", 0, self._pid, processes.birth_of(self._pid)))
        self._channel.flush()

    @staticmethod
    def _freeze() -> None:
        gc.collect()
        gc.freeze()

    def run(self) -> NoReturn:
        """Serves until the supervisor is gone."""
        control = self._channel.connection.fileno()
        poll = self._epoll.poll
        while True:
            for fd, _ in poll():
                if fd == control:
                    packet = self._channel.take()
                    if packet is None:
                        self._end()
                    messages, descriptors = packet
                    descriptors.reverse()
                    for message in messages:
                        self._handle(message, descriptors)
                elif (leader := self._watched.pop(fd, None)) is not None:
                    self._epoll.unregister(fd)
                    os.close(fd)
                    self._ended(leader, fd)
            try:
                self._channel.flush()
            except OSError:
                self._end()
            if self._used and self._spare is None:
                self._used = False
                self._fork_ahead()

    def _fork_ahead(self) -> None:
        if processes.threads() > 1:
            return
        ours, theirs = ipc.pair()
        try:
            pid = os.fork()
        except OSError:
            return  # no spare, then: the next attempt says why there can be no process
        if pid == 0:
            try:
                ours.close()
                self._forget()
                attempt.wait(theirs, self.place, self._pid)
            finally:
                os._exit(70)
        theirs.close()
        self._spare = _Spare(pid, ipc.Packets(ours, ipc.Fork))

    def _take_spare(self, fork: ipc.Fork, descriptors: list[int]) -> _Spare | None:
        """Hands the spare this attempt; None when there is none, or it has died."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.channel.put(fork, [os.dup(descriptor) for descriptor in descriptors])
            try:
                sent = spare.channel.flush()
            except OSError:
                sent = False
            spare.channel.discard()
            if not sent:
                os.kill(spare.pid, signal.SIGKILL)
                os.waitpid(spare.pid, 0)
                spare = None
        return spare

    def _drop_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.channel.discard()
            os.kill(spare.pid, signal.SIGKILL)
            os.waitpid(spare.pid, 0)

    def _handle(self, message: ipc.Request, descriptors: list[int]) -> None:
        """Does one request; its descriptors are at the end of the list, the first one last."""
        if isinstance(message, ipc.Fork):
            launch = message.launch
            count = {"define": 1, "service": 3}.get(launch.kind, 2)
            mine = [descriptors.pop() for _ in range(count)]
            trouble = self._import(launch)
            if launch.isolation == "inline" and launch.kind == "attempt":
                self._inline(message, mine, trouble)
                return
            self._try_start(launch.attempt, message, mine, trouble)
        elif isinstance(message, ipc.StartWorker):
            mine = [descriptors.pop() for _ in range(4)]
            self._try_start(message.name, message, mine, self._trouble)
        else:
            self._branch(message, descriptors.pop())

    def _import(self, launch: Launch) -> BaseException | None:
        if self._trouble is not None:
            return self._trouble
        entry = launch.entry
        if entry in self._entries:
            return None
        if launch.kind == "define":
            entry = entry.partition(":")[0]
        self._drop_spare()
        trouble = _import(self.place, entry)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if trouble is None:
            self._entries.add(entry)
            self._freeze()
        return trouble

    def _try_start(
        self, key: str, what: ipc.Fork | ipc.StartWorker, descriptors: list[int], trouble: BaseException | None
    ) -> None:
        try:
            self._start(key, what, descriptors, trouble)
        except OSError as error:
            reason = f"its process cannot be made: {error.strerror}"
            self._channel.put(ipc.Forked(key, what.rank if isinstance(what, ipc.Fork) else 0, 0, 0, reason))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _start(
        self, key: str, what: ipc.Fork | ipc.StartWorker, descriptors: list[int], trouble: BaseException | None
    ) -> None:
        fork = what if isinstance(what, ipc.Fork) else None
        note = ""
        spare = None
        if fork is not None and fork.launch.kind == "attempt" and trouble is None:
            self._used = True
            spare = self._take_spare(fork, descriptors)
        if spare is not None:
            pid = spare.pid
        elif (count := processes.threads()) > 1:
            name, cpu_millis = (what.name, what.cpu_millis) if isinstance(what, ipc.StartWorker) else ("", 0)
            job = attempt.Job(self.place, self._pid, tuple(sys.path), fork, name, cpu_millis)
            pid = self._spawn(job, descriptors)
            if not self._said:
                self._said = True
                note = (
                    f"an import started {count - 1} thread(s) in the zygote, so forking it would be unsafe: "
                    "each process is a fresh interpreter from now on"
                )
        else:
            pid = os.fork()
            if pid == 0:
                self._child(what, descriptors, trouble)
        leader = _Leader(pid, os.pidfd_open(pid), key, fork is None)
        self._leaders[pid] = leader
        self._watch(leader)
        rank = fork.rank if fork else 0
        birth = spare.birth if spare else processes.birth_of(pid)
        self._channel.put(ipc.Forked(key, rank, pid, birth, note))

    def _watch(self, leader: _Leader) -> None:
        self._watched[leader.pidfd] = leader
        self._epoll.register(leader.pidfd, select.EPOLLIN)

    def _child(
        self, what: ipc.Fork | ipc.StartWorker, descriptors: list[int], trouble: BaseException | None
    ) -> NoReturn:
        try:
            self._forget()
            attempt.detach(self._pid, self.place)
            if isinstance(what, ipc.StartWorker):
                connection, shared, output, error = descriptors
                attempt.attach(output, error)
                processes.set_name("clearance:worke")
                channel = socket.socket(fileno=connection)
                Worker(what.name, channel, shared, self.place, trouble, what.cpu_millis).serve()
            attempt.start(what, self.place, descriptors, trouble)
        except BaseException as error:
            os.write(2, f"clearance: a process cannot start: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(70)

    def _forget(self) -> None:
        """Closes, in a forked process, the descriptors that are the zygote's alone."""
        self._channel.connection.close()
        self._epoll.close()
        for fd in self._watched:
            os.close(fd)
        if self._spare is not None:
            self._spare.channel.connection.close()

    def _spawn(self, job: attempt.Job, descriptors: list[int]) -> int:
        memory = os.memfd_create("job")
        os.write(memory, ipc.encode(job))
        keep = [memory, *descriptors]
        for descriptor in keep:
            os.set_inheritable(descriptor, True)
        command = [sys.executable, "-P", "-c", _SPAWNED, *map(str, keep)]
        try:
            return os.posix_spawn(sys.executable, command, os.environ)
        finally:
            os.close(memory)

    def _inline(self, fork: ipc.Fork, descriptors: list[int], trouble: BaseException | None) -> None:
        saved = os.dup(1), os.dup(2)
        try:
            os.dup2(descriptors[0], 1)
            os.dup2(descriptors[1], 2)
            for descriptor in descriptors:
                os.close(descriptor)
            pid = self._pid
            self._channel.put(ipc.Forked(fork.launch.attempt, 0, pid, processes.birth_of(pid)))
            self._channel.flush()
            before, _ = attempt.used()
            attempt.run_inline(fork, self.place, trouble)
            self._channel.put(ipc.Exited(pid, 0, attempt.used()[0] - before, 0))
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])

    def _branch(self, message: ipc.Branch, descriptor: int) -> None:
        """Forks a zygote that holds more. With threads about it imports the bundle afresh, in a new interpreter."""
        place = msgspec.structs.replace(self.place, preload=message.preload)
        if processes.threads() > 1:
            os.set_inheritable(descriptor, True)
            code = "import sys; from clearance.engine.local.zygote import spawned; spawned(*sys.argv[1:])"
            arguments = [str(descriptor), msgspec.json.encode(place).decode()]
            pid = os.posix_spawn(sys.executable, [sys.executable, "-P", "-c", code, *arguments], os.environ)
        else:
            pid = os.fork()
            if pid == 0:
                try:
                    self._forget()
                    Zygote(socket.socket(fileno=descriptor), place).run()
                finally:
                    os._exit(70)
        os.close(descriptor)
        self._branches.add(pid)
        self._watch(_Leader(pid, os.pidfd_open(pid), "", True))

    def _ended(self, leader: _Leader, fd: int) -> None:
        """A leader, or something it left behind, has ended: goes on until nothing of the attempt is left."""
        if fd == leader.pidfd:
            leader.pidfd = -1  # closed: the number may soon be that of an orphan's
            pid = leader.pid
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # the zombie keeps its pid, so this group is still the attempt's
            _, leader.status, usage = os.wait4(pid, 0)
            leader.cpu = usage.ru_utime + usage.ru_stime
            leader.peak = usage.ru_maxrss * 1024
            self._leaders.pop(pid, None)
            self._branches.discard(pid)
        else:
            pid = leader.waiting.pop(fd)
            _, _, usage = os.wait4(pid, 0)
            leader.cpu += usage.ru_utime + usage.ru_stime
            leader.peak = max(leader.peak, usage.ru_maxrss * 1024)
        if not leader.waiting and not self._sweep(leader):
            self._channel.put(ipc.Exited(leader.pid, leader.status, leader.cpu, leader.peak))

    def _sweep(self, leader: _Leader) -> bool:
        """Kills the orphans of an attempt whose leader has ended; True when there are some to wait for."""
        known = self._leaders
        spare = self._spare.pid if self._spare else 0
        orphans = [
            pid for pid in processes.children() if pid not in known and pid not in self._branches and pid != spare
        ]
        if not orphans:
            return False
        others = {pid for held in self._watched.values() for pid in held.waiting.values()}
        alone = all(other.worker for other in known.values())  # a worker ends its own orphans
        for pid in orphans:
            if pid in others:
                continue
            try:
                group = os.getpgid(pid)
            except ProcessLookupError:
                continue
            if group != leader.pid and not alone:
                mark = processes.marker_of(pid, b"CLEARANCE_ATTEMPT")
                if group in known or (mark != leader.key and not self._is_lost(mark)):
                    continue
            try:
                os.kill(pid, signal.SIGKILL)
            except PermissionError:  # a setuid program: it cannot be ended, and must not hold the attempt up
                continue
            pidfd = os.pidfd_open(pid)
            leader.waiting[pidfd] = pid
            self._watched[pidfd] = leader
            self._epoll.register(pidfd, select.EPOLLIN)
        return bool(leader.waiting)

    def _is_lost(self, mark: bytes | None) -> bool:
        """Whether a mark names an attempt that no longer runs."""
        return mark is not None and all(leader.key != mark for leader in self._leaders.values())

    def _end(self) -> NoReturn:
        for pid in self._leaders:
            try:
                os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        processes.end_children(frozenset(self._branches))
        os._exit(0)


def begin(connection: socket.socket, place: attempt.Place) -> NoReturn:
    """Turns this process into a zygote: its code first on the path, its own log for what imports print."""
    log = os.path.join(place.home, "logs", f"zygote-{(place.bundle.removeprefix('sha256:') or 'none')[:12]}.log")
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    if place.code:
        if not os.path.isdir(place.code):
            raise EngineError(f"the bundle {place.bundle} is not unpacked at {place.code}")
        sys.path.insert(0, place.code)
    Zygote(connection, place).run()


def spawned(descriptor: str, place: str) -> NoReturn:
    """Entry point of a zygote in an interpreter of its own; the place as JSON."""
    try:
        connection = socket.socket(fileno=int(descriptor))
        connection.set_inheritable(False)
        begin(connection, msgspec.json.decode(place, type=attempt.Place))
    finally:
        os._exit(70)
