"""What `clearance run` of a file of three tasks costs cold, and how soon `clearance --help` answers.

Cold: an empty home each time, so that making the database, the signing key, the supervisor and the zygote is included;
Clearance itself is byte-compiled, as an installation is, and its files are in the page cache.

- CPU: user and system seconds of the command and of every process it started, orphans included; median of `TIMES`.
- Peak PSS: the proportional set sizes of all of them, added up every 2 ms; the largest of `WATCHED` runs of their own,
  since looking costs CPU. What is shared with this bench (the interpreter's text) counts as its share.
- `--help`: wall seconds from before the process is started until it has ended; median of `TIMES`.
"""

from __future__ import annotations

import compileall
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import ROOT, Cost, command, fresh_home, show

TIMES = 7
WATCHED = 3
FILE = str(ROOT / "examples/hello.py")


def cold_run(watch: bool = False) -> Cost:
    """Runs the file in an empty home."""
    with fresh_home() as home:
        cost = command("run", FILE, home=home, watch=watch)
    if cost.code:
        raise SystemExit(f"clearance run {FILE} ended with exit code {cost.code}")
    return cost


def main() -> None:
    """Prints the figures."""
    compileall.compile_dir(ROOT / "src/clearance", quiet=1)
    cold_run()
    runs = [cold_run() for _ in range(TIMES)]
    cpu = statistics.median(run.cpu for run in runs)
    show("run.cold.cpu_s", cpu, "<= 0.30", cpu <= 0.30)
    show("run.cold.wall_s", statistics.median(run.wall for run in runs))
    peak = max(cold_run(watch=True).pss for _ in range(WATCHED)) / 1e6
    show("run.cold.peak_pss_mb", peak, "<= 60", peak <= 60)
    with fresh_home() as home:
        wall = statistics.median(command("--help", home=home).wall for _ in range(TIMES))
    show("run.help.wall_s", wall, "<= 0.15", wall <= 0.15)


if __name__ == "__main__":
    main()
