"""What processes write: the pipes that the supervisor reads, and where what comes out of them goes.

- Standard output and error of an attempt go to its log (`frames`); those of an idle worker to the worker's own.
- The report of a service brings `Ready` messages, that of a definition one `Defined`.

A worker tells the controller of an end itself only when the attempt has written nothing (see `worker`): its pipes are
empty, and none of them was read. So it is counted before a pipe is read, in a memory file that it sees.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from clearance.engine.base import Ready
from clearance.engine.local.loop import Loop
from clearance.engine.local.processes import say
from clearance.engine.local.running import Running, WorkerHandle

if TYPE_CHECKING:
    from clearance.engine.local.frames import Log

REPORT, STDOUT, STDERR = 0, 1, 2
_ready = msgspec.msgpack.Decoder(list[Ready])


class Output:
    """The read end of a pipe; `fd` is -1 once it is closed, `held` may be the beginning of a secret."""

    __slots__ = ("fd", "held", "owner", "rank", "stream")

    def __init__(self, fd: int, owner: Running | WorkerHandle, rank: int, stream: int) -> None:
        self.fd = fd
        self.owner = owner
        self.rank = rank
        self.stream = stream
        self.held = b""


class Outputs:
    """See the module.

    Args:
        loop: watches the pipes.
        home: `CLEARANCE_HOME`.
        ready: is told what a service says.
        look: is called before what a worker wrote is taken, which may run something that nothing was said of.
    """

    def __init__(
        self, loop: Loop, home: str, ready: Callable[[Ready], None], look: Callable[[WorkerHandle], None]
    ) -> None:
        self._look = look
        self._loop = loop
        self._logs = os.path.join(home, "logs")
        self._told = ready

    def open(self, owner: Running | WorkerHandle, rank: int, stream: int, outputs: list[Output]) -> int:
        """Makes a pipe that is read from now on, adds it to `outputs`, and returns the end to write to."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        output = Output(ours, owner, rank, stream)
        outputs.append(output)
        self._loop.watch_output(ours, lambda mask: self._read(output, mask))
        return theirs

    def _read(self, output: Output, mask: int = 0) -> bool:
        """Takes one piece of what a process wrote, False when there is none; closes the pipe at its end."""
        owner = output.owner
        if isinstance(owner, WorkerHandle) and mask & select.EPOLLIN:
            owner.count_read()
        try:
            data = os.read(output.fd, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._close(output)
            return False
        if isinstance(owner, WorkerHandle) and owner.lent:
            self._look(owner)
        if owner.secrets and output.stream != REPORT:
            data, output.held = owner.secrets.split(output.held + data)
        if data:
            self._write(output, data)
        return True

    def _write(self, output: Output, data: bytes) -> None:
        owner = output.owner
        running = owner.current if isinstance(owner, WorkerHandle) else owner
        if running is None:
            assert isinstance(owner, WorkerHandle)
            _append(f"{self._logs}/{owner.name}.log", data)
        elif output.stream != REPORT:
            self._log(running).append(output.stream, output.rank, data)
        else:
            running.report += data
            if running.launch.kind == "service":
                self._reported(running)

    def _log(self, running: Running) -> Log:
        if running.log is None:
            from clearance.engine.local.frames import Log

            running.log = Log(f"{self._logs}/{running.launch.attempt}.frames")
        return running.log

    def note(self, running: Running, rank: int, text: str) -> None:
        """Writes a line of the engine's into the log of an attempt."""
        self._log(running).append(3, rank, text.encode() + b"\n")

    def _close(self, output: Output) -> None:
        if output.fd >= 0:
            self.release(output)
            self._loop.unwatch(output.fd)
            os.close(output.fd)
            output.fd = -1

    def release(self, output: Output) -> None:
        """Writes what was held back: of this attempt nothing more will come that makes a secret of it."""
        if output.held:
            held, output.held = output.held, b""
            self._write(output, held)

    def drain(self, outputs: list[Output]) -> None:
        """Reads what is left in the pipes of a process that is gone, and closes them."""
        for output in outputs:
            while output.fd >= 0 and self._read(output):
                pass
            self._close(output)
        outputs.clear()

    def _reported(self, running: Running) -> None:
        report = running.report
        while len(report) >= 4:
            length = int.from_bytes(report[:4], "big")
            if len(report) < 4 + length:
                return
            try:
                messages = _ready.decode(bytes(report[4 : 4 + length]))
            except msgspec.MsgspecError as error:
                say(f"{running.launch.attempt} reported what is no message: {error}")
                report.clear()
                return
            del report[: 4 + length]
            for message in messages:
                if message.attempt == running.launch.attempt:
                    self._told(message)


def _append(path: str, data: bytes) -> None:
    with contextlib.suppress(OSError), open(path, "ab", 0) as file:
        file.write(data)
