"""The capacity desk: properties over random histories, and the answers people read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster import Desk, Job, Limit, Placement, task_groups
from clearance.errors import ClearanceError


def scheduler(**nodes: int) -> Desk:
    made = Desk()
    for name, cpus in nodes.items():
        made.add_node(name, {"cpu": cpus * 1000, "memory": 2**30})
    return made


def ask(id: str, cpu: float = 1, members: int = 1, priority: int = 0, memory: int = 0, **more) -> Job:
    groups = task_groups({"cpu": int(cpu * 1000), "memory": memory}, members)
    return Job(id, priority=priority, task_groups=groups, **more)


def test_the_higher_priority_goes_first_and_equals_go_in_order_of_arrival():
    desk = scheduler(a=1)
    for each in (ask("low"), ask("high", priority=5), ask("low2")):
        desk.submit(each)
    order = []
    for _ in range(3):
        (decision,) = desk.step()
        order.append(decision.id)
        desk.release(decision.id)
    assert order == ["high", "low", "low2"]


def test_a_gang_waits_until_every_member_fits_and_holds_nothing_meanwhile():
    desk = scheduler(a=1, b=1)
    desk.submit(ask("one"))
    desk.submit(ask("gang", members=2))
    assert [decision.id for decision in desk.step()] == ["one"]
    held = desk.explain("gang")
    assert held is not None
    assert held.verdict == "held"
    assert held.blockers == ("one",)
    desk.release("one")
    (decision,) = desk.step()
    assert decision.placement == Placement(("a", "b"))


def test_nobody_overtakes_a_gang_that_waits():
    desk = scheduler(a=2)
    for each in (ask("one"), ask("gang", members=2), ask("small")):
        desk.submit(each)
    assert [decision.id for decision in desk.step()] == ["one"]
    behind = desk.explain("small")
    assert behind is not None
    assert behind.blockers == ("gang",)


def test_what_can_never_fit_is_denied_at_once_with_what_it_would_need():
    denial = scheduler(a=2).submit(ask("gang", members=3))
    assert denial is not None
    assert denial.verdict == "denied"
    assert "room for 2 of 3 is all" in denial.reason


def test_an_unknown_resource_is_denied_and_never_waits_for_ever():
    denial = scheduler(a=2).submit(Job("x", task_groups=task_groups({"example.com/fpga": 1})))
    assert denial is not None
    assert denial.verdict == "denied"


def test_asking_twice_is_an_error():
    desk = scheduler(a=1)
    desk.submit(ask("x"))
    with pytest.raises(ClearanceError, match="asked twice"):
        desk.submit(ask("x"))


def test_a_restored_ask_holds_its_room():
    desk = scheduler(a=1)
    desk.restore(ask("old"), Placement(("a",)))
    desk.submit(ask("new"))
    assert desk.step() == []
    desk.release("old")
    assert [decision.id for decision in desk.step()] == ["new"]


def test_a_restored_gang_of_which_members_are_missing_is_evicted_and_starts_again_whole():
    desk = scheduler(a=1, b=1)
    desk.restore(ask("gang", members=3), Placement(("a", "gone", "b")))
    desk.submit(ask("new"))
    (told,) = desk.step()
    assert (told.id, told.verdict) == ("gang", "evicted")
    assert told.reason == "1 of its gang are missing, and it runs whole or not at all"
    assert desk.step() == []
    desk.release("gang")
    assert [each.id for each in desk.step()] == ["new"]


def test_a_restored_job_of_whose_nodes_none_is_there_goes_on_and_holds_its_limits_alone():
    desk = scheduler(a=1)
    desk.restore(ask("far", members=2), Placement(("x", "y")))
    desk.restore(ask("limited", limits=(Limit("pool p", 1, 1),)), Placement(("x",)))
    assert desk.step() == []
    assert desk.used("pool p") == 1
    desk.submit(ask("new"))
    assert [each.id for each in desk.step()] == ["new"]
    for job in ("far", "limited", "new"):
        desk.release(job)
    assert desk.used("pool p") == 0


asks = st.builds(
    lambda n, cpu, members, priority, memory: (cpu, members, priority, memory),
    st.integers(),
    st.sampled_from([0, 0.25, 0.5, 1, 2, 3]),
    st.integers(1, 4),
    st.integers(-2, 2),
    st.sampled_from([0, 2**28, 2**29]),
)


@given(
    nodes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    history=st.lists(st.one_of(asks, st.integers(0, 30)), max_size=60),
)
def test_no_node_is_ever_overcommitted_and_gangs_are_whole(nodes, history):
    desk = Desk()
    capacity = {f"n{i}": {"cpu": cpus * 1000, "memory": 2**30} for i, cpus in enumerate(nodes)}
    for name, amounts in capacity.items():
        desk.add_node(name, amounts)
    known: dict[str, tuple[int, dict[str, int]]] = {}
    holding: dict[str, Placement] = {}
    for step, action in enumerate(history):
        if isinstance(action, int):
            if holding:
                gone = sorted(holding)[action % len(holding)]
                desk.release(gone)
                del holding[gone]
        else:
            cpu, members, priority, memory = action
            each = ask(f"a{step}", cpu, members, priority, memory)
            if desk.submit(each) is None:
                known[each.id] = (members, {"cpu": int(cpu * 1000), "memory": memory})
        for decision in desk.step():
            assert decision.placement is not None
            assert len(decision.placement.nodes) == known[decision.id][0]
            holding[decision.id] = decision.placement
        used = {name: {"cpu": 0, "memory": 0} for name in capacity}
        for id, placement in holding.items():
            for node in placement.nodes:
                for key, amount in known[id][1].items():
                    used[node][key] += amount
        for name, amounts in used.items():
            assert all(amounts[key] <= capacity[name][key] for key in amounts)
    for id in sorted(holding):
        desk.release(id)
    waiting = set(known) - set(holding)
    for _ in range(len(waiting) + 1):
        for decision in desk.step():
            waiting.discard(decision.id)
            desk.release(decision.id)


def limited(id: str, *limits: Limit, cpu: float = 0, priority: int = 0) -> Job:
    if not cpu and limits:
        return Job(id, priority=priority, task_groups=(), limits=limits)
    return ask(id, cpu, priority=priority, limits=limits)


def test_who_waits_for_a_limit_holds_up_nobody_else_and_says_who_has_it():
    desk = scheduler(a=4)
    desk.set_limit("pool licences", 1)
    for each in ("one", "two"):
        desk.submit(limited(each, Limit("pool licences"), cpu=1))
    desk.submit(ask("free"))
    assert [decision.id for decision in desk.step()] == ["one", "free"]
    held = desk.explain("two")
    assert held is not None
    assert held.reason == "pool licences has 1 of 1 in use; held by one"
    assert held.blockers == ("one",)
    desk.release("one")
    assert [decision.id for decision in desk.step()] == ["two"]


def test_more_than_a_limit_has_is_held_until_it_is_enlarged_and_lets_others_pass():
    desk = scheduler(a=4)
    desk.set_limit("pool p", 2)
    desk.submit(limited("big", Limit("pool p", 3)))
    desk.submit(limited("small", Limit("pool p")))
    assert [decision.id for decision in desk.step()] == ["small"]
    held = desk.explain("big")
    assert held is not None
    assert "3 are asked for: enlarge it" in held.reason
    desk.set_limit("pool p", 4)
    assert [decision.id for decision in desk.step()] == ["big"]


def test_among_those_who_ask_for_one_limit_nobody_overtakes():
    desk = scheduler(a=4)
    desk.set_limit("pool p", 2)
    desk.submit(limited("one", Limit("pool p")))
    desk.submit(limited("both", Limit("pool p", 2)))
    desk.submit(limited("late", Limit("pool p")))
    assert [decision.id for decision in desk.step()] == ["one"]
    desk.release("one")
    assert [decision.id for decision in desk.step()] == ["both"]


def test_asks_that_share_an_order_go_before_what_came_between_them():
    desk = scheduler(a=1)
    first = desk.arrive()
    for place, each in ((1, "m1"), (0, "m0")):
        desk.submit(ask(each, order=(first, place)))
    desk.submit(ask("other"))
    desk.submit(ask("m2", order=(first, 2)))
    order = []
    for _ in range(4):
        (decision,) = desk.step()
        order.append(decision.id)
        desk.release(decision.id)
    assert order == ["m0", "m1", "m2", "other"]


limits = st.dictionaries(st.sampled_from("xyz"), st.integers(1, 3), max_size=3)


@given(
    sizes=st.fixed_dictionaries({name: st.integers(1, 3) for name in "xyz"}),
    history=st.lists(
        st.one_of(
            st.tuples(limits, st.integers(0, 2), st.integers(-1, 1)),
            st.integers(0, 30),
            st.tuples(st.just("waiting"), st.integers(0, 30)),
        ),
        max_size=60,
    ),
)
def test_no_limit_is_ever_exceeded_and_nobody_is_forgotten(sizes, history):
    desk = scheduler(a=3)
    for name, size in sizes.items():
        desk.set_limit(name, size)
    known: dict[str, Job] = {}
    holding: dict[str, None] = {}
    gone: set[str] = set()
    for step, action in enumerate(history):
        if isinstance(action, int):
            if holding:
                one = sorted(holding)[action % len(holding)]
                desk.release(one)
                del holding[one]
                gone.add(one)
        elif action[0] == "waiting":
            if waiting := sorted(known.keys() - holding.keys() - gone):
                desk.release(waiting[action[1] % len(waiting)])
                gone.add(waiting[action[1] % len(waiting)])
        else:
            wanted, cpu, priority = action
            each = limited(f"a{step}", *(Limit(name, n) for name, n in wanted.items()), cpu=cpu, priority=priority)
            assert desk.submit(each) is None
            known[each.id] = each
        for decision in desk.step():
            holding[decision.id] = None
        for name, size in sizes.items():
            used = sum(limit.amount for id in holding for limit in known[id].limits if limit.name == name)
            assert used == desk.used(name) <= size
    impossible = {id for id, each in known.items() if any(limit.amount > sizes[limit.name] for limit in each.limits)}
    left = known.keys() - gone
    while True:
        for id in list(holding):
            desk.release(id)
            del holding[id]
            left -= {id}
        granted = desk.step()
        if not granted:
            break
        holding |= {decision.id: None for decision in granted}
    assert left == impossible & left
