"""The lease: one controller leads, fenced by an epoch that only ever grows.

A lease is free when it has expired, when it was released, or when its holder is a process of this machine that
no longer exists (pid and start time, so that a reused pid is not mistaken for the holder).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from clearance.store.database import LEASE, Database

SECONDS = 15.0


@dataclass(frozen=True)
class Held:
    """The lease as somebody else holds it: who, and the socket where they listen."""

    holder: str
    address: str


def birth(pid: int) -> int:
    """Returns the start time of a process in clock ticks since boot; 0 when it does not exist.

    Source: proc(5), `/proc/PID/stat` field 22.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def myself() -> str:
    """Names this process for ever: boot, pid, start time."""
    return f"{_boot()}:{os.getpid()}:{birth(os.getpid())}"


def is_dead(holder: str) -> bool:
    """True when the holder is known to be gone; a holder on another machine is never known to be."""
    if not holder:
        return True
    boot, pid, born = holder.split(":")
    return boot == _boot() and birth(int(pid)) != int(born)


def take(database: Database, address: str, now: float, beyond: int = 0) -> int | Held:
    """Takes the lease if it is free.

    Args:
        database: where it lies.
        address: path of the socket on which the new holder will listen.
        now: seconds since 1970.
        beyond: the new epoch is greater than this one too: that which the engine of the home has seen, under
            whatever database.

    Returns:
        The epoch when taken, else who holds it.
    """
    database.write("lease_create", LEASE)
    epoch, holder, other, expires = database.rows("lease_read", LEASE)[0]
    if expires > now and not is_dead(holder):
        return Held(holder, other)
    taken = max(int(epoch), beyond) + 1
    if holder:
        database.oust(LEASE)
    if database.write("lease_take", taken, myself(), address, now + SECONDS, LEASE, epoch) == 1:
        return taken
    _, holder, other, _ = database.rows("lease_read", LEASE)[0]
    return Held(holder, other)


def holder(database: Database, now: float) -> Held | None:
    """Returns who leads now, if anybody does."""
    rows = database.rows("lease_read", LEASE)
    if not rows or rows[0][3] <= now or is_dead(rows[0][1]):
        return None
    return Held(rows[0][1], rows[0][2])
