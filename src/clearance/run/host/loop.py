"""The shell around the controller: epoll over the engine, the home's socket, its clients, signals and health checks.

It decides nothing. Nothing in it sleeps or polls: it waits until a descriptor is ready or something is due.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from clearance.errors import StoreError
from clearance.run.controller import Controller
from clearance.run.host import messages
from clearance.run.host.desk import FrontDesk
from clearance.run.host.health import Prober
from clearance.run.host.messages import Refusal, Reply
from clearance.types.principal import Principal

BACKLOG_LIMIT = 64 * 1024 * 1024


class _Client:
    """One connection: bytes in, bytes out."""

    def __init__(self, connection: socket.socket, wake: Callable[[], None]) -> None:
        self.socket = connection
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.dead = False
        self._wake = wake

    def send(self, reply: Reply) -> None:
        self.outgoing += messages.pack(reply)
        if len(self.outgoing) > BACKLOG_LIMIT:
            self.dead = True
        self._wake()


class Loop:
    """Runs a controller until it is told to stop.

    Args:
        controller: recovered, holding the lease.
        address: path of the socket to listen on.
        principal: the user whose installation this is.
    """

    def __init__(self, controller: Controller, address: Path, principal: Principal) -> None:
        self.controller = controller
        self.desk = FrontDesk(controller, principal)
        self.address = address
        self.signals: list[int] = []
        self._epoll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._dirty = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._prober = Prober(self._wake_write)
        controller.deliveries.connect(self._wake_write)
        controller.cache.wake_with(self._wake_write)
        self._engine_fd = -1
        self._listener = self._listen()

    def run(self, done: Callable[[], bool]) -> None:
        """Turns until `done` says so; it is asked after every turn.

        Raises:
            LeaseLost: another controller leads.
        """
        controller = self.controller
        while True:
            timeout = controller.turn()
            self._prober.watch(controller.services.probes())
            self._flush()
            if done():
                return
            fd = controller.engine.fileno()
            if fd != self._engine_fd:
                self._watch_engine(fd)
            for ready, events in self._epoll.poll(min(timeout, 60.0)):
                if ready == self._wake_read:
                    self._woken()
                elif ready == self._listener.fileno():
                    self._accept()
                elif ready in self._clients:
                    self._serve(self._clients[ready], events)

    def handle_signals(self) -> None:
        """From now on SIGINT and SIGTERM wake the loop and are collected in `signals`."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: self.signals.append(received))

    def close(self, send: bool = True) -> None:
        """Closes every socket.

        Args:
            send: send what is still to be sent; False where the turn that it tells of was not committed.
        """
        if send:
            self._flush()
        self._prober.close()
        self.controller.deliveries.close()
        self.controller.cache.close()
        for client in list(self._clients.values()):
            if not send:
                self._drop(client)
                continue
            client.socket.setblocking(True)
            client.socket.settimeout(1.0)
            try:
                client.socket.sendall(client.outgoing)
            except OSError:
                self._drop(client)
                continue
            self._drop(client)
        self._listener.close()
        self.address.unlink(missing_ok=True)
        self._epoll.close()
        if signal.set_wakeup_fd(-1) != self._wake_write:
            signal.set_wakeup_fd(-1)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        self.address.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            listener.bind(str(self.address))
        except OSError as error:
            raise StoreError(f"{self.address}: {error}: choose a CLEARANCE_HOME with a shorter path") from None
        finally:
            os.umask(mask)
        listener.listen(64)
        self._epoll.register(listener.fileno(), select.EPOLLIN)
        return listener

    def _watch_engine(self, fd: int) -> None:
        self._engine_fd = fd
        try:
            self._epoll.register(fd, select.EPOLLIN)
        except FileExistsError:
            self._epoll.modify(fd, select.EPOLLIN)

    def _woken(self) -> None:
        os.read(self._wake_read, 4096)
        now = self.controller.clock()
        for name, well, message in self._prober.outcomes():
            self.controller.services.answered(name, well, message, now)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] not in (os.getuid(), 0):
            connection.close()
            return
        connection.setblocking(False)
        self._clients[connection.fileno()] = _Client(connection, self._mark)
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _mark(self) -> None:
        self._dirty = True

    def _serve(self, client: _Client, events: int) -> None:
        if events & select.EPOLLOUT:
            self._dirty = True
        if not events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            return
        try:
            data = client.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        client.incoming += data
        try:
            for frame in messages.unpack(client.incoming):
                self.desk.handle(messages.requests.decode(frame), client.send)
        except (ValueError, msgspec.MsgspecError) as error:
            client.send(Refusal(f"not understood: {error}: is another version of clearance running here?", 4))

    def _flush(self) -> None:
        if not self._dirty:
            return
        self._dirty = False
        for client in list(self._clients.values()):
            if client.outgoing and not client.dead:
                try:
                    sent = client.socket.send(client.outgoing)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    client.dead = True
                    sent = 0
                del client.outgoing[:sent]
                wanted = select.EPOLLIN | (select.EPOLLOUT if client.outgoing else 0)
                self._epoll.modify(client.socket.fileno(), wanted)
            if client.dead:
                self._drop(client)

    def _drop(self, client: _Client) -> None:
        fd = client.socket.fileno()
        if fd >= 0:
            self._epoll.unregister(fd)
            self._clients.pop(fd, None)
        self.desk.forget(client.send)
        client.socket.close()
