"""Preemption: the laws of YuniKorn's design one by one, its own examples, and that it always comes to an end."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster.config import load
from clearance.cluster.decision import Bind, Preempt
from clearance.cluster.event import JobFinished, JobSubmitted, MemberEvicted, MemberFinished, NodeAdded
from clearance.cluster.job import Job, TaskGroup, Topology
from clearance.cluster.node import Node
from clearance.cluster.scheduler import Scheduler
from cluster.invariants import check, never_over


def config(prod="guaranteed: {vcore: 4}", test="guaranteed: {vcore: 2}", tenant="{}", of_test="{}", enabled="true"):
    """Two siblings with these resources, their parent and one of them with these properties."""
    return load(f"""
partitions:
- name: default
  preemption: {{enabled: {enabled}}}
  queues:
  - name: root
    submitacl: "*"
    queues:
    - name: tenant
      properties: {tenant}
      queues:
      - {{name: prod, resources: {{{prod}}}}}
      - {{name: test, resources: {{{test}}}, properties: {of_test}}}
    - {{name: other}}
""")


def job(id, queue, vcore=1, members=1, **more):
    least = more.pop("least", members)
    group = TaskGroup("g", least, {"vcore": vcore}, max_member=members, topology=more.pop("topology", Topology()))
    return Job(id, f"root.{queue}", "ana", task_groups=(group,), **more)


def full(scheduler, jobs, cores=(8,), now=0.0):
    """Adds nodes, and starts jobs on them one after the other."""
    nodes = [Node(f"n{index}", {"vcore": each}, {"rack": f"r{index}"}) for index, each in enumerate(cores)]
    scheduler.apply([NodeAdded(node) for node in nodes], now)
    for each in jobs:
        scheduler.apply([JobSubmitted(each)], now)
        scheduler.step(now)
    return scheduler


def asked(scheduler, *jobs, now=10.0, wait=30.0):
    """Submits jobs, waits, and returns who is asked to leave."""
    scheduler.apply([JobSubmitted(each) for each in jobs], now)
    scheduler.step(now)
    return preempts(scheduler.step(now + wait))


def preempts(made):
    return [each for each in made if isinstance(each, Preempt)]


def eight(queue="tenant.test", **more):
    return [job(f"t{index}", queue, **more) for index in range(8)]


def test_a_queue_under_its_guarantee_gets_room_from_one_over_it():
    scheduler = full(Scheduler(config()), eight())
    (one,) = asked(scheduler, job("p", "tenant.prod"))
    assert one.members == ("t7/g/0",)
    assert one.job == "p"
    scheduler.apply([MemberEvicted("t7/g/0")], 41)
    assert [each.job for each in scheduler.step(41) if isinstance(each, Bind)] == ["p"]
    check(scheduler)


def test_nothing_is_taken_away_before_the_driver_says_so():
    scheduler = full(Scheduler(config()), eight())
    asked(scheduler, job("p", "tenant.prod"))
    assert len(scheduler.members) == 8
    assert not scheduler.apps["p"].held


def test_no_queue_comes_under_its_guarantee():
    scheduler = full(Scheduler(config(test="guaranteed: {vcore: 7}")), [job("t", "tenant.test", 4, 2)])
    assert asked(scheduler, job("p", "tenant.prod")) == []


def test_an_asker_whose_queue_has_its_guarantee_asks_nobody():
    scheduler = full(Scheduler(config(prod="guaranteed: {vcore: 2}")), [job("p0", "tenant.prod", 2), *eight()[:6]])
    assert asked(scheduler, job("p", "tenant.prod")) == []


def test_both_may_end_above_their_guarantees_and_the_victim_cannot_take_it_back():
    # "Preemption Loop Prevention", flow case 1: what comes back waits.
    scheduler = full(Scheduler(config(prod="guaranteed: {vcore: 1}")), eight(vcore=2)[:4])
    (one,) = asked(scheduler, job("p", "tenant.prod", 2))
    scheduler.apply([MemberEvicted(id) for id in one.members], 41)
    scheduler.step(41)
    assert all(not preempts(scheduler.step(41 + 31 * later)) for later in range(1, 5))
    assert scheduler.apps["p"].held


def test_a_queue_that_would_fall_below_its_guarantee_is_left_alone():
    # flow case 2
    scheduler = full(Scheduler(config(test="guaranteed: {vcore: 7}")), eight(vcore=2)[:4])
    assert asked(scheduler, job("p", "tenant.prod")) == []


def test_a_queue_that_stays_under_its_guarantee_may_ask_again():
    # flow case 3
    scheduler = full(Scheduler(config()), eight())
    first = asked(scheduler, job("p0", "tenant.prod"), job("p1", "tenant.prod"))
    assert len({id for each in first for id in each.members}) == 2


def test_a_job_of_higher_priority_is_no_victim():
    scheduler = full(Scheduler(config()), eight(priority=2))
    assert asked(scheduler, job("p", "tenant.prod", priority=1)) == []
    assert asked(scheduler, job("q", "tenant.prod", priority=2), now=100)


def test_the_priority_is_that_of_the_queue_where_it_is_fenced():
    scheduler = full(Scheduler(config(of_test='{priority.policy: fence, priority.offset: "5"}')), eight())
    assert asked(scheduler, job("p", "tenant.prod", priority=4)) == []
    assert asked(scheduler, job("q", "tenant.prod", priority=5), now=100)


def test_nobody_outside_the_fence_is_a_victim():
    fenced = full(Scheduler(config(tenant="{preemption.policy: fence}")), eight("other"))
    assert asked(fenced, job("p", "tenant.prod")) == []
    inside = full(Scheduler(config(tenant="{preemption.policy: fence}")), eight())
    assert asked(inside, job("p", "tenant.prod"))
    free = full(Scheduler(config()), eight("other"))
    assert asked(free, job("p", "tenant.prod"))


def test_a_queue_whose_preemption_is_disabled_has_no_victims():
    scheduler = full(Scheduler(config(of_test="{preemption.policy: disabled}")), eight())
    assert asked(scheduler, job("p", "tenant.prod")) == []


def test_a_job_that_must_not_be_preempted_is_not():
    scheduler = full(Scheduler(config()), [*eight(preemptible=False)[:7], job("yes", "tenant.test")])
    assert [each.members for each in asked(scheduler, job("p", "tenant.prod"))] == [("yes/g/0",)]


def test_an_ask_waits_for_the_delay():
    scheduler = full(Scheduler(config()), eight())
    assert asked(scheduler, job("p", "tenant.prod"), wait=29) == []
    assert preempts(scheduler.step(40))


@pytest.mark.parametrize("how", ["partition", "argument"])
def test_preemption_can_be_switched_off(how):
    made = Scheduler(config(enabled="false")) if how == "partition" else Scheduler(config(), preemption=False)
    assert asked(full(made, eight()), job("p", "tenant.prod")) == []


def test_the_least_harm_is_the_lowest_priority_then_the_least_work_lost():
    jobs = [job(f"t{index}", "tenant.test", priority=index % 2) for index in range(8)]
    scheduler = full(Scheduler(config()), jobs[:4])
    full(scheduler, jobs[4:], (), now=5)
    (one,) = asked(scheduler, job("p", "tenant.prod", priority=9))
    assert one.members == ("t6/g/0",)
    kept = [job("long", "tenant.test", 4, checkpoint_interval=4.0), job("short", "tenant.test", 4)]
    scheduler = full(Scheduler(config()), kept)
    (one,) = asked(scheduler, job("p", "tenant.prod"), now=2)
    assert one.members == ("long/g/0",)


def test_those_who_need_not_leave_stay():
    scheduler = full(Scheduler(config()), [job("large", "tenant.test", 4), *eight()[:4]])
    (one,) = asked(scheduler, job("p", "tenant.prod", 4))
    assert len(one.members) <= 4
    sizes = {id: 4 if id.startswith("large") else 1 for id in one.members}
    assert sum(sizes.values()) == 4


def test_a_gang_gets_room_for_all_or_for_nobody():
    scheduler = full(Scheduler(config(prod="guaranteed: {vcore: 6}")), eight())
    (one,) = asked(scheduler, job("p", "tenant.prod", 1, 6))
    assert len(one.members) == 6
    scheduler = full(Scheduler(config(prod="guaranteed: {vcore: 7}")), eight())
    assert asked(scheduler, job("p", "tenant.prod", 1, 7)) == []


def test_a_gang_that_must_be_together_gets_one_rack():
    scheduler = full(Scheduler(config(prod="guaranteed: {vcore: 4}")), eight(), (4, 4))
    (one,) = asked(scheduler, job("p", "tenant.prod", 1, 4, topology=Topology("rack")))
    assert len({scheduler.members[id][1].node for id in one.members}) == 1


def test_a_group_keeps_its_minimum_or_its_job_ends_and_comes_back_whole():
    scheduler = full(Scheduler(config(test="guaranteed: {}")), [job("t", "tenant.test", 2, 4, least=3)])
    (one,) = asked(scheduler, job("p", "tenant.prod", 2))
    assert one.members == ("t/g/3",)
    scheduler = full(Scheduler(config(test="guaranteed: {}")), [job("t", "tenant.test", 2, 4)])
    (one,) = asked(scheduler, job("p", "tenant.prod", 2))
    assert sorted(one.members) == [f"t/g/{rank}" for rank in range(4)]
    now = 41
    for id in one.members:
        assert len(scheduler.apps["t"].held) in (0, 4 - now + 41)
        scheduler.apply([MemberEvicted(id)], now)
        scheduler.step(now)
        now += 1
    assert scheduler.apps["p"].held
    (request,) = scheduler.apps["t"].requests
    assert request.unit.members == 4
    scheduler.apply([JobFinished("p")], now)
    (bound,) = [each for each in scheduler.step(now) if isinstance(each, Bind)]
    assert sorted(each.id for each in bound.members) == [f"t/g/{rank}" for rank in range(4)]


def test_nobody_else_takes_the_room_while_the_victims_go():
    scheduler = full(Scheduler(config()), eight(), (8,))
    (one,) = asked(scheduler, job("p", "tenant.prod", 3))
    assert len(one.members) == 3
    for now, id in enumerate(one.members, 41):
        scheduler.apply([MemberEvicted(id), JobSubmitted(job(f"o{now}", "other", priority=9))], now)
        made = scheduler.step(now)
        assert not preempts(made)
        assert {each.job for each in made if isinstance(each, Bind)} == (set() if now < 43 else {"p"})
        never_over(scheduler)


def test_nobody_else_uses_up_the_maximum_while_the_victims_go():
    text = load("""
partitions:
- name: default
  queues:
  - name: root
    submitacl: "*"
    queues:
    - name: tenant
      resources: {max: {vcore: 8}}
      queues:
      - {name: prod, resources: {guaranteed: {vcore: 4}}}
      - {name: test}
""")
    scheduler = full(Scheduler(text), eight(), (16,))
    (one,) = asked(scheduler, job("p", "tenant.prod", 2))
    assert len(one.members) == 2
    for now, id in enumerate(one.members, 41):
        scheduler.apply([MemberEvicted(id)], now)
        made = scheduler.step(now)
        assert {each.job for each in made if isinstance(each, Bind)} == (set() if now < 42 else {"p"})


def test_what_does_not_leave_is_no_longer_counted_on():
    scheduler = full(Scheduler(config()), eight())
    assert asked(scheduler, job("p", "tenant.prod"))
    assert not any(preempts(scheduler.step(now)) for now in range(41, 340, 10))
    scheduler.step(341)
    assert not scheduler.preemption.promises
    assert preempts(scheduler.step(400))


TREE = load("""
partitions:
- name: default
  preemption: {enabled: true}
  queues:
  - name: root
    submitacl: "*"
    queues:
    - name: a
      resources: {guaranteed: {vcore: 8, memory: 8G}}
      queues:
      - {name: x, resources: {guaranteed: {vcore: 5}, max: {vcore: 12}}}
      - {name: y, resources: {guaranteed: {vcore: 2, memory: 4G}}, properties: {preemption.policy: fence}}
    - name: b
      resources: {guaranteed: {vcore: 6}}
      queues:
      - {name: x}
      - {name: y, resources: {guaranteed: {vcore: 3}}, properties: {preemption.policy: disabled}}
    - {name: c}
""")


def task(queue, priority, vcore, memory, least, more, keep, interval):
    group = TaskGroup("g", least, {"vcore": vcore, "memory": f"{memory}G"}, max(least + more, 1))
    return Job("", f"root.{queue}", "ana", (), priority, (group,), preemptible=keep, checkpoint_interval=interval)


def tasks(*queues):
    return st.builds(
        task, st.sampled_from(queues), st.integers(0, 2), st.integers(1, 4), st.integers(0, 3),
        st.sampled_from([0, 1, 1, 2, 3]), st.sampled_from([0, 0, 2]), st.sampled_from([True, True, True, False]),
        st.sampled_from([None, 7.0]),
    )  # fmt: skip


def deficit(scheduler, promised=False):
    """Sums what queues lack of their guarantees; where promised, as if everything had come of what was decided."""
    leaving = set(scheduler.preemption.leaving) if promised else set()
    total = 0
    for queue in scheduler.tree.queues.values():
        used = [0] * len(queue.guaranteed)
        for app in scheduler.apps.values():
            if queue in app.queue.above:
                for held in app.held.values():
                    for position, amount in held.shape.usage:
                        used[position] += amount * (held.id not in leaving)
        for request in scheduler.preemption.promises if promised else ():
            if queue in request.app.queue.above:
                for position, amount in request.unit.usage:
                    used[position] += amount
        total += sum(max(least - have, 0) for least, have in zip(queue.guaranteed, used, strict=True))
    return total


@settings(deadline=None)
@given(
    st.lists(tasks("c", "b.x", "b.y"), min_size=4, max_size=10),
    st.lists(tasks("a.x", "a.y", "b.y", "b.x"), min_size=1, max_size=8),
    st.lists(st.integers(4, 8), min_size=1, max_size=3), st.randoms(use_true_random=False),
)  # fmt: skip
def test_each_preemption_lowers_what_queues_lack_and_it_comes_to_an_end(first, then, cores, rng):
    scheduler = Scheduler(TREE)
    nodes = [Node(f"n{index}", {"vcore": each, "memory": f"{2 * each}G"}) for index, each in enumerate(cores)]
    scheduler.apply([NodeAdded(node) for node in nodes], 0)
    for number, each in enumerate([*first, *then]):
        scheduler.apply([JobSubmitted(msgspec.structs.replace(each, id=f"j{number}"))], number)
        scheduler.step(number)
        check(scheduler)
    now, quiet, rounds = 100.0, 0, 0
    while quiet < 3:
        settled = deficit(scheduler)
        before = deficit(scheduler, promised=True)
        assert before == settled
        victims = [id for each in preempts(scheduler.step(now)) for id in each.members]
        assert len(victims) == len(set(victims))
        if victims:
            assert deficit(scheduler, promised=True) < before
            apps = {scheduler.members[id][0] for id in victims}
            assert all(app.job.preemptible and not app.queue.path.startswith("root.b.y") for app in apps)
            rng.shuffle(victims)
            for id in victims:  # others who are asked to leave meanwhile follow
                now += 1
                scheduler.apply([MemberEvicted(id) if rng.random() < 0.8 else MemberFinished(id)], now)
                victims += [other for each in preempts(scheduler.step(now)) for other in each.members]
                check(scheduler)
                never_over(scheduler)
            assert not scheduler.preemption.promises
            assert deficit(scheduler) < settled
        quiet = 0 if victims else quiet + 1
        rounds += 1
        now += 31
        assert rounds < 200
    assert not scheduler.notices
