"""A chain of 40 tasks of 10 ms on one worker, durable, in the default isolation.

Hatchet publishes 1.22 s for such a chain, of tasks that its workers wait for. Ours: through the real command with
one worker; from the first start to the end of the run, the median of `ROUNDS`.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, command, fresh_home, show, steps

ROUNDS = 5
LENGTH = 40
MOST = 0.60


def main() -> None:
    """Prints the figure."""
    with fresh_home() as home:
        for _ in range(ROUNDS):
            command("run", f"{PIPELINES / 'steps.py'}:tens", "-p", f"length={LENGTH}", "--workers", "1", home=home)
        taken = statistics.median(seconds * LENGTH for _, _, seconds in steps(home))
    show("run.short.chain_of_40_s", taken, f"<= {MOST}", taken <= MOST)


if __name__ == "__main__":
    main()
