"""Errors of NVIDIA GPUs, read from the kernel's log. It reads alone, and decides nothing.

Rules:

1. A line is `NVRM: Xid (PCI:0000:3b:00): 79, …`: the PCI address of the device, without its function, and the number of
   the error (NVIDIA, "Xid Errors"). Older drivers leave `PCI:` away.
2. A record of `/dev/kmsg` is `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`, one a read, the microseconds since the
   machine began (Linux, Documentation/ABI/testing/dev-kmsg). What was written over before it was read is left out.
3. Where the log is a plain file, it holds such records a line, and what is appended is read.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?:\.[0-9a-fA-F])?\): ([0-9]{1,6})\b"
)
_MOST = 8192  # bytes of a record, by the same document


class GpuError(msgspec.Struct, frozen=True):
    """One error.

    Attributes:
        device: its PCI address, `0000:3b:00`, in small letters.
        number: of the error.
        at: seconds since 1970.
        age: microseconds since the machine began, which tell two errors apart; 0 where the log does not say it.
    """

    device: str
    number: int
    at: float
    age: int = 0


def parse(record: str, booted: float) -> GpuError | None:
    """Returns the error that a record tells of; None where it tells of none.

    Args:
        record: as rule 2 says.
        booted: when the machine began, seconds since 1970.
    """
    found = _XID.search(record)
    if found is None:
        return None
    fields = record.partition(";")[0].split(",")
    known = len(fields) > 2 and fields[2].isascii() and fields[2].isdigit()
    age = int(fields[2]) if known else 0
    return GpuError(found[1].lower(), int(found[2]), booted + age / 1e6 if known else time.time(), age)


class KernelLog:
    """The log, from its oldest record that is still there.

    Args:
        path: of `/dev/kmsg`, or of a file like it.

    Raises:
        OSError: it is not there, or may not be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.plain = stat.S_ISREG(os.fstat(self._file).st_mode)
        self._rest = b""
        self._booted = time.time() - time.monotonic()  # the log counts no sleep either

    def fileno(self) -> int:
        """A descriptor that is readable when `errors` has something; a plain file cannot be waited for."""
        return self._file

    def errors(self) -> list[GpuError]:
        """Returns the errors that were written since the last call; never blocks."""
        return [found for record in self._records() if (found := parse(record, self._booted)) is not None]

    def close(self) -> None:
        """Leaves the log."""
        os.close(self._file)

    def _records(self) -> Iterator[str]:
        while True:
            try:
                data = os.read(self._file, _MOST)
            except BrokenPipeError:
                continue  # overwritten before it was read: the next read goes on with the oldest there is
            except BlockingIOError:
                return
            if not data:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
