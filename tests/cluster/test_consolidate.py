"""Consolidation: it frees nodes whole, pays for itself, and looks again before each move."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster.config import load
from clearance.cluster.event import JobFinished, JobSubmitted, MemberMoved, NodeAdded, NodeRemoved
from clearance.cluster.job import Job, TaskGroup, Topology
from clearance.cluster.node import Node
from clearance.cluster.scheduler import Scheduler
from cluster.invariants import check, never_over
from cluster.test_scheduler_properties import ASKS, nodes, play

QUEUES = load("partitions: [{name: default, queues: [{name: root, submitacl: '*', queues: [{name: all}]}]}]")


def spread(*jobs, cores=8, count=3):
    """Returns a scheduler with a job on each node."""
    scheduler = Scheduler(QUEUES, "fair")
    scheduler.apply([NodeAdded(Node(f"n{index}", {"vcore": cores})) for index in range(count)], 0)
    for each in jobs:
        scheduler.apply([JobSubmitted(each)], 0)
        scheduler.step(0)
    return scheduler


def job(id, vcore=2, members=1, **more):
    more.setdefault("checkpoint_interval", 10.0)
    return Job(id, "root.all", "ana", task_groups=(TaskGroup("g", members, {"vcore": vcore}),), **more)


def places(scheduler):
    return {id: scheduler.nodes.at[held.node].name for id, (_, held) in scheduler.members.items()}


def test_members_move_off_nodes_which_are_then_free():
    scheduler = spread(job("a"), job("b"), job("c"))
    plan = scheduler.plan_consolidation()
    assert len(plan.freed) == len(plan.moves) == 2
    made = scheduler.next_moves(plan)
    assert [(each.member, each.source) for each in made] == [(each.member, each.source) for each in plan.moves]
    check(scheduler)
    scheduler.apply([MemberMoved(each.member, each.target) for each in made], 1)
    assert len(set(places(scheduler).values())) == 1
    assert not scheduler.notices
    check(scheduler)
    assert scheduler.next_moves(plan) == []


def test_a_move_that_costs_more_than_it_frees_is_not_made():
    assert not spread(job("a", restart_cost=5 * 3600), job("b", restart_cost=5 * 3600)).plan_consolidation().moves
    unsaved = spread(job("a", checkpoint_interval=None, vcore=8), job("b", vcore=8), count=2)
    assert not unsaved.plan_consolidation().moves
    ending = spread(job("a", runtime_estimate=60), job("b", runtime_estimate=60))
    assert not ending.plan_consolidation().moves
    large = spread(*(job(id, 2, state_bytes=10**14) for id in "ab"))
    assert not large.plan_consolidation().moves


def test_a_plan_that_gains_too_little_is_none():
    scheduler = spread(job("a"), job("b"))
    assert scheduler.plan_consolidation(min_gain_node_hours=3.9).moves
    assert not scheduler.plan_consolidation(min_gain_node_hours=4.1).moves


def test_those_who_must_not_move_stay():
    scheduler = spread(job("a", movable=False), job("b"))
    (move,) = scheduler.plan_consolidation().moves
    assert move.member == "b/g/0"


def test_a_plan_has_no_more_moves_than_it_may():
    scheduler = spread(*(job(f"j{index}", 1) for index in range(6)), count=6)
    assert len(scheduler.plan_consolidation(max_moves=3).moves) == 3


def test_no_member_moves_twice_within_an_hour():
    scheduler = spread(job("a"), job("b"))
    for move in scheduler.next_moves(scheduler.plan_consolidation()):
        moved = move.member
        scheduler.apply([MemberMoved(move.member, move.target)], 1)
    (other,) = set(scheduler.members) - {moved}
    scheduler.apply([NodeAdded(Node("m", {"vcore": 8})), JobSubmitted(job("c"))], 2)
    scheduler.step(2)
    for now in (3, 3000):
        scheduler.step(now)
        assert moved not in {move.member for move in scheduler.plan_consolidation().moves}
    assert other in scheduler.members


def test_no_more_members_are_away_than_the_job_allows():
    scheduler = spread(job("a", 1, 4, disruption_budget=1), job("big", 2), job("big2", 2), count=6)
    plan = scheduler.plan_consolidation()
    mine = [move for move in plan.moves if move.member.startswith("a/")]
    assert len(mine) > 1
    first = scheduler.next_moves(plan)
    assert sum(each.member.startswith("a/") for each in first) == 1
    for each in first:
        scheduler.apply([MemberMoved(each.member, each.target)], 1)
    assert sum(each.member.startswith("a/") for each in scheduler.next_moves(plan)) == 1


def test_a_service_starts_at_its_new_place_before_it_ends_at_the_old_one():
    scheduler = spread(job("a", service=True), job("b", service=True))
    (move,) = scheduler.next_moves(scheduler.plan_consolidation())
    assert move.make_before_break


def test_somebody_who_has_come_to_the_node_makes_its_moves_void():
    scheduler = spread(job("a"), job("b"), count=3)
    plan = scheduler.plan_consolidation()
    source = plan.freed[0]
    pinned = Job("new", "root.all", "ana", task_groups=(TaskGroup("g", 1, {"vcore": 1}, node=source),))
    scheduler.apply([JobSubmitted(pinned)], 1)
    scheduler.step(1)
    assert scheduler.next_moves(plan) == []


def test_a_target_that_has_filled_makes_the_moves_void():
    scheduler = spread(job("a"), job("b"), count=2)
    plan = scheduler.plan_consolidation()
    filling = Job("new", "root.all", "ana", task_groups=(TaskGroup("g", 1, {"vcore": 5}, node=plan.moves[0].target),))
    scheduler.apply([JobSubmitted(filling)], 1)
    scheduler.step(1)
    assert scheduler.next_moves(plan) == []


def test_the_room_of_a_move_is_taken_until_it_is_reported():
    scheduler = spread(job("a", 5), job("b", 3), count=2)
    plan = scheduler.plan_consolidation()
    (move,) = scheduler.next_moves(plan)
    target = Job("new", "root.all", "ana", task_groups=(TaskGroup("g", 1, {"vcore": 1}, node=move.target),))
    scheduler.apply([JobSubmitted(target)], 1)
    scheduler.step(1)
    assert "new/g/0" not in scheduler.members
    scheduler.apply([MemberMoved(move.member, move.source)], 2)
    scheduler.step(2)
    assert places(scheduler)["new/g/0"] == move.target
    check(scheduler)


def test_a_move_to_a_node_without_room_is_refused():
    scheduler = spread(job("a", 8), job("b", 8), count=2)
    there = places(scheduler)["b/g/0"]
    scheduler.apply([MemberMoved("a/g/0", there)], 1)
    assert "has no room for it" in scheduler.notices[0]
    check(scheduler)


light = st.builds(
    lambda ask, members, level, apart, service, budget: Job(
        "", "root.all", "ana", (), 0,
        (TaskGroup("g", members, ASKS[ask], topology=Topology(required=level), anti_affinity=apart),),
        service=service, disruption_budget=budget, checkpoint_interval=5.0,
    ),
    st.integers(0, len(ASKS) - 1), st.sampled_from([1, 1, 1, 2, 3]), st.sampled_from(["", "", "rack"]),
    st.sampled_from(["", "", "node"]), st.booleans(), st.sampled_from([None, None, 1]),
)  # fmt: skip


def well_placed(scheduler):
    """Fails where members of a job are not as close together, or as far apart, as they must be."""
    for app in scheduler.apps.values():
        group = app.groups[0].group
        on = [scheduler.nodes.at[held.node].node for held in app.held.values()]
        if group.topology.required:
            assert len({node.labels["rack"] for node in on}) <= 1
        if group.anti_affinity:
            assert len({node.name for node in on}) == len(on)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(nodes, min_size=3, max_size=6), st.lists(light, min_size=3, max_size=12), st.sets(st.integers(0, 11)),
    st.sampled_from(["lists", "numpy"]), st.data(),
)  # fmt: skip
def test_every_state_on_the_way_is_feasible_whatever_happens(first, jobs, ended, backing, data):
    todo = [("submit", each) for each in jobs] + [("finish", which) for which in ended]
    scheduler = play(Scheduler(QUEUES, "fair", backing=backing), first, todo, well_placed)
    plan = scheduler.plan_consolidation(min_gain_node_hours=0)
    targets = {move.target for move in plan.moves}
    assert not targets & set(plan.freed)
    assert len({move.member for move in plan.moves}) == len(plan.moves)
    now = scheduler.now
    undisturbed = True
    while made := scheduler.next_moves(plan):
        check(scheduler)
        never_over(scheduler)
        for move in made:
            now += 1
            what = data.draw(st.sampled_from(["move", "move", "move", "move", "stay", "end", "lose"]))
            undisturbed &= what == "move"
            if what == "move" and move.member in scheduler.members and move.target in scheduler.nodes.named:
                scheduler.apply([MemberMoved(move.member, move.target)], now)
            elif what == "stay" and move.member in scheduler.members:
                scheduler.apply([MemberMoved(move.member, move.source)], now)
                rest = tuple(each for each in plan.moves if each.source != move.source)
                plan = msgspec.structs.replace(plan, moves=rest)
            elif what == "end" and move.member in scheduler.members:
                scheduler.apply([JobFinished(scheduler.members[move.member][0].id)], now)
            elif what == "lose" and move.target in scheduler.nodes.named:
                scheduler.apply([NodeRemoved(move.target)], now)
            check(scheduler)
            never_over(scheduler)
            well_placed(scheduler)
    if undisturbed:
        assert all(not scheduler.nodes.named[name].held for name in plan.freed)
