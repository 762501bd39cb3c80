"""100,000 mapped instances: transitions scheduled a second, memory over n, and end to end with no-op bodies, apart.

The first rows are of the control plane alone: the real controller, ledger and SQLite, and attempts that end at once
(`tests/support/instant.py`). A transition is an event row of an instance. `pss_mb` is of the whole process at the end;
the growth per instance is taken between the smallest and the largest n, each in a process of its own. The last rows
are a map of no-op bodies in warm workers through the real command.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.common import PIPELINES, command, figures, fresh_home, show, steps  # noqa: E402

SIZES = (10_000, 50_000, 100_000)
BODIES = 10_000


def one(count: int) -> None:
    """Prints seconds, transitions, peak memory and the longest turn of one run of this many instances."""
    from clearance.graph.model import Graph, Node, Value
    from clearance.store.database import Database
    from support.instant import InstantEngine, lead, submit, succeeded

    node = Node(id="m", function="m:m", mapped={"x": Value(list(range(count)))}, resources={"cpu": 1000})
    with tempfile.TemporaryDirectory(prefix="clearance-bench-") as folder:
        home = Path(folder)
        with Database(f"sqlite:///{home}/clearance.db") as database:
            database.migrate()
            controller = lead(home, database, InstantEngine(succeeded, 64))
            longest = 0.0
            start = time.perf_counter()
            run = submit(controller, Graph(dag="d", nodes=(node,)))
            turns, recovery = 0, 0.0
            while controller.runs:
                before = time.perf_counter()
                controller.turn()
                longest = max(longest, time.perf_counter() - before)
                turns += 1
            seconds = time.perf_counter() - start
            transitions = database.rows("event_highest", 1)[0][0]
            assert database.rows("run_get", run)[0][5] == "success"
            controller = lead(home, database, InstantEngine(succeeded, 64, keep=True))
            submit(controller, Graph(dag="d", nodes=(node,)))
            for _ in range(20):
                controller.engine.let(64)
                controller.turn()
            before = time.perf_counter()
            lead(home, database, InstantEngine(succeeded, 64))
            recovery = time.perf_counter() - before
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    pss = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    print(f"seconds: {seconds}\ntransitions: {transitions}\npss_mb: {pss}\nlongest: {longest}\nrecovery: {recovery}")


def main() -> None:
    """Prints the figures."""
    memory = {}
    for count in SIZES:
        line = [sys.executable, __file__, str(count)]
        found = figures(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
        memory[count] = found["pss_mb"]
        show(f"run.mapped.{count}.pss_mb", found["pss_mb"])
    rate = found["transitions"] / found["seconds"]
    show("run.mapped.transitions_per_s", rate, ">= 5000", rate >= 5000)
    show("run.mapped.instances_per_s", SIZES[-1] / found["seconds"])
    show("run.mapped.longest_turn_ms", found["longest"] * 1000)
    show("run.mapped.recovery_ms", found["recovery"] * 1000)
    growth = (memory[SIZES[-1]] - memory[SIZES[0]]) * 2**20 / (SIZES[-1] - SIZES[0])
    show("run.mapped.bytes_per_instance", growth)
    with fresh_home() as home:
        command("run", f"{PIPELINES / 'steps.py'}:wide", "-p", f"count={BODIES}", home=home)
        ((_, count, seconds),) = steps(home)
    show("run.mapped.bodies_per_s", 1 / seconds)
    assert count == BODIES


if __name__ == "__main__":
    one(int(sys.argv[1])) if len(sys.argv) > 1 else main()
