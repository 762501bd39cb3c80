"""The control plane's own log: JSON lines in the home, `control.jsonl`, for its owner alone.

Rules:

1. Only what was committed is written, by whoever leads; tasks write to logs of their own.
2. A file of `LARGEST` bytes becomes `control.jsonl.1`, and so on up to `KEPT`; the oldest is dropped.
3. Secrets that this process knows are masked. A full disk never stops the controller.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from clearance.run.telemetry.lifecycle import names
from clearance.store.outbox import Event
from clearance.types import masking

NAME = "control.jsonl"
LARGEST = 8 << 20
KEPT = 4
_LEVELS = {"failed": "error", "up_for_retry": "warning", "cancelled": "warning", "fenced": "warning",
           "delivery": "error", "deadline_missed": "warning", "preempted": "warning"}  # fmt: skip
_TOLD = frozenset({"failed", "up_for_retry", "preempted"})  # of a task; its other states stand in the database


class Journal:
    """Appends lines.

    Args:
        home: of the installation.
        epoch: of the lease.
        clock: seconds since 1970.
    """

    def __init__(self, home: Path, epoch: int, clock: Callable[[], float] = time.time) -> None:
        self._path = home / NAME
        self._about = {"epoch": epoch, "pid": os.getpid()}
        self._clock = clock

    def write(self, level: str, event: str, **fields: Any) -> None:
        """Writes one line: `at`, `level`, `event`, who wrote it, and these fields."""
        self._append([self._line(self._clock(), level, event, fields)])

    def take(self, events: list[Event]) -> None:
        """Writes what was committed: of runs everything, of tasks what went wrong."""
        made = [
            self._line(
                event.at, _LEVELS.get(event.kind, "info"),
                names(event.instance, event.kind, event.payload)[0],
                {"run": event.run, "seq": event.seq, **event.payload},
            )
            for event in events
            if event.instance < 0 or event.kind in _TOLD or event.kind == "deadline_missed"
        ]  # fmt: skip
        if made:
            self._append(made)

    def _line(self, at: float, level: str, event: str, fields: dict[str, Any]) -> bytes:
        told = {"at": at, "level": level, "event": event, **self._about, **fields}
        return masking.masker.data(msgspec.json.encode(told, enc_hook=str)) + b"\n"

    def _append(self, made: list[bytes]) -> None:
        data = b"".join(made)
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if os.write(descriptor, data) != len(data):  # the disk is full: no torn line is left
                    os.ftruncate(descriptor, size)
            finally:
                os.close(descriptor)
            if size + len(data) > LARGEST:
                for number in range(KEPT, 0, -1):
                    older = self._path.with_name(f"{NAME}.{number}")
                    newer = self._path if number == 1 else self._path.with_name(f"{NAME}.{number - 1}")
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(newer, older)


def files(home: Path) -> list[Path]:
    """Returns the files there may be, newest first."""
    return [home / NAME, *(home / f"{NAME}.{number}" for number in range(1, KEPT + 1))]
