"""The line from a flow's process to the controller: steps on disk first, then told; calls and their answers.

    flow's process ── Begun, Stepped, Called ──▶ controller      a SEQPACKET socket beside the controller's direct one
                   ◀── History, Answer ─────────
    flow's process ◀── Leads ── supervisor                       whenever another controller leads

Rules:

1. A step is in `spool/ATTEMPT.flow` before anybody is told; what could not be told is found there.
2. A controller that is gone is seen by the end of its connection. The flow goes on; when it needs an answer, it waits
   until somebody leads, begins again with that one, and repeats what was not answered.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Sequence

import msgspec

from clearance.engine.base import Answer, Begun, Called, History, Step, Stepped
from clearance.engine.local import ipc, processes
from clearance.errors import EngineError
from clearance.types.artifact import Argument

_PATIENCE = 2000  # milliseconds for which a controller that does not read is waited for, before its log must tell it
_LENGTH = 4
_step = msgspec.msgpack.Decoder(Step)


def path_of(home: str, attempt: str) -> str:
    """Returns the file of a flow's steps."""
    return f"{home}/spool/{attempt}.flow"


def read(home: str, attempt: str) -> list[Step]:
    """Returns the steps that an attempt put on disk; a torn last one is left out."""
    try:
        with open(path_of(home, attempt), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return []
    steps = []
    position = 0
    while position + _LENGTH <= len(data):
        length = int.from_bytes(data[position : position + _LENGTH], "big")
        position += _LENGTH
        if position + length > len(data):
            break
        steps.append(_step.decode(data[position : position + length]))
        position += length
    return steps


class Line:
    """See the module.

    Args:
        home: `CLEARANCE_HOME`.
        attempt: key of the flow's attempt.
    """

    def __init__(self, home: str, attempt: str) -> None:
        self._home = home
        self._attempt = attempt
        self._log = os.open(path_of(home, attempt), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._supervisor: ipc.Stream | None = None
        self._controller: ipc.Packets | None = None
        self._told: str | None = None  # name of the socket of the controller that was begun with
        self._waiting: dict[int, Called] = {}
        self._answers: dict[int, Step] = {}

    def begin(self) -> list[Step]:
        """Returns what is committed of this flow; waits until a controller leads."""
        while True:
            self._connect()
            steps: list[Step] = []
            while (message := self._take()) is not None:
                if isinstance(message, History):
                    steps += message.steps
                    if not message.more:
                        return steps

    def record(self, step: Step) -> None:
        """Keeps a step that has ended in this process."""
        body = ipc.encode(step)
        data = len(body).to_bytes(_LENGTH, "big") + body
        while data:
            data = data[os.write(self._log, data) :]
        self._send(Stepped(self._attempt, (step,)))

    def call(self, step: Step, arguments: dict[str, Argument]) -> None:
        """Asks that a step be run as an instance of its own."""
        called = self._waiting[step.position] = Called(self._attempt, step, arguments)
        self._send(called)

    def answer(self, position: int) -> Step:
        """Waits until a step that was called has ended, and returns it."""
        while position not in self._answers:
            if self._controller is None:
                self._connect()
            message = self._take()
            if isinstance(message, Answer):
                self._waiting.pop(message.step.position, None)
                self._answers[message.step.position] = message.step
        return self._answers.pop(position)

    def answered(self, position: int) -> bool:
        """Returns whether `answer` would not wait."""
        while position not in self._answers and self._controller is not None and self._is_readable():
            message = self._take()
            if isinstance(message, Answer):
                self._waiting.pop(message.step.position, None)
                self._answers[message.step.position] = message.step
        return position in self._answers

    def close(self) -> None:
        """Ends the line."""
        os.close(self._log)
        if self._controller is not None:
            self._controller.connection.close()
        if self._supervisor is not None:
            self._supervisor.connection.close()

    def _is_readable(self) -> bool:
        assert self._controller is not None
        return bool(select.select([self._controller.connection], [], [], 0)[0])

    def _send(self, message: Stepped | Called) -> None:
        if self._controller is None:
            return  # the next controller reads the log, and is asked again for what was called
        poll = select.poll()
        poll.register(self._controller.connection, select.POLLOUT)
        if not poll.poll(_PATIENCE):
            if isinstance(message, Called):
                self._hang_up()
            return
        try:
            self._controller.put(message)
            self._controller.flush()
        except OSError:
            self._hang_up()

    def _take(self) -> History | Answer | None:
        """Returns what the controller says next; None when it is gone."""
        while self._controller is not None:
            packet = self._controller.take()
            if packet is None:
                self._hang_up()
            elif packet[0]:
                (message,) = packet[0]
                assert isinstance(message, (History, Answer))
                return message
        return None

    def _hang_up(self) -> None:
        if self._controller is not None:
            self._controller.connection.close()
            self._controller = None

    def _connect(self) -> None:
        """Connects to the controller that leads, waiting for one, and begins with it."""
        while self._controller is None:
            name = self._leader()
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                processes.connect_in(self._home, name, connection)
            except OSError:
                connection.close()
                continue
            self._told = name
            self._controller = ipc.Packets(connection, History | Answer)
            self._controller.put(Begun(self._attempt))
            with contextlib.suppress(OSError):
                self._controller.flush()
            for called in list(self._waiting.values()):
                self._send(called)

    def _leader(self) -> str:
        """Waits until another controller leads than the one that is gone, and returns the name of its socket."""
        while True:
            if self._supervisor is None:
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    processes.connect_in(self._home, "supervisor.sock", connection)
                except OSError as error:
                    connection.close()
                    raise EngineError(f"the flow cannot go on: its supervisor is gone ({error})") from None
                self._supervisor = ipc.Stream(connection, ipc.Reply)
                self._supervisor.put([ipc.Follow()])
                self._supervisor.flush()
            messages: Sequence[object] | None = self._supervisor.take(flags=0)
            if messages is None:
                raise EngineError("the flow cannot go on: its supervisor is gone")
            names = [message.direct for message in messages if isinstance(message, ipc.Leads)]
            if names and names[-1] and names[-1] + ipc.FLOWS != self._told:
                return names[-1] + ipc.FLOWS
