"""The supervisor: the one process that owns what runs, and outlives the controllers that come and go.

    controller ⇄ supervisor ⇄ zygote (one a bundle and preload set) → a process of an attempt
                            ⇄ worker (a warm process, forked from a zygote)

    in it:  Controllers ── commands → Attempts ── → Zygotes, Workers       each with the Loop below it
            Controllers ← ── events ── Attempts ← ── Zygotes, Workers, Outputs

Rules:

1. It outlives the controller. It ends when told to stop, or when for `IDLE` seconds no controller was connected
   and nothing ran. If it dies, its zygotes end everything; the next supervisor finds the results in the spool.
2. From the word to stop on it takes no controller and no launch. Its socket is gone: a controller that comes starts
   another supervisor, which waits for this one's end. A launch that was on its way is not begun, and its sender sees
   the connection end (`EngineLost`) without having heard of a start.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import sys
import time
from typing import NoReturn

from clearance.engine.base import Snapshot
from clearance.engine.local import ipc, processes
from clearance.engine.local.accounting import Accounting
from clearance.engine.local.attempts import Attempts
from clearance.engine.local.controllers import Controllers
from clearance.engine.local.loop import Loop
from clearance.errors import EngineError

IDLE = 60.0


class Supervisor:
    """See the module.

    Args:
        home: `CLEARANCE_HOME`; exists.
        first: an accepted connection to the controller that started us.
        umask: what attempts get.
        descriptors: soft limit of open files that attempts get.
    """

    def __init__(self, home: str, first: socket.socket, umask: int, descriptors: int) -> None:
        os.chdir(home)
        self._loop = Loop()
        self._controllers = Controllers(self._loop, home, self._obey, self._snapshot, self._leader_changed)
        self._accounting = Accounting(home)
        self._attempts = Attempts(self._loop, home, umask, descriptors, self._controllers, self._accounting)
        self._stopping = False
        self._rest_at = time.monotonic() + IDLE
        self._idle_since = 0.0
        self._controllers.admit(first)

    def run(self) -> NoReturn:
        """Serves until it is told to stop, or until it is idle for long."""
        self._loop.run(self._due, self._after)

    def _snapshot(self) -> Snapshot:
        return self._attempts.snapshot()

    def _leader_changed(self) -> None:
        if self._controllers.direct:
            self._attempts.lend_workers()
        else:
            self._attempts.recall_workers()

    def _obey(self, message: ipc.Command) -> None:
        attempts = self._attempts
        if isinstance(message, ipc.Sent):
            attempts.take_note(message)
        elif isinstance(message, ipc.LaunchAll):
            attempts.launch_all(message)
        elif isinstance(message, ipc.Acknowledge):
            attempts.acknowledge(message.attempts)
        elif isinstance(message, ipc.Cancel):
            attempts.cancel(message)
        elif isinstance(message, ipc.Define):
            attempts.define(message)
        elif isinstance(message, ipc.Prepare):
            attempts.prepare(message.bundle, message.preloads)
        elif isinstance(message, ipc.Configure):
            attempts.place_blobs(message.blobs)
            self._count(message.accounting)
        elif isinstance(message, ipc.Mask):
            attempts.mask(message)
        elif isinstance(message, ipc.Close) and message.stop:
            self._stopping = True
            self._controllers.retire()
            attempts.stop_all()

    def _count(self, wanted: str) -> None:
        """Counts network traffic from now on, where that is wanted and can be done; who counts already goes on."""
        reason = ""
        if wanted == "off" and not self._accounting.base:
            reason = "the setting network_accounting is off"
        elif not self._accounting.base:
            try:
                self._accounting.open()
            except (OSError, EngineError) as error:
                reason = str(error)
        self._controllers.uncounted = reason
        self._attempts.must_count = wanted == "required"

    def _due(self) -> float:
        """Returns when a round is wanted though nothing happens; 0 for never."""
        due = self._attempts.due
        if self._idle:
            self._idle_since = self._idle_since or time.monotonic()
            due = _first(due, self._idle_since + IDLE)
        else:
            self._idle_since = 0.0
            if self._attempts.warm:
                due = _first(due, self._rest_at)
        return _first(due, self._controllers.due)

    @property
    def _idle(self) -> bool:
        return not self._controllers and not self._attempts and not self._stopping

    def _after(self) -> None:
        if self._attempts.due:
            self._attempts.expire()
        now = time.monotonic()
        if self._rest_at <= now:
            self._rest_at = now + IDLE
            self._attempts.rest(now)
        self._controllers.flush()
        if self._stopping and not self._attempts:
            self._end()
        elif self._idle and self._idle_since and now >= self._idle_since + IDLE:
            self._controllers.retire()
            self._end()

    def _end(self) -> NoReturn:
        self._attempts.close()
        try:
            self._accounting.close()
        except (OSError, EngineError) as error:
            processes.say(f"network accounting is not taken away: {error}")
        self._controllers.close()
        os._exit(0)


def _first(one: float, other: float) -> float:
    """Returns the earlier of two times, of which 0 means none."""
    return min(one, other) if one and other else one or other


def main() -> NoReturn:
    """Entry point: `supervisor HOME`, with the first controller's connection as descriptor 3."""
    home = sys.argv[1]
    gc.set_threshold(50_000, 20, 100)  # imports, here and in the zygotes, make many objects that stay
    umask = os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    processes.set_name("clearance:super")
    processes.adopt_orphans()
    lock = os.open(os.path.join(home, "supervisor.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    first = socket.socket(fileno=3)
    first.set_inheritable(False)
    try:
        Supervisor(home, first, umask, processes.limit_descriptors()).run()
    except BaseException as error:
        import traceback

        processes.say("".join(traceback.format_exception(error)))
    finally:
        os._exit(70)


if __name__ == "__main__":
    main()
