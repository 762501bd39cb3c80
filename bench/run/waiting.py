"""A thousand tasks that wait: they hold no process, cost nothing while they wait, and go on at once when woken.

The tasks of `pipelines/waits.py` wait for a person's decision, with two slots. When all wait: the attempts that are not
over, and the CPU that every process of the home uses in `QUIET` seconds. Then `WOKEN` of them are approved one after
another through the controller's socket; a wake is the time from the decision to the start of the attempt, both as
committed. At last everything is killed, and the time is measured from the start of `clearance resume` until it answers.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, fresh_home, kill_everything, processes_with, show

from clearance.run.host.client import Client, Gone, address
from clearance.run.host.messages import Decide, Status

WIDTH = 1000
QUIET = 5.0
WOKEN = 50
PATIENCE = 60.0


def ask(home: Path, sql: str) -> int:
    """Returns the one number that a query of the home's database gives; 0 before there is a database."""
    if not (home / "clearance.db").exists():
        return 0
    connection = sqlite3.connect(f"file:{home / 'clearance.db'}?mode=ro", uri=True)
    try:
        return int(connection.execute(sql).fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def ticks(home: Path) -> int:
    """Returns the clock ticks of CPU that the processes of the home have used."""
    total = 0
    for pid in processes_with("CLEARANCE_HOME", str(home)):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


def start(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Starts the command in the background."""
    environment = os.environ | {"CLEARANCE_HOME": str(home)}
    line = [sys.executable, "-m", "clearance.cli", *arguments]
    return subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until(home: Path, sql: str, wanted: int) -> None:
    """Waits until a query gives the wanted number."""
    deadline = time.monotonic() + PATIENCE
    while ask(home, sql) != wanted:
        if time.monotonic() > deadline:
            raise SystemExit(f"{sql} never gives {wanted}")
        time.sleep(0.02)


def main() -> None:
    """Prints the figures."""
    waiting = "SELECT count(*) FROM deferral WHERE waiting = 1"
    with fresh_home() as home:
        start(home, "run", f"{PIPELINES / 'waits.py'}:waits", "-p", f"width={WIDTH}", "--workers", "2")
        until(home, waiting, WIDTH)
        held = ask(home, "SELECT count(*) FROM attempt WHERE outcome = ''")
        show("run.waiting.attempts_held", held, "0", held == 0)
        before = ticks(home)
        time.sleep(QUIET)
        share = (ticks(home) - before) / os.sysconf("SC_CLK_TCK") / QUIET
        show("run.waiting.cpu_share", share, "<= 0.01", share <= 0.01)
        with Client(address(home)) as client:
            for number in range(WOKEN):
                client.ask(Decide("waits/1", f"held[{number}]", "approved"))
                until(home, "SELECT count(*) FROM instance WHERE position >= 0 AND state = 'success'", number + 1)
        connection = sqlite3.connect(home / "clearance.db")
        taken = connection.execute(
            "SELECT attempt.started_at - approval.decided_at FROM attempt JOIN approval USING (run, number)"
            " WHERE attempt.epoch = approval.epoch + 1"
        ).fetchall()
        connection.close()
        wake = statistics.median(seconds for (seconds,) in taken) * 1000
        show("run.waiting.wake_ms", wake, "<= 20", wake <= 20 and len(taken) == WOKEN)
        kill_everything("CLEARANCE_HOME", str(home))
        began = time.monotonic()
        start(home, "resume", "waits/1")
        while True:
            try:
                with Client(address(home)) as client:
                    client.ask(Status())
                break
            except Gone:
                time.sleep(0.005)
        recovery = time.monotonic() - began
        show("run.waiting.recovery_s", recovery, "<= 1", recovery <= 1 and ask(home, waiting) == WIDTH - WOKEN)
        kill_everything("CLEARANCE_HOME", str(home))


if __name__ == "__main__":
    main()
