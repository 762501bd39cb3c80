"""The simulator is the scheduler: the same decisions as a live one, and the times that a clock would show."""

import heapq
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clearance.cluster.config import default, load
from clearance.cluster.decision import Preempt
from clearance.cluster.event import NodeAdded
from clearance.cluster.job import HARD, SOFT, Job, TaskGroup
from clearance.cluster.scheduler import Scheduler
from clearance.cluster.simulate import Arrival, Trace, jsonl, read_nodes, simulate, write
from clearance.cluster.simulate.simulation import Simulation
from clearance.errors import UsageError
from cluster.invariants import check

GPU = "nvidia.com/gpu"
FAIR = load("""
partitions:
- name: default
  nodesortpolicy: {type: binpacking}
  queues:
  - name: root
    submitacl: "*"
    queues:
    - {name: a, resources: {guaranteed: {nvidia.com/gpu: 8}}}
    - {name: b, resources: {guaranteed: {nvidia.com/gpu: 4}}}
""")


def gang(id, members, gpus=1, queue="root.a", **more):
    return Job(id, queue, task_groups=(TaskGroup("w", members, {GPU: gpus}),), **more)


def trace(*jobs):
    """Arrivals from tuples of submission, runtime, members."""
    return Trace(
        tuple(Arrival(at, runtime, gang(f"j{number}", members)) for number, (at, runtime, members) in enumerate(jobs))
    )


# (seconds to the next submission, runtime, members, which queue)
jobs = st.lists(
    st.tuples(
        st.integers(0, 20), st.integers(0, 60), st.sampled_from([1, 1, 1, 2, 3, 4, 8, 12]), st.sampled_from("ab")
    ),
    min_size=1, max_size=40,
)  # fmt: skip


def arrivals(drawn):
    at, found = 0, []
    for number, (gap, runtime, members, queue) in enumerate(drawn):
        at += gap
        found.append(Arrival(at, runtime, gang(f"j{number}", members, queue=f"root.{queue}")))
    return Trace(tuple(found))


def fifo_by_hand(drawn, gpus):
    """First come, first served on a pool of GPUs, with no scheduler: starts by number of the job."""
    free, running, now, at, starts = gpus, [], 0, 0, []
    for gap, runtime, members, _ in drawn:
        at += gap
        now = max(now, at)
        while running and (running[0][0] <= now or free < members):
            end, back = heapq.heappop(running)
            now, free = max(now, end), free + back
        starts.append(now)
        free -= members
        heapq.heappush(running, (now + runtime, members))
    return starts


def test_a_trace_worked_out_by_hand():
    report = simulate(trace((0, 100, 8), (10, 50, 2), (20, 10, 8)), default(), read_nodes("1x8gpu"), backfill="fifo")
    assert list(report.starts) == [0, 100, 150]
    assert (report.wait.mean, report.wait.max, report.jct.mean) == ((0 + 90 + 130) / 3, 130, (100 + 140 + 140) / 3)
    assert report.makespan == 160
    assert report.utilisation[GPU] == (100 * 8 + 50 * 2 + 10 * 8) / (160 * 8)
    assert report.node_hours == pytest.approx(160 / 3600)
    assert (report.finished, report.rejected, report.unstarted, report.events) == (3, 0, 0, 6)


@settings(max_examples=25)
@given(jobs)
def test_plain_fifo_is_what_a_pool_without_a_scheduler_does(drawn):
    report = simulate(arrivals(drawn), default(), read_nodes("3x4gpu"), backfill="fifo")
    assert list(report.starts) == fifo_by_hand(drawn, 12)


@pytest.mark.parametrize("backfill", [None, "fifo", "easy", "sjbf", "conservative"])
@settings(max_examples=8)
@given(drawn=jobs, estimates=st.sampled_from(["exact", "none", "learnt", "wrong:0.2-5"]))
def test_a_live_scheduler_that_is_told_the_same_decides_the_same(backfill, drawn, estimates):
    told = []
    report = simulate(
        arrivals(drawn), FAIR, read_nodes("3x4gpu"), backfill=backfill, estimates=estimates,
        record=lambda now, events: told.append((now, list(events))),
    )  # fmt: skip
    live = Scheduler(FAIR, backfill=backfill)
    for now, events in told:
        live.apply(events, now)
        live.step(now)
        check(live)
    assert live.digest == report.digest
    assert live.notices == []
    assert report.finished == report.submitted == len(drawn)


@pytest.mark.parametrize("backfill", ["easy", "sjbf", "conservative"])
@settings(max_examples=15)
@example([(16, 31, 12, "a"), (4, 33, 8, "a"), (11, 0, 1, "a"), (8, 0, 1, "a"), (0, 41, 4, "b"), (6, 45, 1, "a")])
@example([(0, 35, 4, "a"), (0, 15, 4, "b"), (10, 24, 2, "b"), (0, 7, 4, "a"), (0, 1, 2, "a"), (0, 0, 2, "b")])
@example([(0, 1, 12, "a"), (0, 1, 1, "b"), (16, 1, 4, "a"), (0, 0, 2, "b"), (0, 1, 8, "a"), (0, 0, 12, "b")])
@example([(0, 28, 8, "b"), (0, 1, 12, "a"), (0, 46, 1, "a"), (0, 1, 2, "b"), (0, 27, 12, "b"), (0, 49, 4, "b")])
@given(drawn=jobs)
def test_with_exact_estimates_nobody_starts_later_than_promised(backfill, drawn):
    report = simulate(arrivals(drawn), FAIR, read_nodes("3x4gpu"), backfill=backfill, estimates="exact")
    assert (report.promises.broken, report.finished) == (0, len(drawn))


@pytest.mark.parametrize("backfill", ["easy", "sjbf", "conservative"])
@pytest.mark.parametrize("estimates", ["wrong:0.2-5", "learnt", "none"])
@settings(max_examples=4)
@given(drawn=jobs)
def test_jobs_that_overrun_break_no_reservation_for_good(backfill, estimates, drawn):
    report = simulate(arrivals(drawn), FAIR, read_nodes("3x4gpu"), backfill=backfill, estimates=estimates, seed=3)
    assert (report.finished, report.unstarted) == (len(drawn), 0)


def test_a_reservation_moves_on_when_a_job_overruns_and_is_kept():
    """j0 says 10 s and runs 100; j1 needs all; j2 would be in its way, and j3, which is short, is not."""
    jobs = [(0, 100, 2, 10), (1, 10, 4, 10), (2, 500, 2, 500), (3, 5, 1, 5)]
    arrivals = tuple(
        Arrival(at, runtime, gang(f"j{number}", members, runtime_estimate=estimate))
        for number, (at, runtime, members, estimate) in enumerate(jobs)
    )
    report = simulate(Trace(arrivals), default(), read_nodes("1x4gpu"), backfill="easy")
    assert list(report.starts) == [0, 100, 110, 3]
    assert (report.promises.broken, report.promises.worst) == (1, 90)


@pytest.mark.parametrize(("kind", "starts"), [("easy", [0, 0, 100, 20, 110]), ("sjbf", [0, 0, 100, 110, 20])])
def test_around_the_first_go_the_others_in_order_or_the_shortest_first(kind, starts):
    """Only one of j3 (60 s) and j4 (30 s) ends before the 100th second, when j2 is to have everything."""
    jobs = trace((0, 100, 2), (0, 20, 2), (1, 10, 4), (2, 60, 2), (3, 30, 2))
    report = simulate(jobs, default(), read_nodes("1x4gpu"), backfill=kind, estimates="exact")
    assert list(report.starts) == starts


def test_members_beyond_the_minimum_join_and_the_job_ends_its_runtime_after_its_gang_began():
    job = Job("j", task_groups=(TaskGroup("w", 1, {GPU: 1}, max_member=4),))
    report = simulate(Trace((Arrival(0, 10, gang("x", 3)), Arrival(1, 20, job))), default(), read_nodes("1x4gpu"))
    assert (list(report.starts), report.makespan) == ([0, 1], 21)


@pytest.mark.parametrize(("style", "rejected", "finished"), [(HARD, 1, 1), (SOFT, 0, 2)])
def test_a_gang_that_timed_out_fails_or_goes_on_one_by_one(style, rejected, finished):
    jobs = (Arrival(0, 100, gang("x", 3)), Arrival(1, 20, gang("y", 4, style=style, timeout=30)))
    report = simulate(Trace(jobs), default(), read_nodes("1x4gpu"))
    assert (report.rejected, report.finished, report.unstarted) == (rejected, finished, 0)


def test_what_can_never_start_is_rejected_and_counted():
    report = simulate(trace((0, 5, 9), (1, 5, 1)), default(), read_nodes("1x8gpu"))
    assert (report.rejected, report.finished, report.starts[0]) == (1, 1, math.inf)


class Preempting(Scheduler):
    """The scheduler, and at one moment somebody who wants a member away: there is no preemption in it to wait for."""

    at, victims = math.inf, ()

    def step(self, now, most=None):
        made = super().step(now, most)
        if now >= self.at:
            self.at = math.inf
            made.append(Preempt(self.next_id(), "for the test", self.victims, ""))
        return made


@pytest.mark.parametrize(("every", "end"), [(None, 25 + 100), (10.0, 25 + 80)])
def test_who_is_preempted_goes_on_from_its_last_checkpoint(every, end):
    job = gang("v", 2, checkpoint_interval=every)
    scheduler = Preempting(default())
    scheduler.at, scheduler.victims = 25, ("v/w/0",)
    simulation = Simulation(scheduler, Trace((Arrival(0, 100, job), Arrival(25, 1, gang("o", 1)))), "given", 0, None)
    simulation.tell(0, [NodeAdded(node) for node in read_nodes("1x4gpu")])
    simulation.run()
    report = simulation.report(1.0)
    assert (report.moves, report.finished, report.makespan) == (1, 2, end)


def test_a_trace_out_of_order_or_without_nodes_is_refused():
    with pytest.raises(UsageError, match="job 'j1' comes at 1, after one at 5: sort the trace"):
        simulate(trace((5, 1, 1), (1, 1, 1)), default(), read_nodes("1x4gpu"))
    with pytest.raises(UsageError, match="the trace tells of no nodes"):
        simulate(trace((5, 1, 1)), default())


def test_the_scheduler_keeps_nothing_of_what_has_been():
    kept = []
    scheduler = Scheduler(default())
    simulation = Simulation(scheduler, trace(*((at, 3, 2) for at in range(50))), "given", 0, None)
    simulation.tell(0, [NodeAdded(node) for node in read_nodes("1x4gpu")])
    simulation._record = lambda now, events: kept.append(len(scheduler.members) + len(scheduler.ended))
    simulation.run()
    assert max(kept) <= 8


def test_the_same_seed_decides_the_same_under_any_hash_seed(tmp_path: Path):
    drawn = [(3, 20 + number % 7 * 9, (1, 2, 3, 8)[number % 4], "ab"[number % 2]) for number in range(60)]
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(write(arrivals(drawn))))
    assert jsonl.read(file.read_text().splitlines()) == arrivals(drawn)
    code = (
        "import sys; from clearance.cluster.config import default; from clearance.cluster.simulate import *;"
        f"r = simulate(read_trace({str(file)!r}), default(), read_nodes('3x4gpu'), backfill='sjbf',"
        " estimates='wrong:0.2-5', seed=5); print(r.digest, r.jct.mean, r.promises.broken)"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }  # fmt: skip
    assert len(told) == 1
