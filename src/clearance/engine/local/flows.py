"""The controller's end of the lines to flows: a socket beside its direct one, and the connections of those that run."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Sequence

from clearance.engine.base import Answer, Begun, Called, History, Step, Stepped
from clearance.engine.local import ipc, line
from clearance.errors import EngineError

_Word = Begun | Stepped | Called


class Flows:
    """See the module.

    Args:
        home: `CLEARANCE_HOME`.
        name: of the direct socket.
    """

    def __init__(self, home: str, name: str) -> None:
        self._home = home
        self.name = name + ipc.FLOWS
        self._epoll = select.epoll()
        self._connections: dict[int, ipc.Packets] = {}
        self._lines: dict[str, ipc.Packets] = {}
        self._read: set[str] = set()
        self._blocked: set[int] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        directory = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        mask = os.umask(0o177)
        try:
            self._listener.bind(f"/proc/self/fd/{directory}/{self.name}")
        finally:
            os.umask(mask)
            os.close(directory)
        self._listener.listen(64)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when `observe` has something to do."""
        return self._epoll.fileno()

    def observe(self) -> list[_Word]:
        """Returns what flows have said; never blocks."""
        words: list[_Word] = []
        for fd, mask in self._epoll.poll(0):
            if fd == self._listener.fileno():
                self._accept()
                continue
            connection = self._connections[fd]
            if mask & select.EPOLLOUT:
                self._push(connection)
            if mask & ~select.EPOLLOUT:
                words += self._hear(fd, connection)
        return words

    def reply(self, attempt: str, answer: History | Answer) -> None:
        """Tells the flow of this attempt, if it is on the line."""
        connection = self._lines.get(attempt)
        if connection is not None and connection.connection.fileno() >= 0:
            connection.put(answer)
            self._push(connection)

    def steps(self, attempt: str) -> Sequence[Step]:
        """Returns what this attempt has put on disk."""
        self._read.add(attempt)
        return line.read(self._home, attempt)

    def acknowledge(self, attempts: Sequence[str]) -> None:
        """Removes the files of these flows."""
        for attempt in self._read.intersection(attempts):
            self._read.discard(attempt)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(line.path_of(self._home, attempt))

    def close(self) -> None:
        """Ends every line."""
        for connection in self._connections.values():
            connection.discard()
        self._listener.close()
        self._epoll.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._home, self.name))

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._connections[connection.fileno()] = ipc.Packets(connection, _Word)
                self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _hear(self, fd: int, connection: ipc.Packets) -> list[_Word]:
        words: list[_Word] = []
        try:
            while (packet := connection.take()) is not None:
                if not packet[0]:
                    return words
                for word in packet[0]:
                    if isinstance(word, Begun):
                        self._lines[word.attempt] = connection
                    words.append(word)
        except EngineError:
            pass  # what came is no message: the line ends
        self._drop(fd, connection)
        return words

    def _push(self, connection: ipc.Packets) -> None:
        fd = connection.connection.fileno()
        try:
            whole = connection.flush()
        except OSError:
            self._drop(fd, connection)
            return
        if whole == (fd in self._blocked):
            self._blocked ^= {fd}
            self._epoll.modify(fd, select.EPOLLIN if whole else select.EPOLLIN | select.EPOLLOUT)

    def _drop(self, fd: int, connection: ipc.Packets) -> None:
        if self._connections.pop(fd, None) is None:
            return
        self._epoll.unregister(fd)
        self._blocked.discard(fd)
        connection.discard()
        self._lines = {attempt: one for attempt, one in self._lines.items() if one is not connection}
