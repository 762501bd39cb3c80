"""The capacity desk: properties over random histories, and the answers people read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster import Ask, Placement, Scheduler
from clearance.errors import ClearanceError


def scheduler(**nodes: int) -> Scheduler:
    made = Scheduler()
    for name, cpus in nodes.items():
        made.add_node(name, {"cpu": cpus * 1000, "memory": 2**30})
    return made


def ask(id: str, cpu: float = 1, members: int = 1, priority: int = 0, memory: int = 0) -> Ask:
    return Ask(id, {"cpu": int(cpu * 1000), "memory": memory}, members, priority, id)


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
    assert "gang of 3" in denial.reason
    assert "a has cpu=2" in denial.reason


def test_an_unknown_resource_is_denied_and_never_waits_for_ever():
    denial = scheduler(a=2).submit(Ask("x", {"fpga": 1}))
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
    desk = Scheduler()
    capacity = {f"n{i}": {"cpu": cpus * 1000, "memory": 2**30} for i, cpus in enumerate(nodes)}
    for name, amounts in capacity.items():
        desk.add_node(name, amounts)
    known: dict[str, Ask] = {}
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
                known[each.id] = each
        for decision in desk.step():
            assert decision.placement is not None
            assert len(decision.placement.nodes) == known[decision.id].members
            holding[decision.id] = decision.placement
        used = {name: {"cpu": 0, "memory": 0} for name in capacity}
        for id, placement in holding.items():
            for node in placement.nodes:
                for key, amount in known[id].resources.items():
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
