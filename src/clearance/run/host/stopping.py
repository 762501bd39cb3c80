"""Stopping an installation: every process that works for a home, whatever it does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from clearance.errors import EngineError

PATIENCE = 10.0


def stop_all(home: Path) -> None:
    """Ends every process of this user that works for a home: runs are not finished, services are not drained.

    Args:
        home: the absolute path, as `CLEARANCE_HOME` names it.

    Raises:
        EngineError: some do not end.
    """
    deadline = time.monotonic() + PATIENCE
    while found := processes_of(home):
        if time.monotonic() > deadline:
            raise EngineError(f"these processes of {home} do not end: {', '.join(map(str, sorted(found)))}")
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)  # the kernel takes a moment to reap them


def processes_of(home: Path) -> set[int]:
    """Returns the pids of the processes whose environment or command line names this home, our own and parents not."""
    named = os.fsencode(home)
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in _own():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if named in words or b"CLEARANCE_HOME=" + named in environment:
                found.add(int(entry.name))
    return found


def _own() -> set[int]:
    """This process and those above it, which may have the home in their environment too."""
    found, pid = set(), os.getpid()
    while pid > 1:
        found.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return found
