"""Hot reload: everything that a file says takes effect, nothing that runs is ended, and nothing that waits is lost."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster.application import AppState
from clearance.cluster.config import load
from clearance.cluster.decision import Bind, Preempt, Reject
from clearance.cluster.event import (
    BindFailed,
    ConfigChanged,
    Event,
    JobFinished,
    JobSubmitted,
    MemberEvicted,
    MemberFinished,
    NodeAdded,
    NodeRemoved,
)
from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.node import Node
from clearance.cluster.scheduler import Scheduler
from cluster.invariants import check, nothing_forgotten


def config(queues, **partition):
    """These queues below the root, and these keys of the partition, both as YAML on one line."""
    keys = "".join(f"\n  {key}: {value}" for key, value in partition.items())
    return load(f"""
partitions:
- name: default{keys}
  queues:
  - name: root
    submitacl: "*"
    queues: {queues}
""")


def job(id, queue="root.a", vcore=1, members=1, **more):
    return Job(id, queue, more.pop("user", "ana"), task_groups=(TaskGroup("g", members, {"vcore": vcore}),), **more)


def started(queues="[{name: a}, {name: b}]", cores=8, backfill=None, **partition):
    scheduler = Scheduler(config(queues, **partition), backfill=backfill)
    scheduler.apply([NodeAdded(Node("n", {"vcore": cores}))], 0)
    return scheduler


def submit(scheduler, *jobs, now=1):
    scheduler.apply([JobSubmitted(each) for each in jobs], now)
    return scheduler.step(now)


def change(scheduler, queues, now=2, **partition):
    """Reloads, and returns what is decided."""
    scheduler.apply([ConfigChanged(config(queues, **partition))], now)
    assert scheduler.notices == []
    made = scheduler.step(now)
    check(scheduler)
    nothing_forgotten(scheduler)
    return made


def bound(made):
    return [each.job for each in made if isinstance(each, Bind)]


def held(scheduler):
    return {id for id, app in scheduler.apps.items() if app.held}


def test_a_raised_maximum_lets_those_start_who_wait_for_it():
    scheduler = started("[{name: a, resources: {max: {vcore: 1}}}]")
    submit(scheduler, job("j1"), job("j2"), job("j3"))
    assert bound(change(scheduler, "[{name: a, resources: {max: {vcore: 2}}}]")) == ["j2"]
    assert bound(change(scheduler, "[{name: a}]")) == ["j3"]


def test_a_lowered_maximum_ends_nobody_and_lets_nobody_start():
    scheduler = started("[{name: a}]")
    submit(scheduler, *(job(f"j{number}") for number in range(6)))
    change(scheduler, "[{name: a, resources: {max: {vcore: 4}}}]")
    assert len(held(scheduler)) == 6
    submit(scheduler, job("late"))
    scheduler.apply([JobFinished("j0"), JobFinished("j1")], 3)
    assert bound(scheduler.step(3)) == []
    scheduler.apply([JobFinished("j2")], 4)
    assert bound(scheduler.step(4)) == ["late"]


def test_a_job_that_waits_and_can_not_start_any_more_waits_on_and_says_so():
    scheduler = started("[{name: a}]", cores=4)
    submit(scheduler, job("first", members=4), job("gang", members=3))
    assert change(scheduler, "[{name: a, resources: {max: {vcore: 2}}}]") == []
    assert scheduler.explain("gang").text == "queue root.a uses vcore=4 of 2, and 3 more are asked for"
    change(scheduler, "[{name: a, resources: {max: {vcore: 4}}}]")
    scheduler.apply([JobFinished("first")], 9)
    assert bound(scheduler.step(9)) == ["gang"]


def test_a_job_that_runs_is_not_ended_where_it_may_have_no_more():
    scheduler = started("[{name: a}]", cores=8)
    elastic = Job("j", "root.a", "ana", task_groups=(TaskGroup("g", 1, {"vcore": 5}, max_member=3),))
    submit(scheduler, elastic)
    change(scheduler, "[{name: a, resources: {max: {vcore: 3}}}]")
    assert held(scheduler) == {"j"}


def test_a_removed_queue_drains_and_goes_when_it_is_empty():
    scheduler = started("[{name: a}, {name: b}]", cores=1)
    submit(scheduler, job("runs"), job("waits"))
    change(scheduler, "[{name: b}]")
    assert scheduler.tree.queues["root.a"].state == "draining"
    (made,) = submit(scheduler, job("late"))
    assert isinstance(made, Reject)
    scheduler.apply([JobFinished("runs")], 3)
    assert bound(scheduler.step(3)) == ["waits"]
    scheduler.apply([JobFinished("waits")], 4)
    assert scheduler.step(4) == []
    assert "root.a" not in scheduler.tree.queues
    assert {path: scheduler.ended[path][0] for path in ("runs", "waits")} == dict.fromkeys(
        ("runs", "waits"), AppState.COMPLETED
    )


def test_a_removed_queue_that_is_empty_goes_at_once_with_those_above_it():
    scheduler = started("[{name: a, queues: [{name: x}]}, {name: b}]")
    change(scheduler, "[{name: b}]")
    assert list(scheduler.tree.queues) == ["root", "root.b"]


def test_a_queue_that_is_declared_again_takes_jobs_again():
    scheduler = started("[{name: a}, {name: b}]")
    submit(scheduler, job("j1"))
    change(scheduler, "[{name: b}]")
    change(scheduler, "[{name: a, maxapplications: 2}, {name: b}]")
    assert scheduler.tree.queues["root.a"].state == "active"
    assert bound(submit(scheduler, job("j2"), job("j3"))) == ["j2"]


def test_a_parent_becomes_a_leaf_once_the_queues_below_it_are_empty():
    scheduler = started("[{name: a, queues: [{name: x}]}]")
    submit(scheduler, job("j1", "root.a.x"))
    change(scheduler, "[{name: a}]")
    assert [type(each) for each in submit(scheduler, job("j2"))] == [Reject]
    scheduler.apply([JobFinished("j1")], 3)
    assert bound(submit(scheduler, job("j3"), now=3)) == ["j3"]


def test_a_leaf_with_jobs_gets_no_queues_below_it_and_then_nothing_of_the_file_is_taken():
    scheduler = started("[{name: a}, {name: b}]", cores=1)
    submit(scheduler, job("j1"), job("j2"))
    scheduler.apply([ConfigChanged(config("[{name: a, queues: [{name: x}]}, {name: c}]"))], 2)
    notice = scheduler.notices.pop()
    assert "queue 'root.a' has jobs and cannot have queues below it: take it out of the file" in notice
    assert sorted(scheduler.tree.queues) == ["root", "root.a", "root.b"]
    scheduler.apply([JobFinished("j1")], 3)
    assert bound(scheduler.step(3)) == ["j2"]
    scheduler.apply([JobFinished("j2")], 4)
    change(scheduler, "[{name: a, queues: [{name: x}]}, {name: c}]")
    check(scheduler)


def test_a_file_without_the_partition_is_refused():
    scheduler = started()
    scheduler.apply([ConfigChanged(load("partitions: [{name: gpu, queues: [{name: root, submitacl: '*'}]}]"))], 1)
    assert "the configuration has no partition 'default'" in scheduler.notices[0]
    assert "root.a" in scheduler.tree.queues


def test_limits_count_what_runs_already():
    scheduler = started("[{name: a}]")
    submit(scheduler, *(job(f"j{number}") for number in range(3)), job("other", user="bo"))
    limited = "[{{name: a, limits: [{{limit: x, users: ['*'], maxresources: {{vcore: {}}}}}]}}]"
    change(scheduler, limited.format(3))
    assert bound(submit(scheduler, job("more"), job("bos", user="bo"))) == ["bos"]
    assert bound(change(scheduler, limited.format(4))) == ["more"]
    assert bound(submit(scheduler, job("again"))) == []
    assert bound(change(scheduler, "[{name: a}]")) == ["again"]


def test_a_limit_that_becomes_that_of_another_group_counts_anew():
    scheduler = started("[{name: a}]")
    of_groups = "[{{name: a, limits: [{{limit: x, groups: [{}], maxapplications: {}}}]}}]"
    change(scheduler, of_groups.format("ml", 1))
    assert bound(submit(scheduler, *(job(f"j{n}", groups=("ml", "dev")) for n in range(3)))) == ["j0"]
    assert bound(change(scheduler, of_groups.format("dev", 2))) == ["j1"]
    scheduler.apply([JobFinished("j0")], 3)
    assert bound(scheduler.step(3)) == ["j2"]
    check(scheduler)


def test_properties_hold_from_the_next_decision_on():
    scheduler = started(cores=2)
    submit(scheduler, job("full", vcore=2))
    submit(scheduler, job("low", "root.a"), job("high", "root.b", priority=1))
    change(scheduler, "[{name: a, properties: {priority.offset: '5'}}, {name: b}]")
    scheduler.apply([JobFinished("full"), JobSubmitted(job("more", "root.b", vcore=2, priority=3))], 3)
    assert bound(scheduler.step(3)) == ["low", "high"]


def test_jobs_are_sorted_anew_within_their_queue():
    scheduler = started("[{name: a}]", cores=4)
    jobs = [Job(id, "root.a", task_groups=(TaskGroup("g", 0, {"vcore": 1}, max_member=9),)) for id in ("old", "new")]
    submit(scheduler, *jobs)
    assert {id: len(app.held) for id, app in scheduler.apps.items()} == {"old": 4, "new": 0}
    change(scheduler, "[{name: a, properties: {application.sort.policy: fair}}]")
    scheduler.apply([NodeAdded(Node("m", {"vcore": 4}))], 3)
    scheduler.step(3)
    assert {id: len(app.held) for id, app in scheduler.apps.items()} == {"old": 4, "new": 4}


def test_access_and_placement_rules_are_those_of_the_new_file():
    scheduler = started("[{name: a}, {name: b}]")
    assert bound(submit(scheduler, job("j1"))) == ["j1"]
    change(scheduler, "[{name: a}, {name: b}]", placementrules="[{name: fixed, value: b}]")
    submit(scheduler, job("j2"))
    assert scheduler.apps["j2"].queue.path == "root.b"
    closed = load("partitions: [{name: default, queues: [{name: root, submitacl: bo, queues: [{name: a}]}]}]")
    scheduler.apply([ConfigChanged(closed)], 3)
    assert [type(each) for each in submit(scheduler, job("j3"), now=3)] == [Reject]


def test_what_a_rule_has_made_follows_the_queue_above_it():
    people = "[{{name: people, parent: true, childtemplate: {{resources: {{max: {{vcore: {}}}}}}}}}]"
    rules = "[{name: user, create: true, parent: {name: fixed, value: people}}]"
    scheduler = started(people.format(1), placementrules=rules)
    submit(scheduler, job("j1"), job("j2"), job("j3"))
    assert bound(change(scheduler, people.format(2), placementrules=rules)) == ["j2"]
    change(scheduler, "[{name: b}]")
    assert scheduler.tree.queues["root.people.ana"].state == "draining"
    change(scheduler, people.format(2), placementrules=rules)
    assert scheduler.tree.queues["root.people.ana"].state == "active"
    for id in ("j1", "j2", "j3"):
        scheduler.apply([JobFinished(id)], 9)
    assert "root.people.ana" not in scheduler.tree.queues


@pytest.mark.parametrize("backing", ["lists", "numpy"])
def test_nodes_are_sorted_as_the_new_file_says(backing):
    for given_to_it, last in ((None, "n1"), ("fair", "n2")):
        scheduler = Scheduler(config("[{name: a}]", nodesortpolicy="fair"), given_to_it, backing=backing)
        scheduler.apply([NodeAdded(Node(f"n{number}", {"vcore": 8})) for number in (1, 2)], 0)
        submit(scheduler, job("j1"))
        change(scheduler, "[{name: a}]", nodesortpolicy="binpacking")
        (one,) = submit(scheduler, job("j2"))
        assert one.members[0].node == last


def test_resources_that_only_the_new_file_names_are_limited():
    scheduler = started("[{name: a}]")
    change(scheduler, "[{name: a, resources: {max: {example.com/fpga: 1}}}]")
    scheduler.apply([NodeAdded(Node("f", {"vcore": 8, "example.com/fpga": 4}))], 3)
    fpga = TaskGroup("g", 1, {"example.com/fpga": 1})
    assert bound(submit(scheduler, *(Job(f"f{n}", "root.a", task_groups=(fpga,)) for n in range(2)))) == ["f0"]


@pytest.mark.parametrize("backfill", ["fifo", "easy", "sjbf", "conservative"])
def test_room_is_kept_anew(backfill):
    scheduler = started("[{name: a}, {name: b}]", cores=4, backfill=backfill)
    submit(scheduler, job("runs", vcore=3, runtime_estimate=10.0))
    submit(scheduler, job("wide", vcore=4, runtime_estimate=10.0))
    assert bound(submit(scheduler, job("long", vcore=1, runtime_estimate=99.0), now=2)) == []
    made = change(scheduler, "[{name: a, maxapplications: 1}, {name: b}]", now=3)
    assert bound(made) == []
    assert bound(submit(scheduler, job("other", "root.b", runtime_estimate=99.0), now=4)) == ["other"]


def test_a_fork_takes_a_file_without_its_origin():
    scheduler = started("[{name: a, resources: {max: {vcore: 1}}}]")
    submit(scheduler, job("j1"), job("j2"))
    digest, fork = scheduler.digest, scheduler.fork()
    assert bound(change(fork, "[{name: a}]")) == ["j2"]
    check(scheduler)
    assert scheduler.digest == digest
    assert held(scheduler) == {"j1"}


def test_the_event_can_be_written_down_and_read_again():
    event = ConfigChanged(
        config(
            "[{name: a, resources: {max: {vcore: 2}}, limits: [{limit: x, users: [ana], maxapplications: 1}]}]",
            placementrules="[{name: user, create: true, filter: {type: deny, users: ['^g']}}]",
        )
    )
    assert event.config.default.queues["root.a"].max == {"vcore": 2000}
    assert msgspec.json.decode(msgspec.json.encode(event), type=ConfigChanged) == event
    assert issubclass(ConfigChanged, Event)


# -- whatever happens in between ---------------------------------------------------------------------------------------

RULES = "[{name: provided}, {name: user, create: true, parent: {name: fixed, value: people}}]"


def shape(draw):
    """Queues of which each may be there or not, a leaf or a parent, with other maxima, limits and properties."""
    most, user, applications, children, people, fair, drf, half_life, delay = draw
    own = f"resources: {{max: {{vcore: {most}}}, guaranteed: {{vcore: 1}}}}, maxapplications: {applications}"
    limits = (
        f"limits: [{{limit: x, users: ['*'], maxresources: {{vcore: {min(user, most)}}}}}]" if user else "limits: []"
    )
    below = f", queues: [{{name: x, maxapplications: {applications}}}, {{name: y}}]" if children else ""
    made = f"{{name: people, parent: true, childtemplate: {{resources: {{max: {{vcore: {most}}}}}}}}}"
    properties = (
        f"{{application.sort.policy: {'fair' if fair else 'fifo'}, queue.sort.policy: {'drf' if drf else 'fair'}, "
        f"queue.usage.halflife: {half_life}s, quota.preemption.delay: {delay}s}}"
    )
    return config(
        f"[{{name: a, {own}, {limits}, properties: {properties}{below}}}"
        f"{', ' + made if people else ''}, {{name: c, maxapplications: {applications}}}]",
        placementrules=RULES if people else "[{name: provided}]",
        preemption="{enabled: true, quotapreemptionenabled: true}",
        nodesortpolicy="binpacking" if fair else "fair",
    )


configs = st.tuples(
    st.integers(1, 9), st.integers(0, 4), st.integers(1, 5), st.booleans(), st.booleans(), st.booleans(),
    st.booleans(), st.sampled_from([0, 5]), st.sampled_from([0, 3]),
).map(shape)  # fmt: skip
events = st.one_of(
    st.tuples(st.just("reload"), configs),
    st.tuples(
        st.just("submit"),
        st.builds(
            lambda queue, user, members, least, vcore, priority: Job(
                "", queue, user, ("ml",), priority,
                (TaskGroup("g", min(least, members), {"vcore": vcore}, max_member=members),),
                runtime_estimate=float(5 * vcore),
            ),
            st.sampled_from(["root.a", "root.a.x", "root.a.y", "root.c", "elsewhere"]), st.sampled_from(["ana", "bo"]),
            st.integers(1, 4), st.integers(0, 4), st.integers(1, 2), st.integers(0, 1),
        ),
    ),
    st.tuples(st.sampled_from(["finish", "member", "evict", "fail", "add", "remove"]), st.integers(0, 1000)),
)  # fmt: skip


@pytest.mark.parametrize("backfill", [None, "easy", "conservative", "fifo"])
def test_reloads_lose_no_job_and_let_nothing_start_above_a_maximum(backfill):
    @settings(deadline=None)
    @given(configs, st.lists(events, max_size=40))
    def holds(first, todo):
        scheduler = Scheduler(first, backfill=backfill)
        scheduler.apply([NodeAdded(Node(f"n{number}", {"vcore": 6})) for number in range(2)], 0)
        known, ended, made = set(), set(), []
        for now, (what, which) in enumerate(todo, 1):
            event = _event(scheduler, now, what, which, made)
            if isinstance(event, JobSubmitted):
                known.add(event.job.id)
            elif isinstance(event, JobFinished):
                ended.add(event.job)
            scheduler.apply([event] if event else [], now)
            check(scheduler)
            before = {queue: (queue.allocated, queue.applications) for queue in scheduler.tree.queues.values()}
            made = scheduler.step(now)
            for each in made:
                if isinstance(each, Bind):
                    for counter in scheduler.apps[each.job].limits:
                        over = [used > most for used, most in zip(counter.used, counter.max, strict=True)]
                        assert not any(over), counter.label
                        if before.get(counter, (0, 0))[1] < counter.applications:
                            assert counter.applications <= counter.max_applications
                elif isinstance(each, Reject):
                    ended.add(each.job)
            check(scheduler)
            if backfill is None and not scheduler.preemption.promises:
                nothing_forgotten(scheduler)
            evicted = [id for each in made if isinstance(each, Preempt) for id in each.members]
            scheduler.apply([MemberEvicted(id) for id in evicted], now)
            alone = {id for id in known - ended if id not in scheduler.apps}
            assert all(scheduler.ended[id][0] == AppState.COMPLETED for id in alone)
            ended |= alone
            for app in scheduler.apps.values():
                asked = sum(request.left * request.unit.members for request in app.requests)
                least = sum(group.group.min_member for group in app.groups)
                assert len(app.held) + asked >= min(least, 1)
                assert scheduler.tree.queues[app.queue.path] is app.queue
        scheduler.apply([ConfigChanged(config("[{name: only}]"))], 1000)
        refused, scheduler.notices = scheduler.notices, []
        assert all("has jobs and cannot have queues below it" in notice for notice in refused)
        for id in list(scheduler.apps):
            scheduler.apply([JobFinished(id)], 1001)
            scheduler.step(1001)
        assert sorted(scheduler.tree.queues) == ["root", "root.only"]

    holds()


def _event(scheduler, now, what, which, made):
    apps, members, nodes = list(scheduler.apps), list(scheduler.members), list(scheduler.nodes.named)
    bindings = [each.id for each in made if isinstance(each, Bind)]
    if what == "reload":
        return ConfigChanged(which)
    if what == "submit":
        return JobSubmitted(msgspec.structs.replace(which, id=f"j{now}"))
    if what == "add":
        return NodeAdded(Node(f"m{now}", {"vcore": 4}))
    kinds = {"finish": (JobFinished, apps), "member": (MemberFinished, members), "evict": (MemberEvicted, members),
             "fail": (BindFailed, bindings), "remove": (NodeRemoved, nodes)}  # fmt: skip
    kind, known = kinds[what]
    return kind(known[which % len(known)]) if known else None


@settings(deadline=None)
@given(configs, st.lists(events, max_size=25))
def test_backings_decide_alike_across_reloads(first, todo):
    digests = set()
    for backing in ("lists", "numpy", "numba"):
        scheduler = Scheduler(first, backing=backing)
        scheduler.apply([NodeAdded(Node(f"n{number}", {"vcore": 6})) for number in range(2)], 0)
        made = []
        for now, (what, which) in enumerate(todo, 1):
            event = _event(scheduler, now, what, which, made)
            scheduler.apply([event] if event else [], now)
            made = scheduler.step(now)
        digests.add(scheduler.digest)
    assert len(digests) == 1
