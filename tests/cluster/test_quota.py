"""Quota preemption: a queue whose maximum was lowered shrinks after its delay, by the least harm, and then no more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster.config import load
from clearance.cluster.decision import Bind, Preempt
from clearance.cluster.event import ConfigChanged, JobFinished, JobSubmitted, MemberEvicted, NodeAdded
from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.node import Node
from clearance.cluster.scheduler import Scheduler
from cluster.invariants import check, never_over

DELAY = 60


def config(most=8, guaranteed=0, on="true", asks="true", delay=f"{DELAY}s", above="", policy="default"):
    """Two leaves below one queue; the first has this maximum."""
    least = f", guaranteed: {{vcore: {guaranteed}}}" if guaranteed else ""
    most_above = f"resources: {{max: {{vcore: {above}}}}}" if above else ""
    return load(f"""
partitions:
- name: default
  preemption: {{enabled: {asks}, quotapreemptionenabled: {on}}}
  queues:
  - name: root
    submitacl: "*"
    queues:
    - name: p
      {most_above}
      properties: {{quota.preemption.delay: {delay}}}
      queues:
      - {{name: a, resources: {{max: {{vcore: {most}}}{least}}}, properties: {{preemption.policy: {policy}}}}}
      - {{name: b}}
""")


def job(id, queue="a", vcore=1, members=1, least=None, **more):
    group = TaskGroup("g", members if least is None else least, {"vcore": vcore}, max_member=members)
    return Job(id, f"root.p.{queue}", "ana", task_groups=(group,), **more)


def running(*jobs, before=None, **made):
    scheduler = Scheduler(before or config(), **made)
    scheduler.apply([NodeAdded(Node("n", {"vcore": 32}))], 0)
    for number, each in enumerate(jobs or [job(f"j{number}") for number in range(8)]):
        scheduler.apply([JobSubmitted(each)], number)
        scheduler.step(number)
    return scheduler


def asked(scheduler, now):
    """Returns the members that are asked to leave at some moment."""
    return [id for each in scheduler.step(now) if isinstance(each, Preempt) for id in each.members]


def lowered(scheduler, after, now=100):
    """Applies a configuration, and returns who is asked to leave once the delay is over."""
    scheduler.apply([ConfigChanged(after)], now)
    assert asked(scheduler, now) == []
    return asked(scheduler, now + DELAY)


def test_a_lowered_maximum_takes_effect_after_its_delay():
    scheduler = running()
    scheduler.apply([ConfigChanged(config(5))], 100)
    assert asked(scheduler, 100) == []
    assert asked(scheduler, 100 + DELAY - 1) == []
    (one,) = [each for each in scheduler.step(100 + DELAY) if isinstance(each, Preempt)]
    assert sorted(one.members) == ["j5/g/0", "j6/g/0", "j7/g/0"]
    assert (one.job, one.reason) == ("", "root.p.a uses more than its maximum")
    scheduler.apply([MemberEvicted(id) for id in one.members], 170)
    assert not asked(scheduler, 171)
    never_over(scheduler)
    check(scheduler)


def test_the_delay_runs_from_the_change_though_nobody_asked_the_scheduler_meanwhile():
    scheduler = running()
    scheduler.apply([ConfigChanged(config(5))], 100)
    assert len(asked(scheduler, 100 + DELAY)) == 3


def test_a_further_reduction_starts_the_delay_anew_and_any_other_change_does_not():
    scheduler = running()
    scheduler.apply([ConfigChanged(config(5))], 100)
    scheduler.apply([ConfigChanged(config(5, guaranteed=1))], 130)
    scheduler.apply([ConfigChanged(config(4, guaranteed=1))], 140)
    assert asked(scheduler, 100 + DELAY) == []
    assert len(asked(scheduler, 140 + DELAY)) == 4


def test_a_maximum_that_is_raised_again_in_time_ends_it():
    scheduler = running()
    scheduler.apply([ConfigChanged(config(5))], 100)
    scheduler.apply([ConfigChanged(config(8))], 130)
    assert asked(scheduler, 200) == []


@pytest.mark.parametrize("after", [config(5, on="false"), config(5, delay="0s"), config(5, policy="disabled")])
def test_nobody_is_asked_where_it_is_switched_off(after):
    assert lowered(running(), after) == []


def test_it_is_independent_of_whether_asks_may_preempt():
    assert len(lowered(running(), config(5, asks="false"))) == 3


def test_a_scheduler_that_is_told_to_preempt_nobody_asks_nobody():
    assert lowered(running(preemption=False), config(5)) == []


def test_nobody_comes_under_a_guarantee():
    assert len(lowered(running(), config(6, guaranteed=6))) == 2
    fives = running(job("x", vcore=5), job("y", vcore=3))
    assert lowered(fives, config(6, guaranteed=4)) == ["y/g/0"]
    assert lowered(running(job("x", vcore=8)), config(6, guaranteed=4)) == []


def test_the_least_harm_is_done_and_who_is_not_needed_stays():
    jobs = [job("small", priority=0), job("big", vcore=4, priority=1), job("important", vcore=3, priority=9)]
    assert lowered(running(*jobs), config(7)) == ["small/g/0"]
    assert lowered(running(*jobs), config(4)) == ["big/g/0"]
    jobs[1] = job("big", vcore=4, priority=1, preemptible=False)
    assert sorted(lowered(running(*jobs), config(4))) == ["important/g/0", "small/g/0"]


def test_a_gang_keeps_its_minimum_or_is_ended_whole():
    assert lowered(running(job("j", members=8, least=3)), config(5)) == ["j/g/7", "j/g/6", "j/g/5"]
    scheduler = running(job("j", members=8))
    assert len(lowered(scheduler, config(5))) == 8
    scheduler.apply([MemberEvicted(f"j/g/{rank}") for rank in range(8)], 170)
    assert scheduler.step(170) == []
    assert scheduler.explain("j").text == "queue root.p.a uses vcore=0 of 5, and 8 more are asked for"


def test_a_queue_above_shrinks_by_what_is_left_after_those_below():
    jobs = [*(job(f"a{number}") for number in range(8)), *(job(f"b{number}", "b") for number in range(4))]
    victims = lowered(running(*jobs), config(6, above=9))
    assert sorted(victims) == ["a6/g/0", "a7/g/0", "b3/g/0"]


def test_who_does_not_leave_is_asked_again_only_when_nobody_counts_on_it_any_more():
    scheduler = running()
    assert len(lowered(scheduler, config(5))) == 3
    moments = [now for now in range(170, 1200, 5) if asked(scheduler, now)]
    assert moments == [520, 880]  # 300 s later it is too much again, and the delay runs anew; so once more


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("aab"), st.integers(1, 3), st.sampled_from([1, 1, 2, 4]), st.sampled_from([0, 1, None]),
            st.integers(0, 2),
        ),
        min_size=3, max_size=14,
    ),
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 6), st.integers(8, 30)), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_storms_are_impossible(jobs, changes, rng):
    """Whatever changes: nobody is asked twice, no queue comes under its guarantee, what is above a maximum only falls,
    and once the maxima stand still it comes to an end."""
    scheduler = running(
        *(job(f"j{number}", queue, size, members, least and min(least, members), priority=priority)
          for number, (queue, size, members, least, priority) in enumerate(jobs)),
        before=config(32),
    )  # fmt: skip
    now = 100
    for most, guaranteed, above in changes:
        after = config(most, min(guaranteed, most), above=max(above, most))
        scheduler.apply([ConfigChanged(after)], now)
        asked_for = set()
        for _ in range(40):
            before = {path: list(queue.used) for path, queue in scheduler.tree.queues.items()}
            victims = asked(scheduler, now)
            assert not asked_for & set(victims)
            asked_for |= set(victims)
            spared = {path: queue.used[0] for path, queue in scheduler.tree.queues.items()}
            for id in victims:
                app, held = scheduler.members[id]
                for queue in app.queue.above:
                    spared[queue.path] -= dict(held.shape.usage)[0]
            for path, queue in scheduler.tree.queues.items():
                if queue.guaranteed[0]:
                    assert spared[path] >= min(queue.guaranteed[0], queue.used[0])
            gone = [id for id in victims if rng.random() < 0.9]
            scheduler.apply([MemberEvicted(id) for id in gone], now)
            for each in scheduler.step(now):
                if isinstance(each, Bind):
                    queues = scheduler.apps[each.job].queue.above
                    assert all(queue.used[0] <= queue.max[0] for queue in queues)
            check(scheduler)
            assert all(queue.used[0] <= max(queue.max[0], before[path][0])
                       for path, queue in scheduler.tree.queues.items())  # fmt: skip
            asked_for -= set(gone)
            now += 7
        now += 400
        for _ in range(60):
            for id in asked(scheduler, now):
                if id in scheduler.members:
                    scheduler.apply([MemberEvicted(id)], now)
            now += 31
        assert all(asked(scheduler, now + later) == [] for later in range(0, 2000, 50))
        now += 2000
    for id in list(scheduler.apps):
        scheduler.apply([JobFinished(id)], now)
    scheduler.step(now)
    never_over(scheduler)
