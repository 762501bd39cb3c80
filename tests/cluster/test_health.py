"""Signals make nodes suspect; they are tested, cordoned or drained, and come back on probation, few at a time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from clearance.cluster.condition import (
    ATTEMPT,
    GPU_ERROR,
    HEARTBEAT,
    INOTIFY,
    IP_POOL,
    NEIGHBOURS,
    PREFLIGHT,
    Action,
    Condition,
    FailureRule,
    HealthPolicy,
    HealthRule,
    Preflight,
)
from clearance.cluster.config import default
from clearance.cluster.decision import Bind, Cordon, Drain, Scale
from clearance.cluster.event import (
    JobFinished,
    JobSubmitted,
    MemberEvicted,
    NodeAdded,
    NodeChanged,
    NodeRemoved,
    NodeReturned,
    NodeSignal,
    Restored,
)  # fmt: skip
from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.node import Node, Taint
from clearance.cluster.pools import Autoscale, Pool
from clearance.cluster.scheduler import Scheduler
from clearance.errors import UsageError
from cluster.invariants import check, never_over

TESTED = HealthPolicy(preflight=Preflight({"vcore": 2}, new=False), most_out=9)
NEW = HealthPolicy(preflight=Preflight({"vcore": 2}), most_out=9)


def cluster(policy=None, nodes=4, **more):
    scheduler = Scheduler(default(), health=policy or HealthPolicy(most_out=9), **more)
    scheduler.apply([NodeAdded(Node(f"n{number}", {"vcore": 4})) for number in range(nodes)], 0)
    return scheduler


def job(id, vcore=4, members=1, **more):
    return Job(id, user="ana", task_groups=(TaskGroup("w", members, {"vcore": vcore}),), **more)


def tell(scheduler, node, kind, value, now, times=1):
    scheduler.apply([NodeSignal(node, kind, value, now)] * times, now)
    return scheduler.step(now)


def condition(scheduler, node):
    return scheduler.nodes.named[node].condition


def of(made, kind):
    return [each for each in made if isinstance(each, kind)]


def bound(made):
    return {member.id: member.node for each in of(made, Bind) for member in each.members}


# -- what signals lead to ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "times", "expected"),
    [
        (GPU_ERROR, 79, 1, Condition.DRAINED),
        (GPU_ERROR, 48, 1, Condition.DRAINED),
        (GPU_ERROR, 31, 9, Condition.HEALTHY),
        (HEARTBEAT, 59, 9, Condition.HEALTHY),
        (HEARTBEAT, 60, 1, Condition.CORDONED),
        (HEARTBEAT, 300, 1, Condition.DRAINED),
        (NEIGHBOURS, 0.95, 1, Condition.HEALTHY),
        (NEIGHBOURS, 0.95, 2, Condition.CORDONED),
        (IP_POOL, 0.01, 2, Condition.CORDONED),
        (IP_POOL, 0.5, 9, Condition.HEALTHY),
        (INOTIFY, 0.0, 2, Condition.CORDONED),
    ],
)
def test_the_built_in_rules_say_what_is_done(kind, value, times, expected):
    scheduler = cluster()
    tell(scheduler, "n1", kind, value, 10, times)
    scheduler.step(11)
    assert condition(scheduler, "n1") == expected
    assert condition(scheduler, "n0") == Condition.HEALTHY


def test_a_drained_node_takes_nothing_and_loses_what_it_has():
    scheduler = cluster(nodes=2)
    scheduler.apply([JobSubmitted(job("a")), JobSubmitted(job("b"))], 0)
    where = bound(scheduler.step(0))
    made = tell(scheduler, where["a/w/0"], GPU_ERROR, 79, 10)
    (drain,) = of(made, Drain)
    assert (drain.node, drain.reason) == (where["a/w/0"], "gpu_error is 79")
    assert condition(scheduler, drain.node) == Condition.DRAINING
    scheduler.apply([MemberEvicted("a/w/0")], 20)
    assert not of(scheduler.step(20), Bind)
    scheduler.step(21)
    assert condition(scheduler, drain.node) == Condition.DRAINED
    scheduler.apply([JobFinished("b")], 30)
    assert bound(scheduler.step(30)) == {"a/w/0": where["b/w/0"]}


def test_a_cordoned_node_keeps_what_it_has_and_opens_when_nothing_bad_is_said():
    scheduler = cluster(nodes=1)
    scheduler.apply([JobSubmitted(job("a", 2))], 0)
    scheduler.step(0)
    made = tell(scheduler, "n0", HEARTBEAT, 90, 10)
    assert [(each.node, each.lifted) for each in of(made, Cordon)] == [("n0", False)]
    scheduler.apply([JobSubmitted(job("b", 2))], 20)
    assert not bound(scheduler.step(20))
    assert scheduler.nodes.named["n0"].closed == "it is cordoned: heartbeat_age is 90"
    scheduler.step(1000)
    assert condition(scheduler, "n0") == Condition.CORDONED, "its last reading is still bad"
    made = tell(scheduler, "n0", HEARTBEAT, 1, 1010)
    assert [(each.node, each.lifted) for each in of(made, Cordon)] == [("n0", True)]
    assert bound(made) == {"b/w/0": "n0"}
    assert condition(scheduler, "n0") == Condition.PROBATION


def test_it_says_when_it_is_to_be_asked_again():
    scheduler = cluster()
    assert scheduler.health.due == float("inf")
    tell(scheduler, "n0", HEARTBEAT, 90, 10)
    assert scheduler.health.due == float("inf"), "its last reading is bad"
    tell(scheduler, "n0", HEARTBEAT, 1, 20)
    assert scheduler.health.due == 310
    scheduler.step(310)
    assert scheduler.health.due == 310 + 3600


def test_a_worse_signal_drains_a_cordoned_node():
    scheduler = cluster()
    tell(scheduler, "n0", HEARTBEAT, 90, 10)
    assert [each.node for each in of(tell(scheduler, "n0", HEARTBEAT, 400, 20), Drain)] == ["n0"]


def test_signals_older_than_the_window_do_not_count_and_those_of_the_future_count_as_now():
    scheduler = cluster()
    scheduler.apply([NodeSignal("n0", GPU_ERROR, 79, 0)], 10_000)
    scheduler.step(10_000)
    assert condition(scheduler, "n0") == Condition.HEALTHY
    tell(scheduler, "n0", NEIGHBOURS, 0.95, 10_000)
    tell(scheduler, "n0", NEIGHBOURS, 0.95, 10_700)
    assert condition(scheduler, "n0") == Condition.HEALTHY
    scheduler.apply([NodeSignal("n0", GPU_ERROR, 79, 99_999)], 10_800)
    scheduler.step(10_800)
    assert scheduler.nodes.named["n0"].condition == Condition.DRAINING


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (NodeSignal("n9", GPU_ERROR, 79, 0), "there is no node 'n9'"),
        (NodeSignal("n0", "gpu_eror", 79, 0), "there is no signal 'gpu_eror'; did you mean 'gpu_error'?"),
        (NodeSignal("n0", HEARTBEAT, float("nan"), 0), "tell finite numbers"),
        (NodeReturned("n0"), "node 'n0' is healthy: only one that is closed can return"),
        (NodeReturned("n9"), "there is no node 'n9'"),
    ],
)
def test_what_cannot_be_is_told_and_changes_nothing(event, message):
    scheduler = cluster()
    scheduler.apply([event], 10)
    assert message in scheduler.notices[0]
    assert not scheduler.step(10)


def test_without_a_policy_signals_do_nothing():
    scheduler = Scheduler(default())
    scheduler.apply([NodeAdded(Node("n0", {"vcore": 1})), NodeSignal("n0", GPU_ERROR, 79, 0), NodeReturned("n0")], 0)
    assert not scheduler.step(0)
    assert not scheduler.notices


# -- failed attempts ---------------------------------------------------------------------------------------------------


def attempts(scheduler, results, now=10):
    """Tells of attempts, as pairs of node and whether it failed."""
    scheduler.apply([NodeSignal(node, ATTEMPT, float(failed), now) for node, failed in results], now)
    return scheduler.step(now)


def test_a_node_on_which_attempts_fail_that_succeed_elsewhere_is_suspect():
    scheduler = cluster()
    attempts(scheduler, [("n1", False)] * 40 + [("n2", False)] * 40 + [("n0", True)] * 4)
    assert condition(scheduler, "n0") == Condition.HEALTHY
    attempts(scheduler, [("n0", True)])
    assert condition(scheduler, "n0") == Condition.SUSPECT
    assert scheduler.health.explain("n0") == "it is suspect: 5 of 5 attempts failed on it, and 0 of 80 elsewhere"


def test_a_job_that_fails_everywhere_says_nothing_about_nodes():
    scheduler = cluster()
    attempts(scheduler, [(f"n{number % 4}", True) for number in range(80)])
    assert all(condition(scheduler, f"n{number}") == Condition.HEALTHY for number in range(1, 4))


def test_attempts_are_forgotten_after_their_window():
    scheduler = cluster(HealthPolicy(failures=FailureRule(window=100.0)))
    attempts(scheduler, [("n1", False)] * 10 + [("n0", True)] * 4)
    attempts(scheduler, [("n0", True)] * 4, now=200)
    assert condition(scheduler, "n0") == Condition.HEALTHY
    attempts(scheduler, [("n1", False)] * 10 + [("n0", True)], now=201)
    assert condition(scheduler, "n0") == Condition.SUSPECT


# -- preflight ---------------------------------------------------------------------------------------------------------


def test_a_new_node_takes_nothing_until_its_preflight_job_has_succeeded():
    scheduler = cluster(NEW, nodes=1)
    scheduler.apply([JobSubmitted(job("a"))], 0)
    (test,) = bound(scheduler.step(0))
    assert test == "preflight/n0/1/check/0"
    assert Taint(PREFLIGHT) in scheduler.nodes.named["n0"].node.taints
    assert "n0 is under test" in scheduler.explain("a").text
    scheduler.apply([JobFinished("preflight/n0/1")], 5)
    assert bound(scheduler.step(5)) == {"a/w/0": "n0"}
    assert condition(scheduler, "n0") == Condition.HEALTHY
    assert scheduler.nodes.named["n0"].node == Node("n0", {"vcore": 4})


def test_a_new_node_whose_preflight_fails_is_drained():
    scheduler = cluster(NEW, nodes=1)
    scheduler.step(0)
    scheduler.apply([JobFinished("preflight/n0/1", failed=True)], 5)
    assert [(each.node, each.reason) for each in of(scheduler.step(5), Drain)] == [
        ("n0", "its preflight job failed")
    ]  # fmt: skip
    scheduler.step(6)
    assert condition(scheduler, "n0") == Condition.DRAINED


def test_a_preflight_that_could_never_start_or_does_not_start_in_time_drains_the_node():
    scheduler = cluster(HealthPolicy(preflight=Preflight({"vcore": 9}, timeout=50.0), most_out=9), nodes=1)
    scheduler.step(0)
    made = scheduler.step(50)
    assert condition(scheduler, "n0") in (Condition.DRAINING, Condition.DRAINED), made


def test_a_suspect_node_is_tested_beside_its_members_and_comes_back_on_probation():
    scheduler = cluster(TESTED, nodes=2)
    scheduler.apply([JobSubmitted(job("a", 2))], 0)
    home = bound(scheduler.step(0))["a/w/0"]
    other = "n1" if home == "n0" else "n0"
    made = attempts(scheduler, [(other, False)] * 20 + [(home, True)] * 5)
    assert bound(made) == {f"preflight/{home}/1/check/0": home}
    assert condition(scheduler, home) == Condition.TESTING
    scheduler.apply([JobFinished(f"preflight/{home}/1"), JobSubmitted(job("b", 1))], 20)
    assert bound(scheduler.step(20)) == {"b/w/0": other}, "a node on probation is the last choice"
    assert condition(scheduler, home) == Condition.PROBATION
    assert "a" in scheduler.apps
    scheduler.step(20 + 3600)
    assert condition(scheduler, home) == Condition.HEALTHY
    assert not scheduler.nodes.named[home].node.taints


def test_whatever_is_said_on_probation_drains_the_node():
    scheduler = cluster()
    tell(scheduler, "n0", HEARTBEAT, 90, 10)
    tell(scheduler, "n0", HEARTBEAT, 1, 400)
    assert condition(scheduler, "n0") == Condition.PROBATION
    made = tell(scheduler, "n0", HEARTBEAT, 90, 500)
    assert [each.reason for each in of(made, Drain)] == ["heartbeat_age is 90, while on probation"]


def test_a_repaired_node_is_tested_again_and_then_on_probation():
    scheduler = cluster(TESTED)
    tell(scheduler, "n0", GPU_ERROR, 79, 10)
    scheduler.step(11)
    scheduler.step(100_000)
    assert condition(scheduler, "n0") == Condition.DRAINED
    scheduler.apply([NodeReturned("n0")], 100_001)
    assert bound(scheduler.step(100_001)) == {"preflight/n0/1/check/0": "n0"}
    scheduler.apply([JobFinished("preflight/n0/1")], 100_010)
    scheduler.step(100_010)
    assert condition(scheduler, "n0") == Condition.PROBATION


def test_a_node_that_goes_in_the_middle_of_its_test_leaves_nothing_behind():
    scheduler = cluster(NEW, nodes=1)
    scheduler.step(0)
    scheduler.apply([NodeRemoved("n0")], 5)
    scheduler.step(5)
    assert not scheduler.apps
    scheduler.apply([NodeAdded(Node("n0", {"vcore": 4}))], 6)
    assert bound(scheduler.step(6)) == {"preflight/n0/2/check/0": "n0"}


def test_a_node_that_fails_during_its_test_loses_the_test_too():
    scheduler = cluster(NEW, nodes=1)
    scheduler.step(0)
    assert of(tell(scheduler, "n0", GPU_ERROR, 79, 5), Drain)
    scheduler.apply([MemberEvicted("preflight/n0/1/check/0")], 6)
    scheduler.step(6)
    assert not scheduler.apps
    assert condition(scheduler, "n0") == Condition.DRAINED


def test_a_test_that_ran_before_a_restart_is_not_taken_for_a_new_one():
    scheduler = Scheduler(default(), health=NEW)
    before = Job("preflight/n0/1", user="clearance", task_groups=(TaskGroup("check", 1, {"vcore": 1}),))
    node = Node("n9", {"vcore": 4})
    scheduler.apply([NodeAdded(node), Restored(before, (("preflight/n0/1/check/0", "n9"),))], 0)
    scheduler.apply([JobFinished("preflight/n9/1"), NodeAdded(Node("n0", {"vcore": 4}))], 1)
    assert bound(scheduler.step(1)) == {"preflight/n0/2/check/0": "n0"}


def test_what_the_driver_tells_of_a_node_does_not_change_how_well_it_is():
    scheduler = cluster(NEW, nodes=2)
    tell(scheduler, "n1", GPU_ERROR, 79, 1)
    for event in (NodeAdded, NodeChanged):
        node = replace(scheduler.nodes.named["n0"].node, taints=(Taint("own"),), capacity={"vcore": 8})
        scheduler.apply([event(node), event(Node("n1", {"vcore": 16}))], 2)
        scheduler.step(2)
        assert {taint.key for taint in scheduler.nodes.named["n0"].node.taints} == {"own", PREFLIGHT}
        assert scheduler.nodes.named["n1"].closed


# -- the cap -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "nodes", "out"), [(1, 8, 1), ("25%", 8, 2), ("10%", 8, 1), ("100%", 8, 8), (3, 8, 3)])
def test_no_more_nodes_are_out_than_the_cap_and_the_rest_wait_in_order(most, nodes, out):
    scheduler = cluster(HealthPolicy(most_out=most), nodes=nodes)
    for number in range(nodes):
        scheduler.apply([NodeSignal(f"n{number}", GPU_ERROR, 79, number)], number)
    drained = [each.node for each in of(scheduler.step(nodes), Drain)]
    assert drained == [f"n{number}" for number in range(out)]
    if out < nodes:
        assert condition(scheduler, f"n{out}") == Condition.SUSPECT
        scheduler.apply([NodeRemoved("n0"), NodeAdded(Node("new", {"vcore": 4}))], 50)
        assert [each.node for each in of(scheduler.step(50), Drain)] == [f"n{out}"]


def test_new_nodes_under_test_do_not_keep_a_sick_node_in():
    scheduler = cluster(HealthPolicy(preflight=Preflight({"vcore": 1}), most_out=1), nodes=4)
    scheduler.step(0)
    scheduler.apply([JobFinished("preflight/n0/1")], 1)
    scheduler.step(1)
    assert [each.node for each in of(tell(scheduler, "n0", GPU_ERROR, 79, 2), Drain)] == ["n0"]


# -- with the rest of the scheduler ------------------------------------------------------------------------------------


def test_explain_says_why_nodes_are_closed():
    scheduler = cluster()
    tell(scheduler, "n0", GPU_ERROR, 79, 10)
    tell(scheduler, "n1", HEARTBEAT, 90, 10)
    scheduler.apply([JobSubmitted(job("g", 4, members=4))], 20)
    scheduler.step(20)
    text = scheduler.explain("g").text
    assert "n0: it is drained: gpu_error is 79" in text
    assert "n1: it is cordoned: heartbeat_age is 90" in text
    assert "2 closed" in text


def test_a_job_that_fits_only_nodes_under_test_is_not_refused():
    scheduler = cluster(NEW)
    scheduler.apply([JobSubmitted(job("g", 4, members=4))], 0)
    scheduler.step(0)
    assert "g" in scheduler.apps
    scheduler.apply([JobFinished(f"preflight/n{number}/{number + 1}") for number in range(4)], 9)
    assert len(bound(scheduler.step(9))) == 4


def test_nodes_under_test_count_as_coming_and_are_not_asked_for_twice():
    pool = Pool("p", {"vcore": 4}, 9)
    scheduler = Scheduler(default(), autoscale=Autoscale((pool,), 0.0), health=NEW)
    scheduler.apply([JobSubmitted(job("g", 4, members=2))], 0)
    assert [each.add for each in of(scheduler.step(0), Scale)] == [2]
    scheduler.apply([NodeAdded(pool.node("p1")), NodeAdded(pool.node("p2"))], 100)
    assert not of(scheduler.step(100), Scale)
    assert not of(scheduler.step(110), Scale)
    scheduler.apply([JobFinished("preflight/p1/1"), JobFinished("preflight/p2/2")], 120)
    assert set(bound(scheduler.step(120))) == {"g/w/0", "g/w/1"}


def test_a_sick_node_of_a_pool_is_replaced_and_goes_when_it_is_empty():
    pool = Pool("p", {"vcore": 4}, 3)
    scheduler = Scheduler(default(), autoscale=Autoscale((pool,), 0.0, 50.0, 0.0), health=HealthPolicy(most_out=9))
    scheduler.apply([NodeAdded(pool.node("p1")), JobSubmitted(job("a"))], 0)
    scheduler.step(0)
    tell(scheduler, "p1", GPU_ERROR, 79, 10)
    scheduler.apply([MemberEvicted("a/w/0")], 20)
    assert [each.add for each in of(scheduler.step(20), Scale)] == [1]
    scheduler.apply([NodeAdded(pool.node("p2"))], 100)
    made = scheduler.step(100)
    assert bound(made) == {"a/w/0": "p2"}
    assert [name for each in of(made, Scale) for name in each.remove] == ["p1"]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (HealthPolicy((HealthRule("x", Action.TEST),)), "give it a limit, or values"),
        (HealthPolicy((HealthRule("x", Action.TEST, limit=1.0, values=(1,)),)), "and not both"),
        (HealthPolicy((HealthRule("x", Action.TEST, limit=1.0, count=0),)), "count 0"),
        (HealthPolicy(failures=FailureRule(times=0.1)), "times 0.1"),
        (HealthPolicy(preflight=Preflight({"vcore": 1}, timeout=-1.0)), "timeout -1.0"),
        (HealthPolicy(most_out="a few"), "most_out 'a few'"),
        (HealthPolicy(most_out="101%"), "most_out '101%'"),
        (HealthPolicy(calm_seconds=float("nan")), "calm_seconds nan"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(policy, message):
    with pytest.raises(UsageError, match=message):
        Scheduler(default(), health=policy)


# -- properties --------------------------------------------------------------------------------------------------------

OUT = (Condition.TESTING, Condition.CORDONED, Condition.DRAINING, Condition.DRAINED)
happenings = st.lists(
    st.tuples(
        st.sampled_from(
            ["signal", "signal", "signal", "submit", "end", "pass", "fail", "evict", "return", "lose", "add"]
        ),
        st.integers(0, 7),
        st.sampled_from(
            [(GPU_ERROR, 79), (GPU_ERROR, 31), (HEARTBEAT, 90), (HEARTBEAT, 1), (NEIGHBOURS, 0.99), (ATTEMPT, 1)]
        ),
        st.sampled_from([1, 20, 400, 4000]),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(happenings, st.sampled_from([1, 2, "30%"]), st.booleans(), st.booleans())
def test_the_cap_holds_whatever_happens_and_what_is_closed_takes_nothing(drawn, most, tested, new):
    preflight = Preflight({"vcore": 1}, timeout=300.0, new=new) if tested else None
    policy = HealthPolicy(preflight=preflight, failures=FailureRule(count=2), most_out=most)
    scheduler = cluster(policy, nodes=6)
    scheduler.step(0)
    fresh, spoilt = {f"n{number}" for number in range(6)} if tested and new else set(), set()
    now, names = 0, 6
    for number, (kind, which, (signal, value), span) in enumerate(drawn):
        now += span
        named = list(scheduler.nodes.named)
        node = named[which % len(named)] if named else ""
        tests = sorted(id for id, app in scheduler.apps.items() if id.startswith("preflight/") and app.held)
        others = sorted(id for id in scheduler.apps if not id.startswith("preflight/"))
        events = []
        if kind == "signal" and node:
            events = [NodeSignal(node, signal, value, now)] * 2
        elif kind == "submit":
            events = [JobSubmitted(job(f"j{number}", 1 + which % 4))]
        elif kind == "end" and others:
            events = [JobFinished(others[which % len(others)])]
        elif kind in ("pass", "fail") and tests:
            events = [JobFinished(tests[which % len(tests)], failed=kind == "fail")]
        elif kind == "evict":
            events = [
                MemberEvicted(id) for state in scheduler.nodes.named.values()
                if state.condition == Condition.DRAINING for id in state.held
            ]  # fmt: skip
        elif kind == "return" and node and condition(scheduler, node) == Condition.DRAINED:
            events = [NodeReturned(node)]
        elif kind == "lose" and len(named) > 3:
            events = [NodeRemoved(node)]
        elif kind == "add":
            names += 1
            events = [NodeAdded(Node(f"n{names}", {"vcore": 4}))]
            fresh |= {f"n{names}"} if tested and new else set()
        was_out = taken_out(scheduler, fresh | spoilt)
        scheduler.apply(events, now)
        for each in of(scheduler.step(now), Bind):
            for member in each.members:
                state = scheduler.nodes.named[member.node]
                assert not state.closed
                assert state.condition != Condition.TESTING or each.job.startswith(f"preflight/{member.node}/")
        conditions = {name: state.condition for name, state in scheduler.nodes.named.items()}
        spoilt |= {name for name in fresh if conditions.get(name) != Condition.TESTING}
        spoilt = {name for name in spoilt if conditions.get(name) in OUT}
        fresh = {name for name in fresh if conditions.get(name) == Condition.TESTING}
        assert taken_out(scheduler, fresh | spoilt) <= max(policy.cap(len(conditions)), was_out)
        for state in scheduler.nodes.named.values():
            assert bool(state.shut) == (state.condition in (Condition.CORDONED, Condition.DRAINING, Condition.DRAINED))
        check(scheduler)
        never_over(scheduler)


def taken_out(scheduler, without):
    """How many nodes are out, but those that never were in: under their first test, or not back since it failed."""
    named = scheduler.nodes.named
    return sum(state.condition in OUT for name, state in named.items() if name not in without)
