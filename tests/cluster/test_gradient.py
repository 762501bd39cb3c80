"""Fragmentation gradient descent, by hand on small nodes (the definitions of Weng et al., 2023)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster import Job, JobSubmitted, Node, NodeAdded, Scheduler, TaskGroup, load
from clearance.cluster.gradient import Gradient
from clearance.cluster.shape import Shapes
from clearance.cluster.space import Space
from cluster.invariants import binds, check, never_over
from cluster.test_scheduler_properties import CONFIG, acts, nodes, play

pytest.importorskip("numpy")


def shapes(*asked):
    found = Shapes(Space())
    return [found.of(TaskGroup("g", 1, each), "a job") for each in asked]


def test_what_no_typical_request_can_use_is_a_fragment():
    half, whole = shapes({"vcore": 1, "nvidia.com/gpu": "500m"}, {"vcore": 4, "nvidia.com/gpu": 1})
    gradient = Gradient()
    gradient.saw(half, 3)
    gradient.saw(whole, 1)
    assert gradient.learn()
    # Two free devices and 8 cores: nothing is a fragment. A half taken of one leaves 500 that a whole one cannot use,
    # a quarter of the requests: 125. A whole one taken leaves no fragment.
    assert gradient.deltas([8000, 0], [1000, 1000], [half, whole]) == [(125.0, 1000), (0.0, -1)]
    # On a device of which half is taken the next half takes the fragment away.
    assert gradient.deltas([8000, 0], [500, 1000], [half]) == [(-125.0, 500)]
    # With 1 core left after it, the device that stays free is of no use to anybody but the halves: 250. And the mean
    # request has 2.8 thousandths of a core for each of a device: 5 cores carry 1786 of 2000, 1 core 357 of 1000.
    stranded = (1000 - 1000 / 2.8) - (2000 - 5000 / 2.8)
    assert gradient.deltas([5000, 0], [1000, 1000], [whole]) == [(pytest.approx(250 + stranded), -1)]


def test_shares_go_together_so_that_whole_devices_stay_free():
    scheduler = Scheduler(load(CONFIG), policy="fgd")
    scheduler.apply([NodeAdded(Node(f"n{index}", {"vcore": 16, "nvidia.com/gpu": 2})) for index in range(3)], 0)
    asked = [{"vcore": 1, "nvidia.com/gpu": "500m"}] * 4 + [{"vcore": 1, "nvidia.com/gpu": 2}] * 2
    scheduler.apply(
        [
            JobSubmitted(Job(f"j{n}", "root.batch", task_groups=(TaskGroup("g", 1, each),)))
            for n, each in enumerate(asked)
        ],
        1,
    )
    assert len(binds(scheduler.step(1))) == 6
    check(scheduler)


@settings(deadline=None)
@given(st.lists(nodes, max_size=6), acts)
def test_both_backings_decide_alike_and_nothing_is_over(first, todo):
    def each(scheduler):
        check(scheduler)
        never_over(scheduler)

    digests = {
        play(Scheduler(load(CONFIG), "fgd", backing=backing), first, todo, each).digest
        for backing in ("lists", "numpy")
    }
    assert len(digests) == 1
