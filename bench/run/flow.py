"""A step of a flow, durable, beside a step of DBOS in the same run.

Ours: bench/run/pipelines/flows.py through the real command: `LENGTH` calls of a task that adds two numbers, each on
disk before the next begins; from the flow's start to its end with every step committed, attested and its rows written,
by the steps; the fastest of three, measured before and after the peer. DBOS: its own step, as bench/run/peers/dbos.py
measures it, on SQLite and on PostgreSQL; the faster counts.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, command, fresh_home, show
from bench.run.peers import NotMeasured, dbos

LENGTH = 2000


def ours() -> float:
    """Returns seconds a step."""
    taken = []
    with fresh_home() as home:
        for _ in range(3):
            command("run", f"{PIPELINES / 'flows.py'}:many", "-p", f"n={LENGTH}", home=home)
        with sqlite3.connect(home / "clearance.db") as database:
            for number in (1, 2, 3):
                count = database.execute("SELECT count(*) FROM step WHERE run = ?", (number,)).fetchone()[0]
                begun, ended, outcome = database.execute(
                    "SELECT started_at, finished_at, outcome FROM attempt WHERE run = ? AND number = 0", (number,)
                ).fetchone()
                if count != LENGTH or outcome != "success":
                    raise SystemExit(f"{count} of {LENGTH} steps, {outcome}")
                taken.append((ended - begun) / LENGTH)
    return min(taken)


def main() -> None:
    """Prints the figures."""
    own = [ours()]
    try:
        peer = min(seconds for key, seconds in dbos().items() if key.endswith("step_s"))
    except NotMeasured as reason:
        show("run.flow.dbos", f"not measured: {reason}")
        peer = 0.0
    own.append(ours())
    step = sum(own) / len(own)
    show("run.flow.step_ms", step * 1000, "<= 0.5", step <= 0.0005)
    ratio = peer / step
    show("run.flow.dbos_step_ms", peer * 1000)
    show("run.flow.dbos_over_step", ratio if peer else "not measured", ">= 10", ratio >= 10)


if __name__ == "__main__":
    main()
