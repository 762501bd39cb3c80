"""717,000 gang jobs on 7,500 nodes of 8 GPUs, simulated: events per CPU second.

The trace is drawn from the 7,169 jobs of `philly_gangs_dev.csv` with replacement, by a seed: a job's queue, gang and
runtime together, so many a second that nine tenths of all GPUs are asked for on average, more by day. Eight queues with
equal guarantees in fair order; a gang of n GPUs is n members of one. An event is a submission or an end; the scheduler
is told and decides at each. The second figure keeps room for the first that waits (EASY, exact runtimes).
"""

from __future__ import annotations

import itertools
import random
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.cluster.inputs import data
from bench.common import show
from msgspec.structs import replace

from clearance.cluster.config import load
from clearance.cluster.model import SchedulerConfig
from clearance.cluster.simulate import Arrival, Report, Trace, read_nodes, read_trace, simulate

JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 717_000
NODES = max(7_500 * JOBS // 717_000, 1)
GPUS = 8
LOAD = 0.9
SEED = 7
HOUR = 3600.0
DAY_HOURS, BY_DAY = 8, 2.0
PLAIN, EASY = 20_000, 5_000


def drawn(source: Trace, jobs: int, gpus: int) -> Iterator[Arrival]:
    """Yields jobs drawn from a trace.

    The cluster is busy from the beginning: in the first hour come as many jobs as would be found running at a moment of
    the steady state, each with a part of its runtime left. The others come at `LOAD` on average, most of them by day.
    """
    pool = list(source.arrivals)
    sizes = [arrival.job.task_groups[0].min_member for arrival in pool]
    rng = random.Random(SEED)
    rate = LOAD * gpus / (sum(each.runtime * size for each, size in zip(pool, sizes, strict=True)) / len(pool))
    number, at, found, lengths = 0, 0.0, 0, list(itertools.accumulate(each.runtime for each in pool))
    while found < LOAD * gpus and number < jobs:
        drawn = rng.choices(range(len(pool)), cum_weights=lengths)[0]
        at, found = at + HOUR / gpus, found + sizes[drawn]
        yield _arrival(pool[drawn], number, at, rng.random())
        number += 1
    while number < jobs:
        day = at % (24 * HOUR) < DAY_HOURS * HOUR
        at += rng.expovariate(rate * (BY_DAY if day else (24 - BY_DAY * DAY_HOURS) / (24 - DAY_HOURS)))
        yield _arrival(rng.choice(pool), number, at, 1.0)
        number += 1


def _arrival(source: Arrival, number: int, at: float, left: float) -> Arrival:
    return Arrival(at, source.runtime * left, replace(source.job, id=f"j{number}"))


def queues(source: Trace) -> SchedulerConfig:
    """Returns a queue for each that the trace names, all with the same guarantee."""
    names = sorted({arrival.job.queue.removeprefix("root.") for arrival in source.arrivals})
    each = NODES * GPUS // len(names)
    lines = [
        "partitions: [{name: default, nodesortpolicy: {type: binpacking}, queues: [",
        "{name: root, submitacl: '*', queues: [",
        *(f"  {{name: '{name}', resources: {{guaranteed: {{nvidia.com/gpu: {each}}}}}}}," for name in names),
        "]}]}]",
    ]
    return load("\n".join(lines))


def told(key: str, report: Report, bar: int) -> None:
    """Prints the figures of one simulation."""
    show(f"cluster.simulation.{key}.events", report.events)
    show(f"cluster.simulation.{key}.events_per_cpu_s", report.events_per_s, f">= {bar}", report.events_per_s >= bar)
    show(f"cluster.simulation.{key}.utilisation", report.utilisation["nvidia.com/gpu"])
    show(f"cluster.simulation.{key}.wait_mean_h", report.wait.mean / 3600)
    show(f"cluster.simulation.{key}.peak_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Prints the figures."""
    file = data("philly_gangs_dev")
    if file is None:
        return
    source = read_trace(file)
    nodes, config = read_nodes(f"{NODES}x{GPUS}gpu"), queues(source)
    show("cluster.simulation.jobs", JOBS)
    for key, backfill, bar in (("gangs", None, PLAIN), ("easy", "easy", EASY)):
        trace = Trace(drawn(source, JOBS, NODES * GPUS))
        told(key, simulate(trace, config, nodes, backfill=backfill, estimates="exact"), bar)


if __name__ == "__main__":
    main()
