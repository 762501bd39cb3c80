"""What the supervisor keeps on disk for its successor, and what it removes once a result is committed.

In `home`: `spool/` (see `spool`), `attempts/` (working directories), `trash/` (those that are being removed), and
`running`: pid and birth of every process that was forked, one pair a line, appended. A new supervisor kills those of
them that still live under the same birth: only a dead supervisor's processes can.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal

from clearance.engine.base import Finished
from clearance.engine.local import processes, spool
from clearance.engine.local.results import Finish

_JOURNAL_LIMIT = 1 << 16


class Cleaner:
    """See the module.

    Args:
        home: `CLEARANCE_HOME`.
    """

    def __init__(self, home: str) -> None:
        self._home = home
        for name in ("spool", "attempts", "logs", "trash", "checkpoints", "bundles"):
            os.makedirs(os.path.join(home, name), 0o700, exist_ok=True)
        self._spool = os.path.join(home, "spool")
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._journal = os.open(os.path.join(home, "running"), flags, 0o600)
        self._journalled = 0
        self._acknowledged = os.open(os.path.join(self._spool, "acknowledged"), flags, 0o600)
        self._noted = 0
        self._retired: list[str] = []
        self._sweepers: list[int] = []
        self._discarded = 0

    def recover(self) -> list[Finish]:
        """Kills what a dead supervisor left running, and returns the results that it left in the spool."""
        with open(self._journal, closefd=False) as file:
            lines = file.read().splitlines()
        for line in lines:
            pid, _, birth = line.partition(" ")
            if pid.isdigit() and birth.isdigit() and processes.signal_group(int(pid), int(birth), signal.SIGKILL):
                _wait_for(int(pid))
        if lines:  # an orderly end empties the journal
            while marked := processes.marked(b"CLEARANCE_HOME=" + os.fsencode(self._home)):
                for orphan in marked:
                    _wait_for(orphan, kill=True)
        os.ftruncate(self._journal, 0)
        found, rest = spool.recover(self._spool)
        for name in rest:
            os.unlink(os.path.join(self._spool, name))
        names = set(os.listdir(self._spool))
        items = []
        for event, size, worker in found:
            items.append(Finish(event, size, worker, not worker, f"{event.attempt}.end" in names))
        self._retired = [name[:-4] for name in names if name.startswith("worker-") and name.endswith(".log")]
        kept = {item.event.attempt for item in items}
        for name in os.listdir(os.path.join(self._home, "attempts")):
            if name not in kept:
                self._discard(name)
        self._empty_trash()
        return items

    def journal(self, pid: int, birth: int) -> None:
        """Notes that a process exists."""
        if self._journalled > _JOURNAL_LIMIT:
            self._compact()
        with contextlib.suppress(OSError):  # a full disk: the mark in the environment is left to find it by
            self._journalled += os.write(self._journal, b"%d %d\n" % (pid, birth))

    def _compact(self) -> None:
        """Rewrites the journal with the processes that live."""
        with open(self._journal, closefd=False) as file:
            file.seek(0)
            lines = file.read().splitlines()
        alive = [line for line in lines if processes.birth_of(int(line.split()[0])) == int(line.split()[1])]
        data = "".join(line + "\n" for line in alive).encode()
        os.ftruncate(self._journal, 0)
        os.write(self._journal, data)
        self._journalled = 0

    def write_end(self, event: Finished) -> bool:
        """Keeps a verdict that the spool files do not tell."""
        try:
            spool.write(os.path.join(self._spool, f"{event.attempt}.end"), event)
        except OSError:
            return False
        return True

    def forget(self, item: Finish) -> None:
        """Removes what is kept of a result."""
        key = item.event.attempt
        if item.worker:
            with contextlib.suppress(OSError):  # a full disk: a later supervisor tells this result once more
                self._noted += os.write(self._acknowledged, key.encode() + b"\n")
        else:
            for rank in range(item.gang):
                _unlink(f"{self._spool}/{key}.{rank}")
            if item.directory:
                self._discard(key, item.gang)
        if item.written:
            _unlink(f"{self._spool}/{key}.end")

    def _discard(self, name: str, gang: int = 0) -> None:
        """Removes a working directory: at once when it is empty, else in a process of its own."""
        path = f"{self._home}/attempts/{name}"
        try:
            for rank in range(gang):
                os.rmdir(f"{path}/{rank}")
            os.rmdir(path)
            return
        except FileNotFoundError:
            if not os.path.isdir(path):
                return
        except OSError:
            pass
        self._discarded += 1
        with contextlib.suppress(OSError):
            os.rename(path, f"{self._home}/trash/{name[:200]}-{os.getpid()}-{self._discarded}")
            self._empty_trash()

    def _empty_trash(self) -> None:
        """Forks a process that removes what is in the trash; it is reaped when the next one is due."""
        self._sweepers = [pid for pid in self._sweepers if _runs(pid)]
        if self._sweepers or not os.listdir(f"{self._home}/trash"):
            return
        pid = os.fork()
        if pid:
            self._sweepers.append(pid)
            return
        try:
            os.closerange(3, 1 << 20)
            import shutil

            while names := os.listdir(f"{self._home}/trash"):
                for name in names:
                    shutil.rmtree(f"{self._home}/trash/{name}")
        finally:
            os._exit(0)

    def retire(self, worker: str) -> None:
        """A worker is gone: its log and directory go once all results are acknowledged."""
        self._retired.append(worker)

    @property
    def full(self) -> bool:
        """Whether the workers' logs are long enough to be emptied as soon as nothing runs."""
        return self._noted > _JOURNAL_LIMIT

    def settle(self, busy: bool) -> None:
        """Everything is acknowledged: removes logs of retired workers; when nothing runs, empties the lists."""
        for worker in self._retired:
            _unlink(f"{self._spool}/{worker}.log")
            self._discard(worker)
        self._retired.clear()
        if not busy and self._journalled > _JOURNAL_LIMIT // 2:
            self._compact()
        if not busy and self.full:
            for name in os.listdir(self._spool):
                if name.startswith("worker-") and name.endswith(".log"):
                    os.truncate(os.path.join(self._spool, name), 0)
            os.ftruncate(self._acknowledged, 0)
            self._noted = 0

    def close(self, everything: bool) -> None:
        """The supervisor ends; with `everything`, no result waits, and nothing need be kept."""
        os.ftruncate(self._journal, 0)
        if everything:
            for name in os.listdir(self._spool):
                _unlink(os.path.join(self._spool, name))
            for name in os.listdir(os.path.join(self._home, "attempts")):
                self._discard(name)
        self._empty_trash()


def _runs(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _wait_for(pid: int, kill: bool = False) -> None:
    """Waits until a process that is no child of ours is gone, at most ten seconds; with `kill`, kills it first."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if kill:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(10_000)
    except ProcessLookupError:
        return
    finally:
        os.close(fd)
