"""Victims: the search that looks at few nodes finds what a look at every node would."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster.event import JobSubmitted, NodeAdded
from clearance.cluster.node import Node
from clearance.cluster.scheduler import Scheduler
from clearance.cluster.shape import NEVER
from clearance.cluster.victims import Search, _harm
from cluster.test_preempt import TREE, tasks


@settings(deadline=None)
@given(
    st.lists(tasks("c", "b.x", "b.y"), min_size=4, max_size=16),
    st.lists(tasks("a.x", "a.y", "b.y", "b.x"), min_size=1, max_size=6),
    st.lists(st.integers(4, 8), min_size=1, max_size=5), st.floats(20, 60),
)  # fmt: skip
def test_who_is_chosen_first_does_the_least_harm_of_all(first, then, cores, now):
    scheduler = Scheduler(TREE, preemption=False)
    nodes = [Node(f"n{index}", {"vcore": each, "memory": f"{2 * each}G"}) for index, each in enumerate(cores)]
    scheduler.apply([NodeAdded(node) for node in nodes], 0)
    for number, each in enumerate([*first, *then]):
        scheduler.apply([JobSubmitted(msgspec.structs.replace(each, id=f"j{number}"))], number)
        scheduler.step(number)
    scheduler.apply([], now)
    for request in [request for app in scheduler.apps.values() for request in app.requests]:
        search = Search(scheduler, request, scheduler.preemption.ledger(), ())
        if search._place() is not None:
            continue
        part, _, without = search._lacking(None)
        everywhere = {
            state.index: found
            for state in scheduler.nodes.named.values()
            if state.index not in without and part.shape.bias(state.node) > NEVER
            and (found := search._clear(state, part)) is not None
        }  # fmt: skip
        best = min(((_harm(found), index) for index, found in everywhere.items()), default=None)
        assert search._make_room(search._candidates(None), part, 1, without) == (best is not None)
        if best is not None:
            chosen = {one.app.id for one in search._chosen}
            assert _harm(search._chosen) == best[0]
            assert chosen == {one.app.id for one in everywhere[best[1]]}
        while search._chosen:
            search._spare(search._chosen[-1])
