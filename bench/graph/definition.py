"""Claim: a graph is cheap. CPU time of defining, checking and encoding it, and the wall time of `clearance --help`.

Prints `key: value` lines; each limit stands beside its figure, and `ratio` is figure ÷ limit (below 1 is within it).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from clearance import chain, dag, task
from clearance.graph.model import encode


@task
def first() -> int:
    return 1


@task
def then(x: int, scale: float = 1.0) -> int:
    return x


@dag
def calls(count: int = 1000) -> None:
    """A chain of calls, each named."""
    result = first()
    for index in range(count - 1):
        result = then.named(f"t{index}")(result)


def arrows(count: int) -> bytes:
    return encode(dag("arrows", chain(first, *[then.named(f"t{index}") for index in range(count - 1)])).graph())


def wide(side: int) -> bytes:
    left = [first.named(f"l{index}") for index in range(side)]
    right = [first.named(f"r{index}") for index in range(side)]
    return encode(dag("wide", chain(left, right)).graph())


def cpu_milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Returns the median CPU time in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append((time.process_time() - start) * 1000)
    return statistics.median(times)


def help_milliseconds(repeats: int) -> float:
    """Returns the median wall time of `clearance --help` in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "clearance.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def report(name: str, figure: float, limit: float) -> None:
    print(f"{name}: {figure:.1f}\n{name}_limit: {limit:.0f}\n{name}_ratio: {figure / limit:.3f}")


if __name__ == "__main__":
    report("calls_1000_cpu_ms", cpu_milliseconds(lambda: encode(calls.graph()), 9), 50)
    report("arrows_1000_cpu_ms", cpu_milliseconds(lambda: arrows(1000), 9), 50)
    report("chain_20000_cpu_ms", cpu_milliseconds(lambda: arrows(20_000), 3), 5000)
    report("edges_90000_cpu_ms", cpu_milliseconds(lambda: wide(300), 3), 5000)
    report("help_wall_ms", help_milliseconds(9), 150)
