"""A chain of 50 no-op tasks, and a fan-out of 200 with a join: durable, logs captured, through the real command.

A step is the time from the first start to the end of the run, divided by the tasks. The floors are measured between
the runs, each in a process of its own; medians of `ROUNDS`. CPU of a task: what a chain of 250 costs more than one of
50, of the whole tree, by the 200 tasks; so that the start of the command is not counted.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, command, fresh_home, show, steps

ROUNDS = 5
FILE = str(PIPELINES / "steps.py")


def floor(kind: str) -> float:
    """Returns seconds a step of the floor, measured in a fresh process."""
    line = [sys.executable, str(Path(__file__).with_name("floor.py")), kind]
    return float(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Prints the figures."""
    floors: dict[str, list[float]] = {"process": [], "worker": []}
    taken: dict[str, list[float]] = {"chain": [], "worker": [], "fan": []}
    cpu = []
    with fresh_home() as home:
        for _ in range(ROUNDS):
            for kind, times in floors.items():
                times.append(floor(kind))
            short = command("run", f"{FILE}:chain", home=home)
            command("run", f"{FILE}:chain", "-p", "worker=true", home=home)
            command("run", f"{FILE}:fan", home=home)
            long = command("run", f"{FILE}:chain", "-p", "length=250", home=home)
            cpu.append((long.cpu - short.cpu) / 200)
            chain, worker, fan, _ = (seconds for _, _, seconds in steps(home)[-4:])
            taken["chain"].append(chain)
            taken["worker"].append(worker)
            taken["fan"].append(fan)
    step = {kind: statistics.median(times) * 1000 for kind, times in taken.items()}
    base = {kind: statistics.median(times) * 1000 for kind, times in floors.items()}
    show("run.chain.process.floor_ms", base["process"])
    show("run.chain.process.step_ms", step["chain"])
    ratio = step["chain"] / base["process"]
    show("run.chain.process.step_over_floor", ratio, "<= 3", ratio <= 3)
    each = statistics.median(cpu) * 1000
    show("run.chain.process.cpu_ms_per_task", each, "<= 5", each <= 5)
    show("run.chain.worker.floor_ms", base["worker"])
    show("run.chain.worker.step_ms", step["worker"])
    ratio = step["worker"] / base["worker"]
    show("run.chain.worker.step_over_floor", ratio, "<= 3", ratio <= 3)
    show("run.fan.ms_per_task", step["fan"], "<= 3", step["fan"] <= 3)


if __name__ == "__main__":
    main()
