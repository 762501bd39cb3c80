"""kill -9 three times at random moments in a chain of 16: how much is lost, done again, or late.

Each task leaves a mark (its number and the monotonic clock) in a file when it begins, sleeps 10 ms, and returns the sum
so far. A kill comes a random delay within a step after a random number of new marks; every fourth time (but for
`controller`) within 0.3 s of the command's start instead, when there may be no run yet. Then the command is started
again: `clearance resume`, or the same `clearance run --run-id` where no run was committed.

- everything: each process of the home (found by its environment) gets SIGKILL. Then copies of the database and of the
  spool say which tasks were finished: their success was committed, or their result lay in the spool.
- worker: the same with isolation="worker", where results lie in a warm process's log.
- controller: only the command gets SIGKILL; the supervisor and its tasks go on.

lost: tasks that were finished and began again. redone: tasks that had begun and began again. recovery: from before the
next command is started to the next mark. In the end the command must have exit code 0, each of the 16 tasks must be a
success in the database, and the result of the last must be 136. Seeds 1 to N: `--seeds N`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, fresh_home, kill_everything, show

from clearance.engine.local import spool

FILE = f"{PIPELINES / 'marks.py'}:marks"
LENGTH = 16
KILLS = 3
STEP = 0.014
RUN = "chain"
PATIENCE = 20.0


@dataclass(frozen=True)
class Kill:
    """A kill: when everything was dead, when the next command was started, and what was finished by then."""

    at: float
    restarted: float
    finished: frozenset[int]


@dataclass
class Tally:
    """What the kills of all seeds did; a run is wrong when its end is not what it should be."""

    kills: int = 0
    early: int = 0
    lost: int = 0
    redone: int = 0
    most_redone: int = 0
    wrong: list[str] = field(default_factory=list)
    recovery: list[float] = field(default_factory=list)


Mark = tuple[int, float]


def read_marks(file: Path) -> list[Mark]:
    """Returns (task, when it began) in the order of the file."""
    text = file.read_text() if file.exists() else ""
    return [(int(number), float(at)) for number, at in (line.split() for line in text.splitlines())]


def count(marks: list[Mark], kills: list[Kill], tally: Tally) -> None:
    """Adds what the marks say about each kill; the marks between a kill and the next one are its."""
    for kill, end in zip(kills, [kill.at for kill in kills[1:]] + [float("inf")], strict=True):
        begun = {number for number, at in marks if at <= kill.at}
        after = [(number, at) for number, at in marks if kill.at < at <= end]
        again = [number for number, _ in after if number in begun]
        tally.kills += 1
        tally.early += not begun
        tally.lost += sum(number in kill.finished for number in again)
        tally.redone += len(again)
        tally.most_redone = max(tally.most_redone, len(again))
        tally.recovery += [at - kill.restarted for _, at in after if at > kill.restarted][:1]


@contextmanager
def copied(home: Path) -> Iterator[sqlite3.Connection | None]:
    """Opens a copy of a dead home's database, since looking would repair it; None when there is none yet."""
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        for name in ("clearance.db", "clearance.db-wal"):
            if (home / name).exists():
                shutil.copy(home / name, folder)
        connection = sqlite3.connect(Path(folder) / "clearance.db")
        try:
            made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'event'").fetchall()
            yield connection if made else None
        finally:
            connection.close()


def finished(home: Path) -> frozenset[int] | None:
    """Returns the tasks of which a success is committed or spooled; None where there is no run."""
    with copied(home) as database:
        if database is None or not (found := database.execute("SELECT key FROM run WHERE id = ?", (RUN,)).fetchall()):
            return None
        names = {number: int(task[1:]) for number, task in database.execute("SELECT number, task FROM instance")}
        done = database.execute("SELECT number FROM instance WHERE state = 'success'").fetchall()
    numbers = {number for (number,) in done}
    keys = [file.name for file in (home / "spool").glob("*.0")]  # RUN.INSTANCE.EPOCH.RANK: renamed here when whole
    keys += [record.attempt for log in (home / "spool").glob("worker-*.log") for record in spool.records(str(log))]
    numbers.update(int(key.split(".")[1]) for key in keys if key.startswith(f"{found[0][0]}."))
    return frozenset(names[number] for number in numbers)


def start(home: Path, marks: Path, warm: bool, known: bool) -> subprocess.Popen[bytes]:
    """Starts the command that begins the run or goes on with it."""
    first = ["run", FILE, "-p", f"file={marks}", "-p", f"worker={str(warm).lower()}", "--run-id", RUN]
    line = [sys.executable, "-m", "clearance.cli", *(["resume", RUN] if known else first)]
    environment = dict(os.environ) | {"CLEARANCE_HOME": str(home)}
    return subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def once(seed: int, kind: str, tally: Tally) -> None:
    """One run that is killed three times."""
    rng = random.Random(seed)
    everything, warm = kind != "controller", kind == "worker"
    with fresh_home() as home:
        file = home.parent / "marks"
        kills: list[Kill] = []
        process = start(home, file, warm, known=False)
        try:
            for _ in range(KILLS):
                begun = len(read_marks(file))
                if everything and rng.random() < 0.25:
                    time.sleep(rng.uniform(0, 0.3))
                else:
                    wanted = begun + rng.randint(1, 4)
                    end = time.monotonic() + PATIENCE
                    while len(read_marks(file)) < wanted and process.poll() is None and time.monotonic() < end:
                        time.sleep(0.0005)
                    time.sleep(rng.uniform(0, STEP))
                process.kill()
                if everything:
                    kill_everything("CLEARANCE_HOME", str(home))
                process.wait()
                at = time.monotonic()
                done = finished(home) if everything else frozenset()
                restarted = time.monotonic()
                process = start(home, file, warm, known=done is not None)
                kills.append(Kill(at, restarted, done or frozenset()))
            if problem := wrong(home, process.wait(PATIENCE)):
                tally.wrong.append(f"seed {seed}: {problem}")
        except subprocess.TimeoutExpired:
            tally.wrong.append(f"seed {seed}: the run did not end in {PATIENCE:g} s")
        finally:
            count(read_marks(file), kills, tally)
            process.kill()
            process.wait()
            kill_everything("CLEARANCE_HOME", str(home))


def wrong(home: Path, code: int) -> str:
    """Returns what is not as it should be at the end; empty when all is right."""
    if code:
        return f"exit code {code}"
    database = sqlite3.connect(home / "clearance.db")
    states = database.execute("SELECT state, count(*) FROM instance GROUP BY state").fetchall()
    database.close()
    if states != [("success", LENGTH)]:
        return f"states {states}"
    line = [sys.executable, "-m", "clearance.cli", "artifact", "get", RUN, f"t{LENGTH}"]
    environment = dict(os.environ) | {"CLEARANCE_HOME": str(home)}
    result = subprocess.run(line, env=environment, capture_output=True, text=True, check=False).stdout.strip()
    return "" if result == str(LENGTH * (LENGTH + 1) // 2) else f"result {result!r}"


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    for kind in ("everything", "worker", "controller"):
        tally = Tally()
        for seed in seeds:
            once(seed, kind, tally)
        show(f"run.kill.{kind}.seeds", f"{seeds[0]}..{seeds[-1]}")
        show(f"run.kill.{kind}.kills", f"{tally.kills}, of them {tally.early} before the first task began")
        show(f"run.kill.{kind}.wrong_results", len(tally.wrong), "0", not tally.wrong)
        for problem in tally.wrong:
            print(f"  {problem}")
        if kind != "controller":
            show(f"run.kill.{kind}.lost", tally.lost, "0", tally.lost == 0)
            show(f"run.kill.{kind}.redone", tally.redone)
            show(f"run.kill.{kind}.redone_most_per_kill", tally.most_redone, "<= 1", tally.most_redone <= 1)
            show(f"run.kill.{kind}.recovery_median_s", statistics.median(tally.recovery))
            slowest = max(tally.recovery)
            show(f"run.kill.{kind}.recovery_max_s", slowest, "<= 0.5", slowest <= 0.5)
        else:
            show(f"run.kill.{kind}.redone", tally.redone, "0", tally.redone == 0)


if __name__ == "__main__":
    main()
