"""Watches how well this machine is: what the kernel's tables and its log tell, as signals of the nodes on it.

Rules:

1. The tables are read every `health_interval` seconds, the log as soon as something is written to it; a log that is a
   plain file is read with the tables.
2. The virtual nodes of one machine share its tables: a reading is one of each of them. An error of a GPU is one of the
   node that has the GPU (`engine.local.nodes`, rule 2); where it cannot be told whose it is, of each.
3. An error is told once in the life of a home: whoever leads next does not take out again a node that was repaired.
4. What cannot be read is said once, with the reason.
5. The files lie below `health_root`: in a container that is where the machine's own are mounted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clearance.engine.base import Node, Signal, Unwatched
from clearance.engine.local.addresses import ip_pool_left
from clearance.engine.local.kernellog import GpuError, KernelLog
from clearance.engine.local.signals import readings
from clearance.settings import Settings

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_READ = {
    "neighbour_fill": "the system does not tell the size of its neighbour tables",
    "inotify_left": "the system does not tell its inotify limits",
    "ip_pool_left": "no network here has its addresses of CNI's host-local",
}
_GPUS = "driver/nvidia/gpus"


class Watch:
    """See the module.

    Args:
        settings: where the files are, and how often they are read.
        nodes: returns the nodes that are there.
        first_devices: of each node the number of its device 0.

    Attributes:
        due: when the tables are read next, seconds since 1970.
        written: whether something was written to the log since it was read; set by who waits for it.
    """

    def __init__(self, settings: Settings, nodes: Callable[[], Sequence[Node]], first_devices: dict[str, int]) -> None:
        self._root = Path(settings.health_root)
        self._interval = settings.health_interval
        self._seen = settings.home / "gpu-errors"
        self._nodes = nodes
        self._first_devices = first_devices
        self.due = time.time()
        self.written = False
        self._unwatched: list[Unwatched] = []
        self._first = True
        self._log: KernelLog | None = None
        try:
            self._log = KernelLog(self._root / "dev/kmsg")
        except OSError as error:
            reason = f"{self._root / 'dev/kmsg'} cannot be read: {error.strerror}"
            self._unwatched.append(Unwatched("gpu_error", reason))

    def fileno(self) -> int:
        """A descriptor that is readable when something was written to the log; -1 where there is none."""
        return self._log.fileno() if self._log is not None and not self._log.plain else -1

    def observe(self) -> list[Signal | Unwatched]:
        """Returns what was seen since the last call."""
        now = time.time()
        found: list[Signal | Unwatched] = []
        if self.due <= now:
            self.due = now + self._interval
            values = readings(self._root / "proc")
            left = ip_pool_left(self._root)
            if left is not None:
                values["ip_pool_left"] = left
            if self._first:
                self._first = False
                missing = {kind: reason for kind, reason in _READ.items() if kind not in values}
                found += [*self._unwatched, *(Unwatched(kind, reason) for kind, reason in missing.items())]
            found += [Signal(node.name, kind, value, now) for node in self._nodes() for kind, value in values.items()]
        elif not self.written:
            return found
        self.written = False
        if self._log is not None:
            for error in self._unseen(self._log.errors()):
                found += [Signal(name, "gpu_error", error.number, error.at) for name in self._owners(error.device)]
        return found

    def close(self) -> None:
        """Watches no more."""
        if self._log is not None:
            self._log.close()

    def _unseen(self, errors: list[GpuError]) -> list[GpuError]:
        """Returns those that were not told yet, and writes down that they are told now."""
        if not errors:
            return []
        boot = _BOOT.read_text().strip()
        try:
            before, _, newest = self._seen.read_text().partition(" ")
            last = int(newest) if before == boot else 0
        except (OSError, ValueError):
            last = 0
        found = [error for error in errors if not error.age or error.age > last]
        newest_age = max(error.age for error in errors)
        if newest_age > last:
            self._seen.write_text(f"{boot} {newest_age}")
        return found

    def _owners(self, device: str) -> list[str]:
        """Returns the names of the nodes that a GPU belongs to, by its PCI address."""
        nodes = self._nodes()
        try:
            known = sorted(each.name.lower() for each in (self._root / "proc" / _GPUS).iterdir())
        except OSError:
            known = []
        for number, address in enumerate(known):
            if address.rpartition(".")[0] == device:
                owners = [
                    node.name
                    for node in nodes
                    if 0 <= number - self._first_devices.get(node.name, 0) < node.capacity.get("gpu", 0) // 1000
                ]
                return owners or [node.name for node in nodes]
        return [node.name for node in nodes]
