"""One listening socket goes from a replica to its successor, so that no connection is refused or reset meanwhile.

Rules:

1. A replica offers its listening socket at `listener.sock` in its directory to processes of the same user. Whoever
   takes it keeps the connection open for as long as it lives.
2. Both accept from then on. The kernel keeps one queue of connections for the socket, whoever has it open: when one of
   them closes it nothing in the queue is lost. A second socket of the same port (`SO_REUSEPORT`) would have a queue of
   its own, whose connections are reset when it is closed.
3. A replica that is told to end while its successor lives accepts nothing more, answers everything that comes on the
   connections that it has, each with `Connection: close`, and ends when the last of them is closed or its time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from pathlib import Path

_NAME = "listener.sock"
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_WAIT = 5.0


class Offer:
    """See the module: the side of who listens.

    Args:
        listener: what is offered.
        directory: of the endpoint, for its user alone.

    Attributes:
        taken: whether a successor has it and lives.
    """

    def __init__(self, listener: socket.socket, directory: Path) -> None:
        self._listener = listener
        self._directory = directory
        self._offered: socket.socket | None = None
        self._successors: set[socket.socket] = set()

    @property
    def taken(self) -> bool:
        return bool(self._successors)

    def open(self) -> None:
        """Offers it from now on, in place of whoever offered before. Of the running event loop."""
        self._offered = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._offered.setblocking(False)
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        mask = os.umask(0o177)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._directory / _NAME)
            # The path itself may be longer than that of a socket may be.
            self._offered.bind(f"/proc/self/fd/{folder}/{_NAME}")
        finally:
            os.umask(mask)
            os.close(folder)
        self._offered.listen(1)
        asyncio.get_running_loop().add_reader(self._offered, self._hand_over, self._offered)

    def close(self) -> None:
        """Offers it no more. What has been taken stays taken."""
        if self._offered is not None:
            asyncio.get_running_loop().remove_reader(self._offered)
            self._offered.close()
            self._offered = None

    def _hand_over(self, offered: socket.socket) -> None:
        try:
            connection, _ = offered.accept()
        except OSError:
            return  # whoever came has gone
        connection.setblocking(False)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        try:
            if _CREDENTIALS.unpack(credentials)[1] == os.getuid():
                socket.send_fds(connection, [b"l"], [self._listener.fileno()])
                self._successors.add(connection)
                asyncio.get_running_loop().add_reader(connection, self._gone, connection)
                return
        except OSError:
            pass  # likewise
        connection.close()

    def _gone(self, connection: socket.socket) -> None:
        """A successor has ended; it says nothing else."""
        asyncio.get_running_loop().remove_reader(connection)
        self._successors.discard(connection)
        connection.close()


def take(directory: Path, port: int) -> tuple[socket.socket, socket.socket] | None:
    """Takes the listening socket of the replica that runs, where there is one and it listens at this port.

    Args:
        directory: of the endpoint.
        port: that is wanted.

    Returns:
        The listening socket, and the connection to be kept open; None where nobody offers one.
    """
    offered = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    offered.settimeout(_WAIT)
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            offered.connect(f"/proc/self/fd/{folder}/{_NAME}")
        finally:
            os.close(folder)
        _, descriptors, _, _ = socket.recv_fds(offered, 1, 1)
    except OSError:
        offered.close()
        return None
    if descriptors:
        listener = socket.socket(fileno=descriptors[0])
        if listener.getsockname()[1] == port:
            listener.setblocking(False)
            return listener, offered
        listener.close()
    offered.close()
    return None
