"""A gang that is taken over without some of its members has failed: what is left of it ends, and it starts whole."""

from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster import Desk, Job, Placement, TaskGroup
from clearance.cluster.decision import Bind, Preempt
from clearance.cluster.defaults import default
from clearance.cluster.event import MemberEvicted, NodeAdded, Restored
from clearance.cluster.node import Node
from clearance.cluster.scheduler import Scheduler

SIZE = 4
GANG = Job("j", queue="root.default", user="ana", task_groups=(TaskGroup("w", SIZE, {"vcore": 1}),))


def restored(ranks):
    scheduler = Scheduler(default())
    nodes = [NodeAdded(Node(f"n{number}", {"vcore": 2})) for number in range(SIZE)]
    places = tuple((f"j/w/{rank}", f"n{rank}") for rank in ranks)
    scheduler.apply([*nodes, Restored(GANG, places)], 0)
    return scheduler


@given(st.sets(st.integers(0, SIZE - 1), min_size=1), st.randoms(use_true_random=False))
def test_what_is_left_of_a_gang_leaves_and_it_starts_whole_whatever_is_missing(ranks, random):
    scheduler = restored(sorted(ranks))
    decisions = scheduler.step(0)
    if len(ranks) == SIZE:
        assert decisions == []
        return
    (preempt,) = decisions
    assert isinstance(preempt, Preempt)
    assert sorted(preempt.members) == [f"j/w/{rank}" for rank in sorted(ranks)]
    assert preempt.reason == f"{SIZE - len(ranks)} of its gang are missing, and it runs whole or not at all"
    assert scheduler.step(1) == []
    members = list(preempt.members)
    random.shuffle(members)
    scheduler.apply([MemberEvicted(member) for member in members], 2)
    (bind,) = scheduler.step(2)
    assert isinstance(bind, Bind)
    assert [member.id for member in bind.members] == [f"j/w/{rank}" for rank in range(SIZE)]


def test_a_gang_that_may_be_smaller_goes_on_with_what_it_needs():
    scheduler = Scheduler(default())
    job = Job("j", queue="root.default", user="ana", task_groups=(TaskGroup("w", 2, {"vcore": 1}, max_member=4),))
    nodes = [NodeAdded(Node(f"n{number}", {"vcore": 1})) for number in range(2)]
    scheduler.apply([*nodes, Restored(job, (("j/w/0", "n0"), ("j/w/1", "n1")))], 0)
    assert not [each for each in scheduler.step(0) if isinstance(each, Preempt)]


def test_the_desk_evicts_a_gang_of_which_a_node_has_gone():
    desk = Desk()
    desk.add_node("n0", {"cpu": 4000})
    desk.restore(GANG, Placement(("n0", "n0", "n9", "n0")))
    (answer,) = desk.step()
    assert (answer.id, answer.verdict) == ("j", "evicted")
    desk.release("j")
    assert desk.submit(GANG) is None
    (answer,) = desk.step()
    assert answer.placement is not None
    assert answer.placement.nodes == ("n0",) * SIZE
