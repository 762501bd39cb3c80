"""Nodes come for whole gangs that nothing else keeps waiting, the cheapest that suffice, and go when they are idle."""

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from clearance.cluster.config import default, load
from clearance.cluster.decision import Bind, Reject, Scale
from clearance.cluster.event import (
    JobFinished,
    JobSubmitted,
    NodeAdded,
    NodeChanged,
    NodeRemoved,
    PoolStarting,
    Restored,
)  # fmt: skip
from clearance.cluster.job import Affinity, Job, TaskGroup, Toleration, Topology
from clearance.cluster.node import Node, Taint
from clearance.cluster.pools import Autoscale, Headroom, Pool
from clearance.cluster.scheduler import Scheduler
from clearance.cluster.simulate import Arrival, Trace, simulate
from clearance.cluster.whatif import AddNodes
from clearance.errors import UsageError
from cluster.invariants import check, never_over

GPU = "nvidia.com/gpu"
SMALL = Pool("small", {"vcore": 4}, 10)
LARGE = Pool("large", {"vcore": 16}, 4, price=3.0)
GPUS = Pool("gpus", {"vcore": 8, GPU: 4}, 5, price=10.0, labels={"rack": "r1"})


def job(id, members=1, resources=None, queue="", **more):
    names = ("topology", "anti_affinity", "affinity", "node_selector", "tolerations", "max_member", "node")
    group = {name: more.pop(name) for name in names if name in more}
    return Job(id, queue, more.pop("user", "ana"), task_groups=(
        TaskGroup("w", members, resources or {"vcore": 4}, **group),
    ), **more)  # fmt: skip


def cluster(*pools, nodes=(), config=None, jobs=(), **more):
    options = {"interval": 0.0, "idle_seconds": 100.0, "cooldown_seconds": 0.0} | more
    scheduler = Scheduler(config or default(), autoscale=Autoscale(pools, **options))
    scheduler.apply([*(NodeAdded(node) for node in nodes), *(JobSubmitted(each) for each in jobs)], 0)
    return scheduler


def scales(made):
    return [each for each in made if isinstance(each, Scale)]


def added(made):
    return {each.pool: each.add for each in scales(made) if each.add}


def bound(made):
    return [each.job for each in made if isinstance(each, Bind)]


def removed(made):
    return [name for each in scales(made) for name in each.remove]


def come(scheduler, pool, count, now, first=0):
    """Nodes of a pool come."""
    scheduler.apply([NodeAdded(pool.node(f"{pool.name}{first + number}")) for number in range(count)], now)


# -- up ----------------------------------------------------------------------------------------------------------------


def test_a_gang_gets_as_many_nodes_as_all_of_it_needs():
    scheduler = cluster(SMALL, jobs=[job("g", 6)])
    assert added(scheduler.step(0)) == {"small": 6}


def test_a_gang_that_would_fit_only_in_part_gets_none_and_is_not_refused_while_others_run():
    scheduler = cluster(SMALL, jobs=[job("a", 4)])
    assert added(scheduler.step(0)) == {"small": 4}
    come(scheduler, SMALL, 4, 100)
    scheduler.step(100)
    scheduler.apply([JobSubmitted(job("g", 8))], 101)
    made = scheduler.step(101)
    assert not scales(made)
    assert not [each for each in made if isinstance(each, Reject)]
    scheduler.apply([JobFinished("a")], 110)
    assert added(scheduler.step(110)) == {"small": 4}


def test_a_job_that_no_pool_could_ever_hold_is_refused():
    scheduler = cluster(SMALL, LARGE, jobs=[job("wide", 1, {"vcore": 17}), job("many", 27), job("gpu", 1, {GPU: 1})])
    made = scheduler.step(0)
    assert [each.job for each in made if isinstance(each, Reject)] == ["wide", "many", "gpu"]
    assert "room for 26 of 27" in made[1].reason


@pytest.mark.parametrize(
    ("job", "counts"),
    [
        (job("ten", 10), {"large": 2, "small": 2}),
        (job("one"), {"small": 1}),
        (job("broad", 1, {"vcore": 5}), {"large": 1}),
        (job("gpu", 6, {GPU: 2}), {"gpus": 3}),
        (job("eight", 8), {"large": 2}),
        (job("apart", 3, {"vcore": 1}, anti_affinity="node"), {"small": 3}),
        (job("rack", 2, {"vcore": 1}, topology=Topology(required="rack")), {"gpus": 1}),
        (job("racks", 12, {"vcore": 4}, topology=Topology(required="rack")), None),
    ],
)
def test_the_cheapest_that_suffices_by_price_and_number_is_taken(job, counts):
    scheduler = cluster(SMALL, LARGE, GPUS, jobs=[job])
    made = scheduler.step(0)
    assert added(made) == (counts or {})
    assert bool(counts) is not any(isinstance(each, Reject) for each in made)


def test_large_nodes_are_taken_where_many_small_jobs_fill_them():
    scheduler = cluster(SMALL, LARGE, jobs=[job(f"j{number}") for number in range(9)])
    assert added(scheduler.step(0)) == {"large": 2, "small": 1}


def test_several_pools_serve_one_gang_where_none_does_alone():
    ask = Job("g", user="ana", task_groups=(TaskGroup("w", 4, {GPU: 4}), TaskGroup("ps", 2, {"vcore": 12})))
    scheduler = cluster(SMALL, LARGE, GPUS, jobs=[ask])
    assert added(scheduler.step(0)) == {"gpus": 4, "large": 2}


@pytest.mark.parametrize("policy", ["binpacking", "fair"])
def test_no_more_nodes_than_are_needed_whatever_policy_chooses_among_them(policy):
    scheduler = Scheduler(default(), policy, autoscale=Autoscale((Pool("p", {"vcore": 8}, 30),)))
    scheduler.apply([JobSubmitted(job("g", 15, {"vcore": 2}))], 0)
    assert added(scheduler.step(0)) == {"p": 4}


def test_room_that_is_free_counts():
    scheduler = cluster(SMALL, nodes=[Node("n", {"vcore": 12})], jobs=[job("g", 5)])
    assert added(scheduler.step(0)) == {"small": 2}


def test_what_is_starting_is_not_asked_for_twice():
    scheduler = cluster(SMALL, jobs=[job("g", 3)])
    assert added(scheduler.step(0)) == {"small": 3}
    assert not scales(scheduler.step(10))
    come(scheduler, SMALL, 2, 100)
    assert not scales(scheduler.step(100))
    scheduler.apply([JobSubmitted(job("h", 1))], 101)
    made = scheduler.step(101)
    assert bound(made) == ["h"]
    assert added(made) == {"small": 1}
    come(scheduler, SMALL, 2, 110, first=2)
    made = scheduler.step(110)
    assert bound(made) == ["g"]
    assert not scales(made)


def test_whoever_is_over_a_maximum_causes_no_nodes():
    config = load("""
partitions:
- name: default
  queues:
  - name: root
    submitacl: "*"
    queues:
    - name: a
      resources: {max: {vcore: 12}}
    - name: b
      limits:
      - {limit: each, users: ["*"], maxresources: {vcore: 8}}
""")
    jobs = [job(f"a{number}", 1, queue="root.a") for number in range(6)]
    jobs += [job(f"b{number}", 1, queue="root.b", user="eva") for number in range(6)]
    scheduler = cluster(SMALL, config=config, jobs=jobs)
    assert added(scheduler.step(0)) == {"small": 5}
    come(scheduler, SMALL, 5, 100)
    assert len([each for each in scheduler.step(100) if isinstance(each, Bind)]) == 5
    assert not scales(scheduler.step(200))


def test_taints_selectors_and_affinity_are_honoured():
    tainted = Pool("tainted", {"vcore": 4}, 9, price=0.1, taints=(Taint("k"),), labels={"zone": "a"})
    plain = Pool("plain", {"vcore": 4}, 9, price=1.0, labels={"zone": "a"})
    other = Pool("other", {"vcore": 4}, 9, price=2.0, labels={"zone": "b"})
    away = Affinity((("app", "x"),), "zone", anti=True)
    assert added(cluster(tainted, plain, jobs=[job("j")]).step(0)) == {"plain": 1}
    assert added(cluster(tainted, plain, jobs=[job("j", tolerations=(Toleration("k"),))]).step(0)) == {"tainted": 1}
    assert added(cluster(plain, other, jobs=[job("j", node_selector={"zone": "b"})]).step(0)) == {"other": 1}
    near = [Node("n", {"vcore": 4}, {"zone": "a"})]
    jobs = [job("x", labels={"app": "x"}), job("y", affinity=(away,))]
    assert added(cluster(plain, other, nodes=near, jobs=jobs).step(0)) == {"other": 1}


def test_members_beyond_the_minimum_cause_nodes_too():
    scheduler = cluster(SMALL, jobs=[job("e", 1, max_member=3)])
    assert added(scheduler.step(0)) == {"small": 1}
    come(scheduler, SMALL, 1, 100)
    assert added(scheduler.step(100)) == {"small": 2}


def test_a_pool_is_brought_to_its_minimum_and_kept_there():
    scheduler = cluster(Pool("p", {"vcore": 4}, 5, min_nodes=2))
    assert added(scheduler.step(0)) == {"p": 2}
    come(scheduler, Pool("p", {"vcore": 4}, 5), 2, 50)
    assert not scales(scheduler.step(50))
    assert not scales(scheduler.step(1000))


# -- what does not come ------------------------------------------------------------------------------------------------


def test_what_does_not_come_in_time_is_given_up_and_another_pool_is_tried():
    cheap = Pool("cheap", {"vcore": 4}, 9, start_seconds=100.0)
    scheduler = cluster(cheap, Pool("dear", {"vcore": 4}, 9, price=5.0), jobs=[job("g", 2)])
    assert added(scheduler.step(0)) == {"cheap": 2}
    assert scheduler.autoscaler.due == 300
    assert not scales(scheduler.step(299))
    assert added(scheduler.step(300)) == {"dear": 2}
    assert "'cheap': 2 nodes that were asked for are given up, they did not come within 300 s" in scheduler.notices[0]


def test_what_does_not_come_is_asked_for_again_where_there_is_no_other_pool():
    scheduler = cluster(SMALL, jobs=[job("g", 2)])
    scheduler.step(0)
    assert added(scheduler.step(360)) == {"small": 2}


def test_a_driver_that_cannot_get_nodes_says_so_and_the_next_pool_is_tried_at_once():
    scheduler = cluster(SMALL, LARGE, jobs=[job("one")])
    assert added(scheduler.step(0)) == {"small": 1}
    scheduler.apply([PoolStarting("small", 0, "there is no capacity in the zone")], 5)
    assert added(scheduler.step(5)) == {"large": 1}
    assert "there is no capacity in the zone" in scheduler.notices[0]


def test_after_a_restart_the_driver_tells_what_is_on_its_way():
    scheduler = cluster(SMALL)
    scheduler.apply([PoolStarting("small", 3), JobSubmitted(job("g", 4))], 0)
    assert added(scheduler.step(0)) == {"small": 1}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (PoolStarting("smal", 1), "there is no pool 'smal'; did you mean 'small'?"),
        (PoolStarting("small", -1), "pool 'small' has -1 nodes on their way"),
    ],
)
def test_an_event_that_cannot_be_is_told(event, message):
    scheduler = cluster(SMALL)
    scheduler.apply([event], 0)
    assert message in scheduler.notices[0]
    alone = Scheduler(default())
    alone.apply([PoolStarting("small", 1)], 0)
    assert "this scheduler has none" in alone.notices[0]


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (Node("n", {"vcore": 3}, {"zone": "a"}, pool="p"), "counts as vcore=3"),
        (Node("n", {"vcore": 4}, pool="p"), "with the labels {}"),
        (Node("n", {"vcore": 4}, {"zone": "a"}, (Taint("surprise"),), "p"), "the taints ['surprise']"),
    ],
)
def test_nodes_that_are_less_than_was_declared_are_not_asked_for_again_and_again(node, said):
    pool = Pool("p", {"vcore": 4}, 10, labels={"zone": "a"})
    scheduler = cluster(pool, jobs=[job("j", node_selector={"zone": "a"})])
    assert added(scheduler.step(0)) == {"p": 1}
    scheduler.apply([NodeAdded(node)], 100)
    for now in range(100, 700, 100):
        assert not added(scheduler.step(now))
    (notice,) = scheduler.notices
    assert said in notice
    scheduler.apply([JobSubmitted(job("k", node_selector={"zone": "a"}))], 700)
    assert [each.job for each in scheduler.step(700) if isinstance(each, Reject)] == ["k"]


def test_nodes_that_have_more_than_was_declared_change_nothing():
    scheduler = cluster(SMALL, jobs=[job("g", 3)])
    scheduler.step(0)
    scheduler.apply([NodeAdded(Node("n", {"vcore": 4, "memory": "1Gi"}, {"host": "n"}, pool="small"))], 100)
    assert not scheduler.notices
    assert not added(scheduler.step(100))


# -- down --------------------------------------------------------------------------------------------------------------


def test_idle_nodes_go_at_once_and_together_but_never_below_the_minimum():
    pool = Pool("p", {"vcore": 4}, 20, min_nodes=3)
    scheduler = cluster(pool, nodes=[*(pool.node(f"n{number}") for number in range(8)), Node("other", {"vcore": 4})])
    scheduler.step(0)
    assert not removed(scheduler.step(99))
    assert removed(scheduler.step(100)) == ["n0", "n1", "n2", "n3"]
    scheduler.apply([NodeRemoved(f"n{number}") for number in range(4)], 101)
    assert removed(scheduler.step(700)) == ["n4"]
    scheduler.apply([NodeRemoved("n4")], 701)
    assert not removed(scheduler.step(5000))


def test_a_node_with_a_member_stays_and_its_idle_time_begins_anew():
    scheduler = cluster(SMALL, nodes=[SMALL.node("n0"), SMALL.node("n1")])
    scheduler.step(0)
    scheduler.apply([JobSubmitted(job("j"))], 50)
    scheduler.step(50)
    assert removed(scheduler.step(100)) == ["n1"]
    scheduler.apply([JobFinished("j"), NodeRemoved("n1")], 700)
    assert not scales(scheduler.step(700))
    assert not scales(scheduler.step(799))
    assert removed(scheduler.step(800)) == ["n0"]


def test_a_node_that_is_to_go_takes_nothing_new_and_opens_again_if_it_stays():
    scheduler = cluster(SMALL, nodes=[SMALL.node("n0")])
    scheduler.step(0)
    assert removed(scheduler.step(100)) == ["n0"]
    scheduler.apply([JobSubmitted(job("j")), NodeChanged(replace(SMALL.node("n0"), labels={"more": "1"}))], 101)
    assert added(scheduler.step(101)) == {"small": 1}
    assert scheduler.nodes.named["n0"].closed == "it is to be removed"
    assert bound(scheduler.step(700)) == ["j"]
    assert any("is still there: it is used again" in notice for notice in scheduler.notices)


def test_a_node_that_somebody_has_cordoned_does_not_go():
    scheduler = cluster(SMALL, nodes=[replace(SMALL.node("n0"), schedulable=False), SMALL.node("n1")])
    scheduler.step(0)
    assert removed(scheduler.step(100)) == ["n1"]
    scheduler.apply([NodeRemoved("n1"), NodeChanged(SMALL.node("n0"))], 1000)
    scheduler.step(1000)
    assert removed(scheduler.step(1100)) == ["n0"]


def test_nothing_goes_soon_after_something_came():
    scheduler = cluster(SMALL, nodes=[SMALL.node("n9")], cooldown_seconds=500.0, jobs=[job("g", 2)])
    assert added(scheduler.step(0)) == {"small": 1}
    come(scheduler, SMALL, 1, 50)
    scheduler.step(50)
    scheduler.apply([JobFinished("g")], 60)
    scheduler.step(60)
    assert scheduler.autoscaler.due == 550
    assert not scales(scheduler.step(549))
    assert removed(scheduler.step(550))


def test_more_than_half_of_the_nodes_never_go_within_a_window_and_it_is_said():
    scheduler = cluster(SMALL, nodes=[SMALL.node(f"n{number}") for number in range(9)])
    scheduler.step(0)
    first = removed(scheduler.step(100))
    assert len(first) == 4
    assert scheduler.notices == [
        "a plan to remove 9 of 9 nodes within 600 s is refused: at most 4 go; raise largest_removal where so many are "
        "meant to"
    ]
    scheduler.apply([NodeRemoved(name) for name in first], 110)
    assert scheduler.autoscaler.due == 700 or scheduler.step(110) == []
    assert not removed(scheduler.step(699))
    assert len(removed(scheduler.step(700))) == 2
    assert len(scheduler.notices) == 1


def test_where_it_is_meant_to_all_idle_nodes_go_at_once():
    scheduler = cluster(SMALL, nodes=[SMALL.node(f"n{number}") for number in range(9)], largest_removal=1.0)
    scheduler.step(0)
    assert len(removed(scheduler.step(100))) == 9
    assert not scheduler.notices


def test_an_empty_node_stays_that_a_waiting_gang_could_use():
    scheduler = cluster(SMALL, nodes=[SMALL.node(f"n{number}") for number in range(10)], largest_removal=1.0)
    scheduler.apply([JobSubmitted(job("long", 3))], 0)
    scheduler.step(0)
    scheduler.apply([JobSubmitted(job("g", 9))], 10)
    scheduler.step(10)
    assert not scales(scheduler.step(1000))
    scheduler.apply([JobFinished("g")], 1001)
    assert len(removed(scheduler.step(1001))) == 7


def test_room_that_is_reserved_stays():
    scheduler = Scheduler(
        default(), backfill="easy", autoscale=Autoscale((SMALL,), 0.0, 100.0, 0.0, largest_removal=1.0)
    )
    scheduler.apply([NodeAdded(SMALL.node(f"n{number}")) for number in range(10)], 0)
    scheduler.apply([JobSubmitted(job("a", 6, runtime_estimate=5000.0)), JobSubmitted(job("b", 8))], 0)
    scheduler.step(0)
    assert scheduler.backfill.holding
    assert not scales(scheduler.step(1000))


# -- headroom ----------------------------------------------------------------------------------------------------------

WARM = Pool("warm", {"vcore": 4}, 10, headroom=Headroom(3, {"vcore": 2}))


def test_headroom_is_kept_free_and_asked_for_anew_when_somebody_takes_it():
    scheduler = cluster(WARM)
    assert added(scheduler.step(0)) == {"warm": 2}
    assert not scales(scheduler.step(1))
    come(scheduler, WARM, 2, 50)
    assert not scales(scheduler.step(50))
    scheduler.apply([JobSubmitted(job("j"))], 60)
    made = scheduler.step(60)
    assert bound(made) == ["j"]
    assert added(made) == {"warm": 1}


def test_headroom_does_not_go_however_long_it_is_idle():
    scheduler = cluster(WARM, nodes=[WARM.node(f"n{number}") for number in range(4)], largest_removal=1.0)
    scheduler.step(0)
    assert removed(scheduler.step(100)) == ["n0", "n1"]
    scheduler.apply([NodeRemoved("n0"), NodeRemoved("n1")], 101)
    assert not removed(scheduler.step(5000))


def test_headroom_never_exceeds_what_a_pool_may_have():
    scheduler = cluster(Pool("warm", {"vcore": 4}, 1, headroom=Headroom(30, {"vcore": 2})))
    assert added(scheduler.step(0)) == {"warm": 1}
    assert not scales(scheduler.step(1))


# -- what is asked, and configured -------------------------------------------------------------------------------------


def test_consolidation_counts_with_the_prices_of_the_pools():
    dear = Pool("dear", {"vcore": 4}, 4, price=100.0)
    scheduler = cluster(SMALL, dear, nodes=[SMALL.node("cheap"), dear.node("costly")])
    small = [job("a", 1, {"vcore": 1}), job("b", 1, {"vcore": 1})]
    scheduler.apply([Restored(small[0], (("a/w/0", "cheap"),)), Restored(small[1], (("b/w/0", "costly"),))], 0)
    assert scheduler.plan_consolidation(min_gain_node_hours=100).freed == ("costly",)
    assert not scheduler.plan_consolidation(min_gain_node_hours=100, prices={}).freed


def test_explain_says_what_is_on_its_way():
    scheduler = cluster(SMALL, jobs=[job("g", 4)])
    scheduler.step(0)
    assert scheduler.explain("g").text.endswith("there are none; 4 of small are on their way")


def test_what_if_knows_a_pool_that_has_no_node_yet():
    scheduler = cluster(SMALL, Pool("zero", {"vcore": 64}, 3), jobs=[job("g", 4)])
    scheduler.step(0)
    assert scheduler.what_if([AddNodes(1, pool="zero")]).estimate("g").nodes == ("whatif-0-0",)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (Pool("", {"vcore": 1}, 1), "a pool has no name"),
        (Pool("p", {}, 1), "has no capacity"),
        (Pool("p", {"vcore": 1}, 0), "allow at least one node"),
        (Pool("p", {"vcore": 1}, 2, min_nodes=3), "no fewer than the minimum"),
        (Pool("p", {"vcore": 1}, 2, price=-1.0), "has price -1.0: write a number from 0"),
        (Pool("p", {"vcore": 1}, 2, start_seconds=float("nan")), "has start_seconds nan"),
        (Pool("p", {"vcore": 1}, 2, headroom=Headroom(0, {"vcore": 1})), "keep at least 1 free"),
        (Pool("p", {"vcore": 1}, 2, headroom=Headroom(1, {"vcore": 2})), "fits on one node"),
        (Pool("p", {"cpu": 1}, 2), "write 'vcore'"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(pool, message):
    with pytest.raises(UsageError, match=message):
        cluster(pool)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"pools": ()}, "has no pool"),
        ({"pools": (SMALL, SMALL)}, "stands twice"),
        ({"patience": 0.5}, "patience 0.5"),
        ({"largest_removal": 0.0}, "largest_removal 0.0"),
        ({"idle_seconds": float("inf")}, "idle_seconds inf"),
    ],
)
def test_an_autoscaling_that_cannot_be_is_refused(more, message):
    with pytest.raises(UsageError, match=message):
        Scheduler(default(), autoscale=Autoscale(**{"pools": (SMALL,)} | more))


def test_between_two_looks_nothing_is_decided_and_it_says_when_the_next_is():
    scheduler = cluster(SMALL, interval=10.0)
    scheduler.step(0)
    scheduler.apply([JobSubmitted(job("j"))], 3)
    assert not scales(scheduler.step(3))
    assert scheduler.autoscaler.due == 10
    assert added(scheduler.step(10)) == {"small": 1}


# -- properties --------------------------------------------------------------------------------------------------------

POOLS = (
    Pool("a", {"vcore": 4}, 6, min_nodes=1, price=1.0, start_seconds=20.0, labels={"rack": "r1"}),
    Pool("b", {"vcore": 16, GPU: 4}, 3, price=4.0, start_seconds=60.0),
    Pool("c", {"vcore": 8}, 4, price=1.5, start_seconds=30.0, headroom=Headroom(2, {"vcore": 2})),
)
asks = st.builds(
    lambda members, resources, extra: (members, resources, extra),
    st.sampled_from([1, 1, 1, 2, 4, 7, 12]),
    st.sampled_from([{"vcore": 1}, {"vcore": 3}, {"vcore": 6}, {GPU: 1}, {"vcore": 2, GPU: 2}]),
    st.sampled_from([{}, {}, {"anti_affinity": "node"}, {"topology": Topology(required="rack")}]),
)
happenings = st.lists(
    st.tuples(
        st.sampled_from(["submit", "submit", "end", "wait", "wait", "lose", "deny"]), asks, st.integers(0, 30),
        st.sampled_from([1, 10, 40, 200]),
    ),
    max_size=25,
)  # fmt: skip


class Provider:
    """Brings what is asked for when its time has come, and takes away what is to go, unless it is told to fail."""

    def __init__(self, policy="binpacking", backfill=None):
        self.scheduler = Scheduler(
            default(), policy, backfill, autoscale=Autoscale(POOLS, 5.0, 60.0, 30.0, removal_window=120.0)
        )
        self.now, self.coming, self.count, self.gone = 0.0, [], 0, []
        self.pools = {pool.name: pool for pool in POOLS}

    def turn(self, happened):
        scheduler = self.scheduler
        arrived = [each for each in self.coming if each[0] <= self.now]
        self.coming = [each for each in self.coming if each[0] > self.now]
        for _, pool in arrived:
            self.count += 1
            happened.append(NodeAdded(self.pools[pool].node(f"{pool}-{self.count}")))
        scheduler.apply(happened, self.now)
        made = scheduler.step(self.now)
        total, removing = len(scheduler.nodes.named), 0
        for each in scales(made):
            pool = self.pools[each.pool]
            there = sum(state.node.pool == pool.name for state in scheduler.nodes.named.values())
            starting = sum(name == pool.name for _, name in self.coming)
            assert not (each.add and each.remove)
            assert there + starting + each.add <= pool.max_nodes
            if each.remove:
                assert there - len(each.remove) >= pool.min_nodes
                for name in each.remove:
                    assert not scheduler.nodes.named[name].held
                    assert scheduler.nodes.named[name].closed
            self.coming += [(self.now + pool.start_seconds, pool.name)] * each.add
            removing += len(each.remove)
        self.gone = [(at, many) for at, many in self.gone if at + 120.0 > self.now]
        before = sum(many for _, many in self.gone)
        assert not removing or removing + before <= max((total + before) // 2, 1)
        if removing:
            self.gone.append((self.now, removing))
        names = [name for each in scales(made) for name in each.remove]
        scheduler.apply([NodeRemoved(name) for name in names], self.now)
        check(scheduler)
        never_over(scheduler)
        return made


@settings(max_examples=60, deadline=None)
@given(happenings, st.sampled_from(["binpacking", "fair"]), st.sampled_from([None, "easy"]))
def test_pools_stay_within_their_bounds_and_no_node_goes_with_a_member_and_at_most_half(drawn, policy, backfill):
    provider = Provider(policy, backfill)
    scheduler = provider.scheduler
    for number, (kind, (members, resources, extra), which, span) in enumerate(drawn):
        happened = []
        running = sorted(scheduler.apps)
        if kind == "submit":
            happened.append(JobSubmitted(job(f"j{number}", members, resources, runtime_estimate=50.0, **extra)))
        elif kind == "end" and running:
            happened.append(JobFinished(running[which % len(running)]))
        elif kind == "lose" and scheduler.nodes.named:
            happened.append(NodeRemoved(sorted(scheduler.nodes.named)[which % len(scheduler.nodes.named)]))
        elif kind == "deny" and provider.coming:
            pool = provider.coming[which % len(provider.coming)][1]
            provider.coming = [each for each in provider.coming if each[1] != pool]
            happened.append(PoolStarting(pool, 0, "denied"))
        provider.turn(happened)
        provider.now += span


@settings(max_examples=60, deadline=None)
@given(st.lists(asks, min_size=1, max_size=6), st.sampled_from(["binpacking", "fair"]))
def test_what_is_added_lets_whole_gangs_start_and_nobody_is_left_whom_the_pools_could_serve(drawn, policy):
    provider = Provider(policy)
    jobs = [job(f"j{number}", members, resources, **extra) for number, (members, resources, extra) in enumerate(drawn)]
    provider.turn([JobSubmitted(each) for each in jobs])
    for _ in range(30):
        provider.now += 20
        provider.turn([])
    scheduler = provider.scheduler
    for app in scheduler.apps.values():
        assert len(app.held) in (0, app.job.task_groups[0].min_member)
    if not any(app.requests for app in scheduler.apps.values()):
        return
    there = {pool.name: sum(state.node.pool == pool.name for state in scheduler.nodes.named.values()) for pool in POOLS}
    waiting = next(app for app in scheduler.apps.values() if app.requests)
    more = [AddNodes(pool.max_nodes - there[pool.name], pool=pool.name) for pool in POOLS]
    question = scheduler.what_if([each for each in more if each.n > 0])
    assert question.explain(waiting.id).state != "Running"


groups = st.lists(
    st.tuples(
        st.integers(1, 9), st.sampled_from([{"vcore": 1}, {"vcore": 3}, {"vcore": 7}, {GPU: 1}, {GPU: 3, "vcore": 2}]),
        st.sampled_from(["", "", "node"]), st.sampled_from(["", "", "rack"]),
    ),
    min_size=1, max_size=3,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(groups, st.sampled_from(["binpacking", "fair"]), st.integers(0, 3))
def test_a_gang_gets_nodes_on_which_all_of_it_starts_and_of_no_pool_one_more(drawn, policy, there):
    ask = Job("g", user="ana", task_groups=tuple(
        TaskGroup(f"t{number}", members, resources, anti_affinity=apart, topology=Topology(required=level))
        for number, (members, resources, apart, level) in enumerate(drawn)
    ))  # fmt: skip
    pools = tuple(replace(pool, min_nodes=0, headroom=None) for pool in POOLS)
    scheduler = Scheduler(default(), policy, autoscale=Autoscale(pools))
    scheduler.apply([*(NodeAdded(pools[0].node(f"old{number}")) for number in range(there)), JobSubmitted(ask)], 0)
    made = scheduler.step(0)
    counts = added(made)
    assert not counts or not bound(made)
    if not counts:
        return
    by_name = {pool.name: pool for pool in pools}

    def starts(counts):
        more = [AddNodes(count, pool=pool) for pool, count in counts.items() if count]
        other = Scheduler(default(), policy, autoscale=Autoscale(pools))
        nodes = [
            NodeAdded(by_name[each.pool].node(f"{each.pool}{number}")) for each in more for number in range(each.n)
        ]
        old = [NodeAdded(pools[0].node(f"old{number}")) for number in range(there)]
        other.apply([*old, *nodes, JobSubmitted(ask)], 0)
        return bool(bound(other.step(0)))

    assert starts(counts)
    for pool in counts:
        assert not starts({**counts, pool: counts[pool] - 1})


def bursts():
    """Three bursts of gangs of 4 nodes, an hour and a half apart, and a trickle of small jobs between them."""
    arrivals, number = [], 0
    for burst in range(3):
        for _ in range(8):
            arrivals.append(Arrival(burst * 5400.0, 900.0, job(f"g{number}", 4, {"vcore": 4})))
            number += 1
    for minute in range(0, 270, 6):
        arrivals.append(Arrival(minute * 60.0, 240.0, job(f"s{minute}", 1, {"vcore": 2})))
    return Trace(tuple(sorted(arrivals, key=lambda each: each.submit)))


def test_a_bursty_trace_costs_fewer_node_hours_than_the_full_cluster_and_everything_finishes_without_flapping():
    pool = Pool("p", {"vcore": 4}, 40, min_nodes=1, price=2.5, start_seconds=120.0)
    record = []
    scaled = simulate(
        bursts(), default(), autoscale=Autoscale((pool,)), record=lambda now, told: record.append((now, told))
    )
    fixed = simulate(bursts(), default(), [pool.node(f"n{number}") for number in range(40)])
    assert scaled.finished == fixed.finished == scaled.submitted == 69
    assert scaled.node_hours < fixed.node_hours / 2
    assert scaled.cost == pytest.approx(2.5 * scaled.node_hours)
    assert set(scaled.pool_hours) == {"p"}
    assert fixed.cost == pytest.approx(fixed.node_hours)
    assert scaled.wait.max <= 600
    turns, last = 0, None
    for _, told in record:
        for event in told:
            kind = type(event)
            if kind in (NodeAdded, NodeRemoved) and kind is not last:
                turns, last = turns + 1, kind
    assert turns <= 2 * 3 + 1


def test_a_live_scheduler_that_is_told_the_same_decides_the_same():
    record = []
    report = simulate(
        bursts(), default(), autoscale=Autoscale(POOLS), record=lambda now, told: record.append((now, list(told)))
    )
    live = Scheduler(default(), autoscale=Autoscale(POOLS))
    for now, told in record:
        live.apply(told, now)
        live.step(now)
    assert live.digest == report.digest
    prices = {pool.name: pool.price for pool in POOLS}
    assert report.cost == pytest.approx(sum(hours * prices[pool] for pool, hours in report.pool_hours.items()))


def test_both_backings_decide_alike():
    pytest.importorskip("numpy")
    first, second = (
        simulate(bursts(), default(), autoscale=Autoscale(POOLS), backing=backing).digest
        for backing in ("lists", "numpy")
    )
    assert first == second


def test_a_gap_of_work_shorter_than_the_idle_time_costs_no_node_its_place():
    pool = Pool("p", {"vcore": 4}, 4, start_seconds=60.0)
    arrivals = tuple(Arrival(number * 800.0, 400.0, job(f"j{number}", 4)) for number in range(6))
    record = []
    simulate(Trace(arrivals), default(), autoscale=Autoscale((pool,)), record=lambda now, told: record.extend(told))
    assert sum(isinstance(event, NodeAdded) for event in record) == 4


def test_the_same_happenings_lead_to_the_same_decisions_under_any_hash_seed():
    program = (
        "from cluster.test_autoscale import POOLS, bursts\n"
        "from clearance.cluster.config import default\n"
        "from clearance.cluster.pools import Autoscale\n"
        "from clearance.cluster.simulate import simulate\n"
        "print(simulate(bursts(), default(), autoscale=Autoscale(POOLS)).digest)\n"
    )
    path = os.pathsep.join(["tests", *sys.path])
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True, check=True, text=True,
        ).stdout
        for seed in ("0", "1", "77")
    }  # fmt: skip
    assert len(digests) == 1
    assert digests.pop().strip()
