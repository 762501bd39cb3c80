"""A fork is the scheduler as it is, and goes its own way."""

from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster.config import load
from clearance.cluster.event import JobFinished
from clearance.cluster.job import Job
from clearance.cluster.scheduler import Scheduler
from cluster.invariants import check, never_over
from cluster.test_scheduler_properties import CONFIG, KINDS, acts, nodes, play


def summary(scheduler):
    return (
        {
            app.id: (sorted((held.id, held.node) for held in app.held.values()), len(app.requests))
            for app in scheduler.apps.values()
        },
        {path: (queue.used, queue.pending, queue.applications) for path, queue in scheduler.tree.queues.items()},
    )  # fmt: skip


@settings(deadline=None)
@given(st.lists(nodes, max_size=6), acts, st.sampled_from([None, "easy", "fifo"]), st.sampled_from(["lists", "numpy"]))
def test_a_fork_decides_as_its_origin_would_and_changes_nothing_there(first, todo, backfill, backing):
    config = load(CONFIG)
    scheduler = play(
        Scheduler(config, backfill=backfill, backing=backing, preemption=False), first, todo, lambda _: None
    )
    before = summary(scheduler)
    fork = scheduler.fork()
    assert summary(fork) == before
    for app in list(fork.apps):
        fork.apply([JobFinished(app)], 1000)
        fork.step(1000)
        check(fork)
        never_over(fork)
    assert summary(scheduler) == before
    check(scheduler)
    twin = scheduler.fork()
    assert finish_all(twin) == finish_all(scheduler)


def finish_all(scheduler):
    """Ends one job after the other; returns what was decided, and what came of it."""
    seen = []
    for app in sorted(scheduler.apps):
        if app in scheduler.apps:
            scheduler.apply([JobFinished(app)], 1000)
            made = scheduler.step(1000)
            seen.append(([(each.reason, getattr(each, "members", None)) for each in made], summary(scheduler)))
    assert not scheduler.notices
    return seen


def test_a_fork_is_asked_before_its_origin_goes_on():
    scheduler = play(Scheduler(load(CONFIG)), [(KINDS[0], {}, ())], [("submit", Job("", "root.batch"))], check)
    fork = scheduler.fork()
    scheduler.apply([JobFinished("j1")], 2)
    fork.apply([JobFinished("j1")], 2)
    assert "ask a new one" in fork.notices[0]
