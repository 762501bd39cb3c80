"""Random clusters, queues and jobs: what must hold at every step, whatever happens in which order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster.config import load
from clearance.cluster.event import (
    BindFailed,
    JobFinished,
    JobSubmitted,
    LimitSet,
    MemberEvicted,
    MemberFinished,
    NodeAdded,
    NodeChanged,
    NodeRemoved,
)  # fmt: skip
from clearance.cluster.job import Affinity, Job, TaskGroup, Topology
from clearance.cluster.limits import Limit
from clearance.cluster.node import Node, Taint
from clearance.cluster.scheduler import Scheduler
from cluster.invariants import check, gangs_whole, never_over, nothing_forgotten

CONFIG = """
partitions:
- name: default
  queues:
  - name: root
    submitacl: "*"
    queues:
    - name: ml
      resources:
        guaranteed: {vcore: 8}
        max: {vcore: 24, memory: 96Gi, nvidia.com/gpu: 6}
      limits:
      - limit: each
        users: ["*"]
        maxresources: {vcore: 16}
        maxapplications: 4
      queues:
      - name: train
        properties: {application.sort.policy: fair}
      - name: serve
        resources:
          max: {vcore: 10}
        maxapplications: 3
    - name: batch
      properties: {priority.offset: "1", priority.policy: fence}
"""
QUEUES = ("root.ml.train", "root.ml.serve", "root.batch")
KINDS = (
    {"vcore": "4", "memory": "16Gi"},
    {"vcore": "8", "memory": "32Gi", "nvidia.com/gpu": 2},
    {"vcore": "16", "memory": "64Gi", "nvidia.com/gpu": 4},
)
ASKS = (
    {"vcore": "1"},
    {"vcore": "2", "memory": "8Gi"},
    {"vcore": "500m", "nvidia.com/gpu": "300m"},
    {"nvidia.com/gpu": "700m"},
    {"vcore": "2", "nvidia.com/gpu": 1},
    {"nvidia.com/gpu": 2, "memory": "4Gi"},
)
LIMITS = (
    (Limit("pool p", 1, 2),), (Limit("pool p", 2, 2),), (Limit("pool q"),), (Limit("pool p", 1, 2), Limit("pool q", 2)),
    (Limit("pool q", 1), Limit("pool p", 2, 2)), (Limit("pool q", 9),),
)  # fmt: skip

nodes = st.builds(
    lambda kind, rack, tainted, ssd: (
        KINDS[kind], {"rack": f"r{rack}"} | ({"disk": "ssd"} if ssd else {}), (Taint("k"),) if tainted else (),
    ),
    st.integers(0, 2), st.integers(0, 2), st.sampled_from([False, False, False, True]), st.booleans(),
)  # fmt: skip
groups = st.builds(
    lambda ask, least, more, topology, apart, disk, whole: TaskGroup(
        "g", least, ASKS[ask], max(least + more, 1), {"disk": "ssd"} if disk else {}, (), topology,
        anti_affinity=apart, whole_node=whole,
    ),
    st.integers(0, len(ASKS) - 1), st.sampled_from([0, 1, 1, 2, 3, 9]), st.sampled_from([0, 0, 0, 2]),
    st.sampled_from([Topology(), Topology(), Topology(required="rack"), Topology(preferred="rack")]),
    st.sampled_from(["", "", "", "node", "rack"]), st.sampled_from([False, False, False, True]),
    st.sampled_from([False, False, False, False, True]),
)  # fmt: skip
jobs = st.builds(
    lambda queue, user, priority, first, second, estimate, away, limits: Job(
        "", queue, user, (), priority,
        (first,) if second is None else (first, TaskGroup("h", second, ASKS[0])) if second < 2 or not limits else (),
        labels={"app": user}, runtime_estimate=estimate, limits=limits,
    ) if not away else Job(
        "", queue, user, (), priority,
        (TaskGroup("g", 1, ASKS[1], affinity=(Affinity((("app", "ana"),), "node", anti=away == 1),)),),
        labels={"app": user}, runtime_estimate=estimate, limits=limits,
    ),
    st.sampled_from(QUEUES), st.sampled_from(["ana", "bob"]), st.integers(0, 2), groups,
    st.sampled_from([None, None, 1, 2]), st.sampled_from([None, 10.0, 100.0, 1000.0]), st.sampled_from([0, 0, 0, 1, 2]),
    st.sampled_from([(), (), (), *LIMITS]),
)  # fmt: skip
acts = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), jobs),
        st.tuples(st.just("submit"), jobs),
        st.tuples(st.just("submit"), jobs),
        st.tuples(
            st.sampled_from(["finish", "member", "evict", "fail", "add", "remove", "cordon", "change", "limit"]),
            st.integers(0, 1000),
        ),
    ),
    max_size=40,
)  # fmt: skip


def play(scheduler, first, todo, each):
    """Lets things happen, and looks after each step."""
    import msgspec

    added = iter(range(1000))
    scheduler.apply([LimitSet("pool q", 3), *(NodeAdded(Node(f"n{next(added)}", *one)) for one in first)], 0)
    made = []
    for now, (what, which) in enumerate(todo, 1):
        if what == "submit":
            scheduler.apply([JobSubmitted(msgspec.structs.replace(which, id=f"j{now}"))], now)
        else:
            event = _event(scheduler, what, which, made, added)
            if event is not None:
                scheduler.apply([event], now)
        made = scheduler.step(now)
        assert not scheduler.notices, scheduler.notices
        each(scheduler)
    return scheduler


def _event(scheduler, what, which, made, added):
    apps, members, nodes = list(scheduler.apps), list(scheduler.members), list(scheduler.nodes.named)
    if what == "finish" and apps:
        return JobFinished(apps[which % len(apps)])
    if what == "member" and members:
        return MemberFinished(members[which % len(members)])
    if what == "evict" and members:
        return MemberEvicted(members[which % len(members)])
    if what == "fail" and (bound := [each for each in made if type(each).__name__ == "Bind" and each.members]):
        return BindFailed(bound[which % len(bound)].id)
    if what == "add":
        return NodeAdded(Node(f"n{next(added)}", KINDS[which % 3], {"rack": f"r{which % 2}"}))
    if what == "remove" and nodes:
        return NodeRemoved(nodes[which % len(nodes)])
    if what == "limit":
        return LimitSet("pool q", (0, 1, 3, 20)[which % 4])
    if what in ("cordon", "change") and nodes:
        node = scheduler.nodes.named[nodes[which % len(nodes)]].node
        if what == "cordon":
            return NodeChanged(
                Node(node.name, node.capacity, node.labels, node.taints, node.pool, not node.schedulable)
            )
        return NodeChanged(Node(node.name, node.capacity, {"rack": f"r{which % 3}", "disk": "ssd"}, node.taints))
    return None


@pytest.mark.parametrize("backing", ["lists", "numpy"])
@pytest.mark.parametrize("policy", ["binpacking", "fair"])
def test_nothing_is_over_and_nothing_that_fits_waits(backing, policy):
    @settings(deadline=None)
    @given(st.lists(nodes, max_size=6), acts)
    def holds(first, todo):
        def each(scheduler):
            check(scheduler)
            never_over(scheduler)
            nothing_forgotten(scheduler)

        play(Scheduler(load(CONFIG), policy, backing=backing), first, todo, each)

    holds()


@pytest.mark.parametrize("backfill", ["fifo", "easy", "conservative"])
def test_nothing_is_over_with_room_kept(backfill):
    @settings(deadline=None)
    @given(st.lists(nodes, max_size=6), acts)
    def holds(first, todo):
        def each(scheduler):
            check(scheduler)
            never_over(scheduler)

        play(Scheduler(load(CONFIG), backfill=backfill), first, todo, each)

    holds()


@settings(deadline=None)
@given(st.lists(nodes, max_size=6), acts, st.sampled_from([None, "fifo", "easy", "conservative"]))
def test_lists_numpy_and_numba_decide_alike(first, todo, backfill):
    digests = {
        play(Scheduler(load(CONFIG), backfill=backfill, backing=backing), first, todo, lambda _: None).digest
        for backing in ("lists", "numpy", "numba")
    }
    assert len(digests) == 1


@settings(deadline=None)
@given(st.lists(nodes, max_size=6), st.lists(st.tuples(st.just("submit"), jobs), max_size=30))
def test_gangs_are_whole(first, todo):
    play(Scheduler(load(CONFIG)), first, todo, gangs_whole)
