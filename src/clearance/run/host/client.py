"""A connection to the controller that leads: requests over the home's socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from clearance.errors import ClearanceError, StoreError
from clearance.run.host import messages
from clearance.run.host.messages import As, Refusal, Reply, Request


class Gone(ClearanceError):
    """The controller at the other end went away."""


class Refusing(ClearanceError):
    """The controller refused a request; the exit code is that of its error."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.exit_code = refusal.exit_code


class Client:
    """One connection.

    Args:
        address: path of the socket.
        timeout: seconds after which a silent controller counts as gone; None waits for ever.

    Raises:
        Gone: nobody listens there.
    """

    def __init__(self, address: str | Path, timeout: float | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(address))
        except OSError as error:
            self._socket.close()
            raise Gone(f"no controller answers at {address}: {error.strerror}") from None
        self._buffer = bytearray()
        self._frames: list[bytes] = []

    def send(self, request: Request | As) -> None:
        """Sends a request.

        Raises:
            Gone: the controller went away.
        """
        try:
            self._socket.sendall(messages.pack(request))
        except OSError as error:
            raise Gone(f"the controller went away: {error.strerror}") from None

    def replies(self) -> Iterator[Reply]:
        """Yields replies as they come.

        Raises:
            Gone: the controller went away.
        """
        while True:
            while self._frames:
                yield messages.replies.decode(self._frames.pop(0))
            try:
                data = self._socket.recv(1 << 20)
            except OSError as error:
                raise Gone(f"the controller went away: {error.strerror}") from None
            if not data:
                raise Gone("the controller went away")
            self._buffer += data
            self._frames = messages.unpack(self._buffer)

    def ask(self, request: Request | As) -> Reply:
        """Sends a request and returns the first reply.

        Raises:
            Refusing: the controller refused.
            Gone: it went away.
        """
        self.send(request)
        reply = next(self.replies())
        if isinstance(reply, Refusal):
            raise Refusing(reply)
        return reply

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def address(home: Path) -> Path:
    """Returns the socket of the controller that leads on this home.

    Raises:
        StoreError: the path is longer than a Unix socket allows (107 bytes).
    """
    path = home / "controller.sock"
    if len(str(path).encode()) > 107:
        raise StoreError(f"{path}: too long for a socket: choose a CLEARANCE_HOME with a shorter path")
    return path
