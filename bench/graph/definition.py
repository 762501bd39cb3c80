"""Claim: a graph is cheap. CPU time of defining, checking and encoding it, and the wall time of `clearance --help`.

Prints `key: value` lines, each with its bar.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import show

from clearance import chain, dag, task
from clearance.graph.dag import Dag
from clearance.graph.loading import load
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


def cached(folder: Path, count: int = 1000) -> Dag:
    """Returns a DAG of so many functions, each with a cache and code of its own, that share a helper."""
    lines = ["from clearance import dag, task", "SCALE = 3", "def scaled(x: int) -> int:", "    return x * SCALE"]
    for index in range(count):
        lines += ["@task(cache=True)", f"def t{index}(x: int = 1) -> int:", f"    return scaled(x) + {index}"]
    lines += ["@dag", "def cached():", "    last = t0()", *(f"    last = t{index}(last)" for index in range(1, count))]
    file = folder / "cached_pipeline.py"
    file.write_text("\n".join(lines))
    return load(file)


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


def main() -> None:
    """Prints the figures."""
    called = cpu_milliseconds(lambda: encode(calls.graph()), 9)
    show("graph.calls_1000_cpu_ms", called, "<= 50", called <= 50)
    joined = cpu_milliseconds(lambda: arrows(1000), 9)
    show("graph.arrows_1000_cpu_ms", joined, "<= 50", joined <= 50)
    with tempfile.TemporaryDirectory() as folder:
        made = cached(Path(folder))
        fresh = cpu_milliseconds(lambda: encode(made.graph()), 1)
        show("graph.cached_1000_first_cpu_ms", fresh, "", None)
        again = cpu_milliseconds(lambda: encode(made.graph()), 9)
        show("graph.cached_1000_cpu_ms", again, "<= 50", again <= 50)
    long = cpu_milliseconds(lambda: arrows(20_000), 3)
    show("graph.chain_20000_cpu_ms", long, "<= 5000", long <= 5000)
    dense = cpu_milliseconds(lambda: wide(300), 3)
    show("graph.edges_90000_cpu_ms", dense, "<= 5000", dense <= 5000)
    helped = help_milliseconds(9)
    show("graph.help_wall_ms", helped, "<= 150", helped <= 150)


if __name__ == "__main__":
    main()
