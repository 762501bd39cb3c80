"""Ten recorded workflows with 4 and 16 workers: how much longer a run takes than list scheduling says.

Each file of `flow/wf` holds the makespan that list scheduling gives for its tasks; the seconds of the tasks are scaled
so that it becomes `TARGET`. Bodies sleep, in the default isolation, through the real command; the makespan is the time
from the first start to the last end, as committed. The input comes from the folder CLEARANCE_BENCH_DATA.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, command, fresh_home, show

TARGET = 20.0
MOST = 1.03


def makespan(home: Path, tasks: int) -> float:
    """Returns seconds from the first start to the last end of the newest run, whose tasks must all have succeeded."""
    with sqlite3.connect(home / "clearance.db") as database:
        count, first, last = database.execute(
            "SELECT count(*), min(started_at), max(finished_at) FROM attempt WHERE outcome = 'success'"
            " AND run = (SELECT max(number) FROM run)"
        ).fetchone()
    if count != tasks:
        raise SystemExit(f"{count} of {tasks} tasks succeeded")
    return float(last - first)


def main() -> None:
    """Prints the figures."""
    data = os.environ.get("CLEARANCE_BENCH_DATA", "")
    files = sorted(Path(data, "flow/wf").glob("*.json")) if data else []
    if not files:
        show("run.workflows", "not run: DATA missing")
        return
    chosen = sys.argv[1:]
    worst = 0.0
    for file in files:
        name = file.stem.split("-")[0]
        if chosen and name not in chosen:
            continue
        facts = json.loads(file.read_text())
        for workers in (4, 16):
            scale = TARGET / facts[f"P{workers}"]["list_makespan_s"]
            with fresh_home() as home:
                target = f"{PIPELINES / 'workflow.py'}:workflow"
                given = ["-p", f"file={file.absolute()}", "-p", f"scale={scale!r}"]
                command("run", target, *given, "--workers", str(workers), home=home)
                ratio = makespan(home, facts["n"]) / TARGET
            worst = max(worst, ratio)
            show(f"run.workflows.{name}.{workers}.over_list_scheduling", ratio)
    show("run.workflows.worst_over_list_scheduling", worst, f"<= {MOST}", worst <= MOST)


if __name__ == "__main__":
    main()
