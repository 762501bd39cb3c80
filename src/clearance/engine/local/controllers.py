"""The controllers' side of the supervisor: connections, the one that leads, and what it is told.

Rules:

1. A connection may act once it has adopted; of all that have, the one with the highest epoch leads, and the latest of
   equals. To any other that speaks, and to the leader that is replaced, the answer is `Fenced`. The process of an
   attempt may come too, but only to have its secrets masked, or to hear who leads.
2. The leader gets events in the order in which they happened, one frame a round. Starts of warm workers are held back
   for at most `PATIENCE`: a short task is over by then, and start and end cost the controller one turn.
3. Without a leader events are dropped: the next one gets a snapshot.
4. After `retire` nobody new is let in and no word is obeyed. The leader's connection stays open until this process
   ends; all others end at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Callable

import msgspec

from clearance.engine.base import Event, Snapshot, Started
from clearance.engine.local import ipc, processes
from clearance.engine.local.loop import Loop
from clearance.engine.local.processes import say
from clearance.errors import EngineError

PATIENCE = 0.002


class Controller:
    """A connection; `blocked` when the other side does not read."""

    __slots__ = ("blocked", "stream")

    def __init__(self, connection: socket.socket) -> None:
        self.stream = ipc.Stream(connection, ipc.Command)
        self.blocked = False


class Controllers:
    """See the module.

    Args:
        loop: watches the connections.
        home: `CLEARANCE_HOME`, the working directory.
        obey: does what the leader says.
        snapshot: returns what a new leader is to know.
        changed: is called when nobody leads any more, and when somebody new does and is about to be told the snapshot.

    Attributes:
        direct: name in the home of the socket at which warm workers tell the leader; empty without a leader.
    """

    def __init__(
        self,
        loop: Loop,
        home: str,
        obey: Callable[[ipc.Command], None],
        snapshot: Callable[[], Snapshot],
        changed: Callable[[], None],
    ) -> None:
        self.direct = ""
        self.uncounted = ""
        self._loop = loop
        self._home = home
        self._obey = obey
        self._snapshot = snapshot
        self._changed = changed
        self._connected: dict[int, Controller] = {}
        self._followers: dict[Controller, None] = {}
        self._leader: Controller | None = None
        self._events: list[Event] = []
        self._until = 0.0
        self._retired = False
        self._epoch = self._read_epoch()
        self._listener = self._listen()
        loop.watch(self._listener.fileno(), self._accept)

    def __bool__(self) -> bool:
        """Returns whether anybody is connected."""
        return bool(self._connected)

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink("supervisor.sock")
        listener.bind("supervisor.sock")
        os.chmod("supervisor.sock", 0o600)
        listener.listen(64)
        return listener

    def _read_epoch(self) -> int:
        try:
            with open(os.path.join(self._home, "epoch")) as file:
                return int(file.read() or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def _accept(self, _: int) -> None:
        try:
            connection, _address = self._listener.accept()
        except BlockingIOError:
            return
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], sys.byteorder) != os.getuid():
            connection.close()
            return
        self.admit(connection)

    def admit(self, connection: socket.socket) -> None:
        """Takes a connection of this user's."""
        connection.setblocking(False)
        controller = Controller(connection)
        self._connected[connection.fileno()] = controller
        self._loop.watch(connection.fileno(), lambda mask: self._hear(controller, mask))

    def _drop(self, controller: Controller) -> None:
        fd = controller.stream.connection.fileno()
        if fd < 0:
            return
        self._loop.unwatch(fd)
        self._connected.pop(fd, None)
        self._followers.pop(controller, None)
        controller.stream.connection.close()
        if self._leader is controller:
            self._forget_leader()

    def _forget_leader(self) -> None:
        self._leader = None
        self.direct = ""
        self._changed()
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
            self._loop.want_write(controller.stream.connection.fileno(), not whole)

    def _hear(self, controller: Controller, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._push(controller)
            if not mask & ~select.EPOLLOUT or controller.stream.connection.fileno() < 0:
                return
        try:
            messages = controller.stream.take()
        except EngineError as error:
            say(str(error))
            messages = None
        if messages is None:
            self._drop(controller)
            return
        for message in messages:
            if self._retired:
                return
            if isinstance(message, ipc.Adopt):
                self._adopt(controller, message)
            elif controller is self._leader or isinstance(message, ipc.Configure):
                self._obey(message)
            elif isinstance(message, ipc.Follow):
                self._followers[controller] = None
                self._send(controller, [ipc.Leads(self.direct)])
            elif isinstance(message, ipc.Mask):
                self._obey(message)
                self._send(controller, [ipc.Masked()])
            else:
                self._send(controller, [ipc.Fenced(self._epoch)])

    def _adopt(self, controller: Controller, message: ipc.Adopt) -> None:
        epoch = message.epoch
        if epoch < self._epoch:
            self._send(controller, [ipc.Fenced(self._epoch)])
            return
        if epoch > self._epoch:
            self._epoch = epoch
            with contextlib.suppress(OSError), open(os.path.join(self._home, "epoch"), "w") as file:
                file.write(str(epoch))
        if self._leader is not None and self._leader is not controller:
            self._send(self._leader, [ipc.Fenced(epoch)])
            if self._leader is not None:
                self._drop(self._leader)
        self._forget_leader()
        self._leader = controller
        self.direct = message.direct
        snapshot = self._snapshot()
        self._changed()
        self._send(controller, [ipc.Adopted(snapshot, self.uncounted)])
        for follower in list(self._followers):
            self._send(follower, [ipc.Leads(self.direct)])

    def lend(self, lent: ipc.Lent, worker: int) -> bool:
        """Hands the leader a descriptor of a worker's socket; False when there is none, or it cannot be told now."""
        if not self.direct:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.setblocking(False)
            try:
                processes.connect_in(self._home, self.direct, connection)
                socket.send_fds(connection, [ipc.encode(lent)], [worker])
            except OSError:
                return False
        return True

    def tell(self, event: Event) -> None:
        """Tells the leader at the end of this round."""
        self._until = 0.0
        self._events.append(event)

    def tell_patiently(self, started: Started) -> None:
        """Tells the leader of the start of a warm worker soon."""
        if not self._events:
            self._until = time.monotonic() + PATIENCE
        self._events.append(started)

    def withdraw(self, attempt: str) -> None:
        """Does not tell what was to be told of this attempt."""
        if self._events:
            self._events = [event for event in self._events if getattr(event, "attempt", "") != attempt]

    @property
    def due(self) -> float:
        """The monotonic time until which events are held back; 0 when there are none."""
        return self._until or time.monotonic() if self._events else 0.0

    def flush(self) -> None:
        """Sends what is to be told now."""
        if not self._events or (self._until and time.monotonic() < self._until):
            return
        events, self._events = self._events, []
        if self._leader is not None:
            self._send(self._leader, list(events))

    def retire(self) -> None:
        """Lets nobody in any more, and obeys no more."""
        self._retired = True
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._home, "supervisor.sock"))
        for controller in list(self._connected.values()):
            if controller is not self._leader:
                self._drop(controller)

    def close(self) -> None:
        """Ends every connection."""
        for controller in self._connected.values():
            controller.stream.connection.close()
