"""The zygotes: one for each bundle and preload set, forked from the supervisor or from the bundle's base zygote."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import NoReturn

from clearance.engine.local import ipc, processes
from clearance.engine.local.accounting import Accounting
from clearance.engine.local.loop import Loop
from clearance.engine.local.running import ZygoteHandle
from clearance.errors import EngineError

IDLE = 600.0


class Zygotes:
    """See the module.

    Args:
        loop: watches their channels.
        home: `CLEARANCE_HOME`.
        umask: what attempts get.
        descriptors: soft limit of open files that attempts get.
        accounting: counts network traffic.
        heard: is called with what one says.
        lost: is called when one is gone with all its processes, with a sentence on why.

    Attributes:
        blobs: place of the blobs, for zygotes that are made from now on.
        must_count: whether an attempt fails whose network traffic cannot be counted, likewise.
    """

    def __init__(
        self,
        loop: Loop,
        home: str,
        umask: int,
        descriptors: int,
        accounting: Accounting,
        heard: Callable[[ZygoteHandle, ipc.Forked | ipc.Exited], None],
        lost: Callable[[ZygoteHandle, str], None],
    ) -> None:
        self.blobs = os.path.join(home, "blobs")
        self._loop = loop
        self._home = home
        self._umask = umask
        self._descriptors = descriptors
        self._accounting = accounting
        self.must_count = False
        self._heard = heard
        self._lost = lost
        self._known: dict[tuple[str, tuple[str, ...]], ZygoteHandle] = {}

    def __bool__(self) -> bool:
        """Returns whether there are any."""
        return bool(self._known)

    def __iter__(self) -> Iterator[ZygoteHandle]:
        """Yields them; they may go meanwhile."""
        return iter(list(self._known.values()))

    def can_make(self, bundle: str, preload: tuple[str, ...]) -> bool:
        """Returns whether there is one, or its bundle is unpacked."""
        if (bundle, preload) in self._known or not bundle:
            return True
        return os.path.isdir(os.path.join(self._home, "bundles", bundle.removeprefix("sha256:")))

    def get(self, bundle: str, preload: tuple[str, ...]) -> ZygoteHandle:
        """Returns the one for these, which is made where there is none.

        Raises:
            OSError: no process or descriptor is left for it.
        """
        key = (bundle, preload)
        if (zygote := self._known.get(key)) is not None:
            return zygote
        ours, theirs = ipc.pair()
        channel = ipc.Packets(ours, ipc.Forked | ipc.Exited)
        if preload:
            base = self.get(bundle, ())
            base.channel.put(ipc.Branch(preload), [theirs.detach()])
            self._loop.send(base.channel)
            pid = 0
        else:
            pid = os.fork()
            if pid == 0:
                self._become(theirs, bundle)
            theirs.close()
        zygote = self._known[key] = ZygoteHandle(channel, bundle, preload, pid)
        self._loop.watch(ours.fileno(), lambda _: self._hear(zygote))
        return zygote

    def _become(self, connection: socket.socket, bundle: str) -> NoReturn:
        try:
            keep = connection.fileno()
            os.closerange(3, keep)
            os.closerange(keep + 1, 1 << 20)
            from clearance.engine.local import attempt, zygote

            place = attempt.Place(
                self._home, self.blobs, bundle, (), self._umask, self._descriptors,
                self._accounting.base, self.must_count,
            )  # fmt: skip
            zygote.begin(connection, place)
        except BaseException as error:
            processes.say(f"a zygote cannot start: {type(error).__name__}: {error}")
        finally:
            os._exit(70)

    def _hear(self, zygote: ZygoteHandle) -> None:
        try:
            packet = zygote.channel.take()
        except EngineError as error:
            processes.say(str(error))
            packet = None
        if packet is None:
            self._end(zygote)
            return
        for message in packet[0]:
            if isinstance(message, ipc.Forked) and not message.key:
                zygote.pid, zygote.birth = message.pid, message.birth
            else:
                self._heard(zygote, message)

    def _end(self, zygote: ZygoteHandle) -> None:
        """Ends what ran in it: leaders die with their zygote, and their orphans have become our children."""
        self._loop.unwatch(zygote.channel.connection.fileno())
        del self._known[zygote.bundle, zygote.preload]
        status = -1
        if zygote.pid and processes.birth_of(zygote.pid) == zygote.birth:
            os.kill(zygote.pid, signal.SIGKILL)
            if not zygote.preload:
                _, status = os.waitpid(zygote.pid, 0)
        zygote.channel.discard()
        for pid, birth in zygote.names():
            processes.signal_group(pid, birth, signal.SIGKILL)
        processes.end_children(frozenset(other.pid for other in self._known.values()))
        how = processes.describe_status(status)[1].partition(" before")[0] if status >= 0 else "ended"
        name = (zygote.bundle.removeprefix("sha256:") or "none")[:12]
        self._lost(zygote, f"the process that imports the pipeline {how}: see {self._home}/logs/zygote-{name}.log")

    def kill(self, zygote: ZygoteHandle) -> None:
        """Kills one that does not fork: an import hangs in it. Its end of file tells the rest."""
        target = zygote if zygote.pid else self._known.get((zygote.bundle, ()), zygote)
        if target.pid and processes.birth_of(target.pid) == target.birth:
            os.kill(target.pid, signal.SIGKILL)

    def rest(self, now: float) -> None:
        """Lets those go that have been idle for `IDLE` seconds."""
        for zygote in self:
            branches = not zygote.preload and any(key[0] == zygote.bundle and key[1] for key in self._known)
            if zygote.members or zygote.pending or branches:
                zygote.used = 0.0
            elif not zygote.used:
                zygote.used = now
            elif now - zygote.used >= IDLE and zygote.pid:
                self._end(zygote)

    def close(self) -> None:
        """Closes every channel: zygotes and workers end at the end of file."""
        for zygote in self._known.values():
            zygote.channel.connection.close()
            for member in zygote.members.values():
                if not isinstance(member, tuple):
                    member.channel.connection.close()
