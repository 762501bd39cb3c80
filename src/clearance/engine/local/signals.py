"""Readings of this machine that tell how near the kernel's tables are to being full. Linux only; it decides nothing.

Rules:

1. The neighbour tables (ARP and NDISC) refuse entries from `gc_thresh3` on (arp(7), ndisc): the fill is the entries by
   that. Both families are read where they are there, and the fuller one counts.
2. A user may have `max_user_instances` inotify instances and `max_user_watches` watches (inotify(7)). What is used is
   counted in `/proc/PID/fdinfo`, by the owner of each process; what is left is that of the user who has the least.
3. What cannot be read, on another system or for want of rights, is left out of the readings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
_INOTIFY = "anon_inode:inotify"
_WATCH = "inotify wd:"


def readings(proc: Path = PROC) -> dict[str, float]:
    """Returns what can be read, by the name of the signal: `neighbour_fill` and `inotify_left`, parts from 0 to 1.

    Args:
        proc: where the kernel tells of itself.
    """
    found = {"neighbour_fill": neighbour_fill(proc), "inotify_left": inotify_left(proc)}
    return {name: value for name, value in found.items() if value is not None}


def neighbour_fill(proc: Path = PROC) -> float | None:
    """Returns which part of the neighbour table is in use; None where that cannot be read."""
    fills = []
    for family, entries in (("ipv4", _arp(proc)), ("ipv6", _cached(proc, "ndisc_cache"))):
        most = _number(proc / "sys/net" / family / "neigh/default/gc_thresh3")
        if most and entries is not None:
            fills.append(entries / most)
    return max(fills, default=None)


def _arp(proc: Path) -> int | None:
    """Returns the entries of the ARP table, those included that the kernel does not show to programs."""
    cached = _cached(proc, "arp_cache")
    text = _text(proc / "net/arp")
    shown = max(len(text.splitlines()) - 1, 0) if text is not None else None
    return max((each for each in (cached, shown) if each is not None), default=None)


def _cached(proc: Path, name: str) -> int | None:
    """Returns the entries that a neighbour cache counts, the same on the line of each processor."""
    lines = (_text(proc / "net/stat" / name) or "").splitlines()
    return int(lines[1].split()[0], 16) if len(lines) > 1 else None


def inotify_left(proc: Path = PROC) -> float | None:
    """Returns which part of its inotify instances or watches the user has left who has the least; None: unknown."""
    instances = _number(proc / "sys/fs/inotify/max_user_instances")
    watches = _number(proc / "sys/fs/inotify/max_user_watches")
    if not instances or not watches:
        return None
    used: dict[int, tuple[int, int]] = {}
    for owner, count in _inotify(proc):
        before, watched = used.get(owner, (0, 0))
        used[owner] = before + 1, watched + count
    return min((1 - max(many / instances, watched / watches) for many, watched in used.values()), default=1.0)


def _inotify(proc: Path) -> Iterator[tuple[int, int]]:
    """Yields the owner and the number of watches of each inotify instance that can be seen."""
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            owner = process.stat().st_uid
            descriptors = list((process / "fd").iterdir())
        except OSError:
            continue  # it has ended, or is somebody else's
        for descriptor in descriptors:
            if _link(descriptor) == _INOTIFY:
                info = _text(process / "fdinfo" / descriptor.name) or ""
                yield owner, sum(line.startswith(_WATCH) for line in info.splitlines())


def _link(descriptor: Path) -> str:
    """Returns what a descriptor stands for; empty where it is closed by now."""
    try:
        return os.readlink(descriptor)
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.strip().isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None
