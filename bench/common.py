"""What every bench shares: `key: value` lines, a home of its own, and the cost of a whole process tree."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PIPELINES = ROOT / "bench/run/pipelines"
_SUBREAPER = 36


def show(key: str, value: object, bar: str = "", holds: bool | None = None) -> None:
    """Prints one figure; with a bar, also whether it is reached."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    verdict = "" if holds is None else (" reached" if holds else " NOT REACHED")
    print(f"{key}: {text}{f'  (bar {bar}{verdict})' if bar else ''}", flush=True)


@dataclass(frozen=True)
class Cost:
    """What a command cost with every process it started: seconds, and peak proportional set size in bytes."""

    wall: float
    cpu: float
    pss: int
    code: int


def command(*arguments: str, home: Path, watch: bool = False, quiet: bool = True) -> Cost:
    """Runs `clearance` with everything it starts, and adds up what that cost.

    Args:
        *arguments: of the command.
        home: CLEARANCE_HOME.
        watch: sample the proportional set size of the whole tree (disturbs the timing a little).
        quiet: throw its output away.
    """
    environment = dict(os.environ) | {"CLEARANCE_HOME": str(home)}
    return measured([sys.executable, "-m", "clearance.cli", *arguments], environment, watch, quiet)


def measured(line: Sequence[str], environment: dict[str, str], watch: bool = False, quiet: bool = True) -> Cost:
    """Runs any command and waits for it and its orphans."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    output = subprocess.DEVNULL if quiet else None
    process = subprocess.Popen(line, env=environment, stdout=output, stderr=output)
    peak = 0
    while watch and process.poll() is None:
        peak = max(peak, _pss())
        time.sleep(0.002)
    code = process.wait()
    wall = time.perf_counter() - start
    while True:
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)
            continue
        break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, peak, code)


def _pss() -> int:
    """Proportional set size of every descendant, in bytes."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text()
                parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    total, waiting = 0, list(parents.get(os.getpid(), ()))
    while waiting:
        pid = waiting.pop()
        waiting += parents.get(pid, ())
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def figures(text: str) -> dict[str, float]:
    """Reads `key: number` lines, whatever stands between them or behind the number."""
    found = {}
    for line in text.splitlines():
        key, colon, rest = line.partition(": ")
        with suppress(ValueError, IndexError):
            if colon and " " not in key:
                found[key] = float(rest.split()[0])
    return found


@contextmanager
def fresh_home() -> Iterator[Path]:
    """An empty home on the disk of the repository's user, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="clearance-bench-"))
    try:
        yield folder / "home"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def processes_with(variable: str, value: str) -> list[int]:
    """Returns the processes that were started with this environment variable, children of forks included."""
    mark = f"{variable}={value}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with suppress(OSError):
                if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
    return found


def kill_everything(variable: str, value: str) -> None:
    """Sends SIGKILL to every process that was started with this environment variable, until none is left."""
    while pids := processes_with(variable, value):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while True:
            with suppress(ChildProcessError):
                if os.waitpid(-1, os.WNOHANG) != (0, 0):
                    continue
            break


def steps(home: Path) -> list[tuple[str, int, float]]:
    """Returns for each run its id, its attempts, and seconds a step from the first start to the end of the run."""
    connection = sqlite3.connect(home / "clearance.db")
    found = connection.execute(
        "SELECT run.id, count(*), (run.finished_at - min(attempt.started_at)) / count(*) FROM run"
        " JOIN attempt ON attempt.run = run.number GROUP BY run.number ORDER BY run.number"
    ).fetchall()
    connection.close()
    return [(id, count, seconds) for id, count, seconds in found]


def median(measure: Callable[[], float], times: int) -> float:
    """Returns the median of several measurements."""
    return statistics.median(measure() for _ in range(times))
