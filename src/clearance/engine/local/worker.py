"""A worker: a warm process that runs one attempt after another, for tasks that are short beside a fork.

Rules:

1. The record of an attempt is in the worker's spool log before anybody is told.
2. What an attempt leaves behind ends with it: processes, files in the working directory, the environment it was given.
   What it leaves in memory stays: that is what a warm process is for.
3. It runs what the supervisor sends, and what the controller sends to which it is lent (see `slate`).
4. A success is told to the controller without the detour by the supervisor, when the attempt has written nothing to
   its output or error: what it wrote must be in its log before its end is known, and only the supervisor knows when.
   A failure takes the detour too: only the supervisor knows whether notice was given.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import termios
from typing import NoReturn

import msgspec

from clearance.engine.base import Failure, Started
from clearance.engine.context import context
from clearance.engine.local import attempt, failures, ipc, processes, slate, spool
from clearance.types.artifact import Artifact

_NOTHING = bytes(4)


class Worker:
    """A warm process that runs one attempt after another.

    Its working directory is one for all its attempts and is emptied after each that left something in it, so
    that an attempt which writes no file costs no file.

    Args:
        name: `worker-N`, unique in this supervisor's life.
        connection: socket to the supervisor.
        shared: descriptor of the slate that it shares with the supervisor.
        place: where things are.
        trouble: why the zygote could not import what was asked of it.
        cpu_millis: of the attempt it is made for.
    """

    def __init__(
        self,
        name: str,
        connection: socket.socket,
        shared: int,
        place: attempt.Place,
        trouble: BaseException | None,
        cpu_millis: int,
    ) -> None:
        self._channel = ipc.Packets(connection, ipc.Run)
        self._place = place
        self._trouble = trouble
        self._directory = f"{place.home}/attempts/{name}"
        os.makedirs(self._directory, 0o700, exist_ok=True)
        os.chdir(self._directory)
        self._clean = os.stat(self._directory).st_mtime_ns
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._log = os.open(f"{place.home}/spool/{name}.log", flags, 0o600)
        self._cpu, _ = attempt.used()
        self._pid = os.getpid()
        self._birth = processes.birth_of(self._pid)
        self._direct = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._direct_name = ""
        self._slate = shared
        self._read = slate.reads(shared)  # how often the supervisor had read after the last attempt
        self._pipes = os.dup(1), os.dup(2)  # a task may put something else in the place of the first two
        self._threads_chosen = attempt.THREADS in os.environ
        self._tenant = ""
        self._cpu_millis = 0
        self._use_threads(cpu_millis)

    def _use_threads(self, cpu_millis: int) -> None:
        """Says in the environment how many threads an attempt of so many CPUs should use."""
        self._cpu_millis = cpu_millis
        if not self._threads_chosen:
            os.environ.pop(attempt.THREADS, None)
            os.environ.update(attempt.threads_of(cpu_millis))

    def serve(self) -> NoReturn:
        """Runs attempts until the supervisor closes the socket."""
        try:
            processes.adopt_orphans()
            while (packet := self._channel.take()) is not None:
                for message in packet[0]:
                    if not message.loan or slate.take(self._slate, message):
                        self._run(message)
                    else:
                        self._channel.put(ipc.Refused(message.launch.attempt))
                        self._channel.flush()
        except BaseException as error:
            os.write(2, f"clearance: a worker ends: {type(error).__name__}: {error}\n".encode())
            os._exit(70)
        finally:
            os._exit(0)

    def _run(self, message: ipc.Run) -> None:
        launch = message.launch
        if launch.cpu_millis != self._cpu_millis:
            self._use_threads(launch.cpu_millis)
        before = dict(os.environ) if launch.environment else None
        environment = os.environ
        environment["CLEARANCE_ATTEMPT"] = launch.attempt
        if environment.get("CLEARANCE_GRACE") != (grace := f"{launch.grace:g}"):
            environment["CLEARANCE_GRACE"] = grace
        if environment.get("CLEARANCE_NODE") != launch.nodes[0]:
            environment["CLEARANCE_NODE"] = launch.nodes[0]
        result: Artifact | None = None
        failure: Failure | None = None
        try:
            if before is not None:
                environment.update(launch.environment)
            attempt.limit(launch)
            context._enter(attempt.facts_of(launch, 0, self._place, self._directory, None))
            attempt.mask_logs(launch.attempt, self._place)
            if self._place.accounting and launch.tenant != self._tenant:
                attempt.count(launch, self._place, gang=False)
                self._tenant = launch.tenant
            if self._trouble is not None:
                raise self._trouble
            result = attempt.call(launch, 0, self._place, self._directory)
        except BaseException as error:
            failure = attempt.failed(error, 0, self._place, self._directory)
            failures.show(failure)
        context._enter(None)
        if processes.has_children():
            processes.end_children()
        attempt.flush()
        used, peak = attempt.used()
        tells = failure is None and message.direct != "" and self._is_quiet()
        record = ipc.Spooled(launch.attempt, 0, 1, result, failure, round(used - self._cpu, 6), peak, tells)
        self._cpu = used
        body = spool.append(self._log, record)
        if tells and not self._tell(message, record):
            body = ipc.encode(msgspec.structs.replace(record, told=False))
        self._channel.put_encoded(body)
        self._channel.flush()
        self._read = slate.reads(self._slate)
        if before is not None:
            environment.clear()
            environment.update(before)
        if launch.memory:
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        self._tidy()

    def _is_quiet(self) -> bool:
        """Returns whether nothing was written since the last attempt: nothing waits in a pipe, and none was read.

        The order matters: the supervisor counts before it reads.
        """
        for pipe in self._pipes:
            if fcntl.ioctl(pipe, termios.FIONREAD, _NOTHING) != _NOTHING:
                return False
        return slate.reads(self._slate) == self._read

    def _tell(self, message: ipc.Run, record: ipc.Spooled) -> bool:
        """Tells the controller of a success; False when that cannot be done."""
        started = Started(record.attempt, (self._pid,), (self._birth,), message.launch.nodes)
        data = ipc.encode((started, spool.finished_of(record)))
        if len(data) > ipc.PACKET:
            return False
        try:
            if message.direct != self._direct_name:
                self._direct.close()
                self._direct = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._direct.setblocking(False)
                processes.connect_in(self._place.home, message.direct, self._direct)
                self._direct_name = message.direct
            self._direct.send(data)
        except OSError:
            return False
        return True

    def _tidy(self) -> None:
        os.chdir(self._directory)
        if os.stat(self._directory).st_mtime_ns != self._clean:
            remove_inside(self._directory)
            self._clean = os.stat(self._directory).st_mtime_ns


def remove_inside(directory: str) -> None:
    """Empties a directory; what cannot be removed (a read-only folder) is made writable first."""
    with os.scandir(directory) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.path, 0o700)
            remove_inside(entry.path)
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)
