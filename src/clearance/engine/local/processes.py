"""What Linux knows of processes: births, children, groups, and the two `prctl` calls that tie a tree together.

A pid is reused; a pid with its birth (clock ticks since boot) names one process for ever. Nothing here kills a pid
whose birth was not compared, unless it is our own child, which keeps its pid until we reap it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import time

from clearance.errors import EngineError

_PDEATHSIG = 1
_SET_NAME = 15
_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def require_pidfd() -> None:
    """Checks that this system can watch processes.

    Raises:
        EngineError: it cannot.
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        raise EngineError(
            f"the local engine needs pidfd_open, which this system lacks ({error}): it runs on Linux 5.3 or newer, "
            "with a Python that was built there"
        ) from None


def die_with_parent() -> None:
    """Asks the kernel for SIGKILL when the process that forked this one ends."""
    _libc.prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def adopt_orphans() -> None:
    """Makes this process the new parent of every descendant that loses its own."""
    _libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_name(name: str) -> None:
    """Sets the name that `ps` and `top` show, at most 15 bytes."""
    _libc.prctl(_SET_NAME, name.encode()[:15], 0, 0, 0)


def limit_descriptors(soft: int = 0) -> int:
    """Sets the soft limit of open files, 0 meaning as many as are allowed; returns what it was."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != before:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft or 1 << 20, hard), hard))
    return before


def connect_in(directory: str, name: str, connection: socket.socket) -> None:
    """Connects to a socket in a directory through the directory's descriptor, since a path may have 107 bytes at most.

    Raises:
        OSError: nobody listens there.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)


def birth_of(pid: int) -> int:
    """Returns the start time in clock ticks since boot; 0 when there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return 0
    try:
        data = os.read(fd, 1024)
    except OSError:
        return 0
    finally:
        os.close(fd)
    return int(data[data.rindex(b")") + 2 :].split(None, 20)[19])


def signal_group(pid: int, birth: int, number: int) -> bool:
    """Sends a signal to the group that `pid` leads; False when that leader is gone."""
    if not pid or birth_of(pid) != birth:
        return False
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def signal_process(pid: int, birth: int, number: int) -> None:
    """Sends a signal to one process, if it is still the one that was born then."""
    if birth_of(pid) == birth:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def children() -> list[int]:
    """Returns the pids of this process's children, zombies included (of its main thread; we fork from no other)."""
    pid = os.getpid()
    try:
        fd = os.open(f"/proc/self/task/{pid}/children", os.O_RDONLY)
    except FileNotFoundError:  # a kernel built without CONFIG_PROC_CHILDREN
        return _children_by_scan(pid)
    try:
        data = b""
        while chunk := os.read(fd, 65536):
            data += chunk
    finally:
        os.close(fd)
    return [int(part) for part in data.split()]


def _children_by_scan(parent: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    data = file.read()
            except OSError:
                continue
            if int(data[data.rindex(b")") + 2 :].split(None, 3)[1]) == parent:
                found.append(int(name))
    return found


def has_children() -> bool:
    """Returns whether this process has any child, alive or zombie. One system call."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def end_children(spare: frozenset[int] = frozenset()) -> int:
    """Kills every child but `spare`, and what they leave behind, until none is left. Returns how many were killed.

    A child that runs as another user (a setuid program) cannot be killed and is let be.
    """
    count = 0
    while orphans := [pid for pid in children() if pid not in spare]:
        for pid in orphans:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue
            except PermissionError:
                spare |= {pid}
                continue
            count += 1
    return count


def marked(entry: bytes) -> list[int]:
    """Returns the pids of attempts' processes that were executed with this environment entry; not our own."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    entries = file.read().split(b"\0")
            except OSError:
                continue
            if entry in entries and any(one.startswith(b"CLEARANCE_ATTEMPT=") for one in entries):
                found.append(int(name))
    return found


def marker_of(pid: int, name: bytes) -> bytes | None:
    """Returns the value of an environment variable that `pid` was executed with; None when it has none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            data = file.read()
    except OSError:
        return None
    start = name + b"="
    for entry in data.split(b"\0"):
        if entry.startswith(start):
            return entry[len(start) :]
    return None


def threads() -> int:
    """Returns how many threads this process has."""
    return os.stat("/proc/self/task").st_nlink - 2


def describe_status(status: int) -> tuple[str, str]:
    """Returns the failure kind (`signal` or `exit`) and a sentence, of a status as `wait4` gives it."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = "; was it out of memory?" if number == signal.SIGKILL else ""
        return "signal", f"killed by {name}{hint}"
    return "exit", f"ended with exit code {os.WEXITSTATUS(status)} before the task returned"


def say(text: str) -> None:
    """Writes a line, with the time, to standard error: the log of the supervisor or of a zygote."""
    os.write(2, f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n".encode())
