"""A DAG of 1,000 tasks: defined, checked, encoded, and stored as a run with all its rows, in milliseconds of CPU.

Defining and encoding is what `bench/graph/definition.py` measures alone; here the controller takes the graph in and
commits it to SQLite. Nothing can start (the pool has no slots), so no attempt is counted. Median of `ROUNDS`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.common import show  # noqa: E402

from clearance import dag, task  # noqa: E402
from clearance.graph.model import encode  # noqa: E402
from clearance.run.submission import Submission  # noqa: E402
from clearance.store.database import Database  # noqa: E402
from clearance.types.digest import digest_of  # noqa: E402
from support.instant import InstantEngine, lead, succeeded  # noqa: E402

ROUNDS = 15


@task(pool="none")
def first() -> int:
    """Starts the chain."""
    return 1


@task(pool="none")
def then(x: int, scale: float = 1.0) -> int:
    """Goes on."""
    return x


@dag
def calls(count: int = 1000) -> None:
    """A chain of calls, each named."""
    result = first()
    for index in range(count - 1):
        result = then.named(f"t{index}")(result)


def main() -> None:
    """Prints the figures."""
    times = []
    with (
        tempfile.TemporaryDirectory(prefix="clearance-bench-") as folder,
        Database(f"sqlite:///{folder}/clearance.db") as database,
    ):
        database.migrate()
        controller = lead(Path(folder), database, InstantEngine(succeeded))
        controller.set_pool("none", 0)
        controller.turn()
        bundle = digest_of(b"no code")
        for _ in range(ROUNDS):
            start = time.process_time()
            controller.submit(Submission(graph=encode(calls.graph()), bundle=bundle, module="define"))
            controller.turn()
            times.append((time.process_time() - start) * 1000)
        assert database.rows("instances_summary", 1, 1) == [
            (1, "awaiting_clearance", 1), (1, "scheduled", 999)
        ]  # fmt: skip
    figure = statistics.median(times)
    show("run.define.1000_tasks_cpu_ms", figure, "<= 50", figure <= 50)


if __name__ == "__main__":
    main()
