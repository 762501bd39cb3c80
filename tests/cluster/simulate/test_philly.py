"""The developers' Philly trace: the simulator beside forty lines that know no scheduler."""

import csv
import heapq
import itertools
import os
from pathlib import Path

import pytest

from clearance.cluster.config import default
from clearance.cluster.simulate import read_nodes, read_trace, simulate

DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[4] / "shared/data")) / "cluster"
FILE = DATA / "philly_gangs_dev.csv"
NODES, GPUS = 40, 8

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="needs cluster/philly_gangs_dev.csv in CLEARANCE_BENCH_DATA")


def place(free, gpus):
    """Best fit on one node; beyond one node's GPUs, whole nodes."""
    if gpus > GPUS:
        empty = [node for node, left in enumerate(free) if left == GPUS][: gpus // GPUS]
        return [(node, GPUS) for node in empty] if len(empty) == gpus // GPUS else None
    fitting = [node for node, left in enumerate(free) if left >= gpus]
    return [(min(fitting, key=lambda node: free[node]), gpus)] if fitting else None


def mean_wait(jobs, place, free, overtake):
    """Hours that jobs wait on average, first come first served or, with `overtake`, whoever fits."""
    running, waiting, total, tie, jobs = [], [], 0.0, itertools.count(), list(reversed(jobs))
    count = len(jobs)
    while jobs or running:
        now = min(each[0] for each in (*jobs[-1:], *running[:1]))
        while running and running[0][0] <= now:
            for node, gpus in heapq.heappop(running)[2]:
                free[node] += gpus
        while jobs and jobs[-1][0] <= now:
            waiting.append(jobs.pop())
        left, failed = [], set()
        for job in waiting:
            where = None if job[1] in failed or (failed and not overtake) else place(free, job[1])
            if where is None:
                failed.add(job[1])
                left.append(job)
                continue
            for node, gpus in where:
                free[node] -= gpus
            heapq.heappush(running, (now + job[2], next(tie), where))
            total += now - job[0]
        waiting = left
    return total / count / 3600


@pytest.mark.parametrize(("backfill", "overtake"), [("fifo", False), (None, True)])
@pytest.mark.parametrize("whole", [0, GPUS])
def test_the_mean_wait_is_that_of_a_simulation_without_a_scheduler(backfill, overtake, whole):
    with FILE.open() as file:
        jobs = [(float(row["submit_s"]), int(row["gpus"]), float(row["duration_s"])) for row in csv.DictReader(file)]
    if whole:
        expected = mean_wait(jobs, place, [GPUS] * NODES, overtake)
    else:
        one_pool = lambda free, gpus: [(0, gpus)] if free[0] >= gpus else None  # noqa: E731
        expected = mean_wait(jobs, one_pool, [GPUS * NODES], overtake)
    report = simulate(
        read_trace(FILE, whole), default(), read_nodes(f"{NODES}x{GPUS}gpu"), policy="binpacking", backfill=backfill
    )  # fmt: skip
    assert report.wait.mean / 3600 == pytest.approx(expected, rel=1e-9)
    assert report.finished == len(jobs)


@pytest.mark.slow
@pytest.mark.parametrize("backfill", ["easy", "sjbf"])
def test_with_exact_estimates_no_promise_is_broken(backfill):
    report = simulate(
        read_trace(FILE), default(), read_nodes(f"{NODES}x{GPUS}gpu"), policy="binpacking", backfill=backfill,
        estimates="exact",
    )  # fmt: skip
    assert report.promises.made > 1000
    assert report.promises.broken == 0
