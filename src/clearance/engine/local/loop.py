"""The event loop of the supervisor: descriptors, who handles them, and channels that are written once a round.

Rules:

1. One thread, one epoll, no polling: a round begins with a descriptor or at the time that was asked for.
2. Output before messages: in one round, what is watched as `output` is handled first. What a process wrote before it
   sent a message is readable before that message, so it is handled before it.
3. What the handlers of a round put into a channel leaves in one packet when all of them have been called.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import NoReturn

from clearance.engine.local.ipc import Packets

Handler = Callable[[int], object]


class Loop:
    """See the module. A handler gets the mask of what its descriptor is ready for."""

    __slots__ = ("_channels", "_epoll", "_handlers", "_outputs")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._outputs: dict[int, Handler] = {}
        self._channels: dict[int, Packets] = {}

    def watch(self, fd: int, handler: Handler) -> None:
        """Calls the handler whenever there is something to read, or the other side is gone."""
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def watch_output(self, fd: int, handler: Handler) -> None:
        """As `watch`, but handled before the messages of the same round."""
        self._outputs[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def want_write(self, fd: int, wanted: bool) -> None:
        """Says whether the handler is called too when the descriptor can be written."""
        self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """Watches a descriptor no more; nothing happens when it was not watched. To be called before it is closed."""
        if self._handlers.pop(fd, None) is not None or self._outputs.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def send(self, channel: Packets) -> None:
        """Sends what was put into this watched channel at the end of the round."""
        self._channels[id(channel)] = channel

    def run(self, due: Callable[[], float], after: Callable[[], None]) -> NoReturn:
        """Goes round for ever.

        Args:
            due: returns the monotonic time at which a round is wanted even though nothing happens; 0 for none.
            after: called at the end of every round.
        """
        poll, outputs, handlers = self._epoll.poll, self._outputs, self._handlers
        while True:
            when = due()
            ready = poll(max(0.0, when - time.monotonic()) + 0.0005 if when else -1)
            for fd, mask in ready:
                if (handler := outputs.get(fd)) is not None:
                    handler(mask)
            for fd, mask in ready:
                if (handler := handlers.get(fd)) is not None:
                    handler(mask)
            if self._channels:
                self._send()
            after()
            if self._channels:
                self._send()

    def _send(self) -> None:
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            fd = channel.connection.fileno()
            if fd < 0:
                continue
            try:
                if not channel.flush():
                    self.want_write(fd, True)
                    self._handlers[fd] = self._unblocked(channel, self._handlers[fd])
            except OSError:
                continue  # its end of file tells the rest

    def _unblocked(self, channel: Packets, after: Handler) -> Handler:
        """Returns a handler that sends on when the other side reads again, then puts the usual one back."""

        def handler(mask: int) -> None:
            fd = channel.connection.fileno()
            if mask & select.EPOLLOUT:
                self._handlers[fd] = after
                self.want_write(fd, False)
                self.send(channel)
            if mask & ~select.EPOLLOUT:
                after(mask)

        return handler
