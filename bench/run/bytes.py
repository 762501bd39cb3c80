"""A file of 32 MB and of 1 GB from task to task, through the real command, against what must be paid at the least.

handed_over: seconds from the producer's last line to the consumer's first, both read from the monotonic clock inside
the tasks: digest, fdatasync, the spooled result, the commit and its signature, clearance, a fresh process, and the
verified copy in the consumer's folder. The making of the file is outside.

floor: measured between the runs, on the same filesystem: the same number of new bytes is written (not counted, as the
producer's writing is not), then sha256 of the file, fdatasync, and sha256 of it once more (the verification).
floor_with_write counts the writing too, and is shown for comparison: a store that copies has to pay it.

peak_memory: of each attempt, as the database has it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, command, fresh_home, show

FILE = f"{PIPELINES / 'files.py'}:files"
SIZES = {32: 5, 1024: 3}  # MiB: rounds
BLOCK = 1 << 20


def _hash(path: Path) -> None:
    buffer = bytearray(BLOCK)
    view = memoryview(buffer)
    sha256 = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(buffer):
            sha256.update(view[:read])


def floor(folder: Path, mebibytes: int) -> tuple[float, float]:
    """Returns seconds of sha256, fdatasync and sha256 of a file just written; and of its writing."""
    path = folder / "floor"
    block = bytearray(os.urandom(BLOCK))
    begin = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for number in range(mebibytes):
            block[:8] = number.to_bytes(8, "big")
            file.write(block)
        written = time.perf_counter()
        _hash(path)
        os.fdatasync(file.fileno())
    _hash(path)
    end = time.perf_counter()
    path.unlink()
    return end - written, written - begin


def handed_over(folder: Path, mebibytes: int, seed: int) -> tuple[float, list[int]]:
    """Returns seconds from the producer's last line to the consumer's first, and the peaks of both in bytes."""
    home, notes = folder / "home", folder / f"notes-{seed}"
    line = ["run", FILE, "-p", f"mebibytes={mebibytes}", "-p", f"notes={notes}", "-p", f"seed={seed}"]
    if (cost := command(*line, home=home)).code:
        raise SystemExit(f"clearance {' '.join(line)} ended with exit code {cost.code}")
    times = dict(line.split() for line in notes.read_text().splitlines())
    database = sqlite3.connect(home / "clearance.db")
    peaks = database.execute("SELECT peak_memory FROM attempt ORDER BY run DESC, number LIMIT 2").fetchall()
    database.close()
    return float(times["taken"]) - float(times["made"]), [peak for (peak,) in peaks]


def main() -> None:
    """Prints the figures."""
    peaks: dict[int, int] = {}
    for mebibytes, rounds in SIZES.items():
        spans, floors, writes = [], [], []
        for seed in range(rounds):
            with fresh_home() as home:
                floored, writing = floor(home.parent, mebibytes)
                span, both = handed_over(home.parent, mebibytes, seed)
            spans.append(span)
            floors.append(floored)
            writes.append(writing)
            peaks[mebibytes] = max(peaks.get(mebibytes, 0), *both)
        name = f"run.bytes.{mebibytes}_mib"
        show(f"{name}.handed_over_s", statistics.median(spans))
        show(f"{name}.floor_s", statistics.median(floors))
        show(f"{name}.floor_with_write_s", statistics.median(map(sum, zip(floors, writes, strict=True))))
        ratio = statistics.median(span / least for span, least in zip(spans, floors, strict=True))
        show(f"{name}.over_floor", ratio, "<= 2", ratio <= 2)
        show(f"{name}.peak_memory_mb", peaks[mebibytes] / 1e6)
    small, large = (peaks[size] for size in SIZES)
    show("run.bytes.peak_memory_1024_over_32_mib", large / small, "<= 1.2", large <= 1.2 * small)


if __name__ == "__main__":
    main()
