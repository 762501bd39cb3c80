"""What a hit of the cache costs beside the same task run: 500 mapped no-op tasks, through the real command."""

from __future__ import annotations

import sqlite3
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, command, fresh_home, show

COUNT = 500
ROUNDS = 3


def seconds(home: Path) -> list[float]:
    """Returns how long each run of a home took, oldest first."""
    with sqlite3.connect(home / "clearance.db") as database:
        return [
            end - begin for begin, end in database.execute("SELECT created_at, finished_at FROM run ORDER BY number")
        ]


def main() -> None:
    """Prints the figures."""
    ran, hit = [], []
    for _ in range(ROUNDS):
        with fresh_home() as home:
            for _ in range(2):
                command("run", str(PIPELINES / "cached.py"), "-p", f"count={COUNT}", home=home)
            first, second = seconds(home)
            ran.append(first / COUNT * 1000)
            hit.append(second / COUNT * 1000)
            with sqlite3.connect(home / "clearance.db") as database:
                assert database.execute("SELECT count(*) FROM cache_lookup WHERE outcome = 'hit'").fetchone() == (
                    COUNT,
                )
    show("run.cache.run_ms", statistics.median(ran))
    show("run.cache.hit_ms", statistics.median(hit))
    show("run.cache.run_over_hit", statistics.median(ran) / statistics.median(hit))


if __name__ == "__main__":
    main()
