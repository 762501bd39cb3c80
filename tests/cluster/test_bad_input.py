"""Bad input to the scheduler: each is left out whole and told of, and everything else goes on. Files: `test_parse`."""

import math

import pytest

from clearance.cluster.config import default, load
from clearance.cluster.decision import Bind, Reject
from clearance.cluster.event import JobSubmitted, NodeAdded, NodeChanged
from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.node import Node
from clearance.cluster.scheduler import Scheduler
from cluster.invariants import check

QUOTA = load("""
partitions:
- name: default
  queues:
  - name: root
    submitacl: "*"
    queues: [{name: small, resources: {max: {vcore: 8}}}, {name: default}]
""")


def scheduler(config=None, backfill="easy"):
    made = Scheduler(config or default(), backfill=backfill)
    capacity = {"vcore": 8, "memory": "8Gi", "nvidia.com/gpu": 2}
    made.apply([NodeAdded(Node(f"n{number}", capacity)) for number in (1, 2)], 0)
    return made


def job(id="bad", resources=None, members=1, queue="", **more):
    return Job(id, queue, "ana", task_groups=(TaskGroup("g", members, resources or {"vcore": 1}),), **more)


def refused(made, *jobs):
    """Returns why jobs were rejected; what comes after them starts."""
    made.apply([*map(JobSubmitted, jobs), JobSubmitted(job("good"))], 1)
    decided = made.step(1)
    assert [each.job for each in decided if isinstance(each, Bind)] == ["good"]
    assert made.notices == []
    check(made)
    return [each.reason for each in decided if isinstance(each, Reject)]


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"vcore": -1}, "it is negative; write 0 or more"),
        ({"vcore": math.nan}, "vcore is nan"),
        ({"memory": math.inf}, "memory is inf"),
        ({"memory": 2**63}, "it is more than 2**63 - 1"),
        ({"vcore": 1.5}, "vcore is 1.5"),
        ({"vcore": True}, "vcore is True"),
        ({"cpu": 1}, "vcore"),
        ({"nvidia.com/gpus": 1}, "nvidia.com/gpu"),
        ({"nvidia.com/gpu": "1500m"}, "no member may straddle devices"),
    ],
)
def test_a_quantity_that_cannot_be_is_rejected_at_submission(resources, told):
    (reason,) = refused(scheduler(), job(resources=resources))
    assert told in reason


@pytest.mark.parametrize("field", ["runtime_estimate", "timeout", "restart_cost", "checkpoint_interval"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_seconds_that_cannot_be_are_rejected_at_submission(field, value):
    (reason,) = refused(scheduler(), job(**{field: value}))
    assert reason == f"job 'bad': {field} is {value}: write a number, 0 or more"


def test_a_style_that_is_none_is_rejected_with_the_nearest():
    (reason,) = refused(scheduler(), job(style="sotf"))
    assert "did you mean 'soft'?" in reason


@pytest.mark.parametrize(("least", "most"), [(-1, None), (0, None), (3, 2), (0, 0)])
def test_a_group_of_no_members_is_rejected(least, most):
    bad = Job("bad", user="ana", task_groups=(TaskGroup("g", least, {"vcore": 1}, most),))
    (reason,) = refused(scheduler(), bad)
    assert "ask for at least one member" in reason


def test_a_job_without_groups_or_with_two_of_one_name_is_rejected():
    group = TaskGroup("g", 1, {"vcore": 1})
    for groups, mend in (((), "at least one group"), ((group, group), "each of its groups a name of its own")):
        (reason,) = refused(scheduler(), Job("bad", user="ana", task_groups=groups))
        assert mend in reason


def test_a_gang_larger_than_the_cluster_is_rejected_with_what_it_would_need():
    (reason,) = refused(scheduler(), job(resources={"vcore": 4}, members=5))
    assert reason == (
        "each member asks for vcore=4, and room for 4 of 5 is all that the whole cluster has when it is empty: "
        "ask for less, or add nodes"
    )
    (reason,) = refused(scheduler(), job(resources={"vcore": 9}))
    assert reason == "each member asks for vcore=9, and no node is large enough: ask for less, or add nodes"


def test_a_gang_larger_than_its_quota_is_rejected_with_what_it_would_need():
    (reason,) = refused(scheduler(QUOTA), job(resources={"vcore": 3}, members=3, queue="root.small"))
    assert reason == (
        "it asks for vcore=9 at once, and queue root.small may use vcore=8: ask for less, or raise the maximum"
    )


def test_a_resource_that_no_node_has_never_waits_for_ever():
    (reason,) = refused(scheduler(), job(resources={"example.com/fpga": 1}))
    assert "no node is large enough" in reason


@pytest.mark.parametrize("capacity", [{"vcore": -1}, {"cpu": 4}, {"memory": "1Qi"}, {"vcore": math.nan}])
def test_a_node_that_cannot_be_is_left_out_and_one_that_is_there_stays_as_it_is(capacity):
    made = scheduler()
    made.apply([NodeAdded(Node("n3", capacity)), NodeChanged(Node("n1", capacity))], 1)
    assert len(made.notices) == 2
    assert sorted(made.nodes.named) == ["n1", "n2"]
    assert made.nodes.total[:3] == [16_000, 16 * 2**30, 4000]
    check(made)


def test_time_that_is_no_number_stands_still():
    made = scheduler()
    made.apply([JobSubmitted(job("j"))], math.nan)
    assert len(made.step(math.nan)) == 1
    assert made.now == 0


def test_a_job_that_is_refused_leaves_no_queue_behind_that_a_rule_would_have_made():
    rules = "  placementrules: [{name: user, create: true}]\n"
    scheduler = Scheduler(load(f"partitions:\n- name: default\n{rules}  queues:\n  - name: root\n    submitacl: '*'\n"))
    scheduler.apply([JobSubmitted(Job("j", user="ana", task_groups=(TaskGroup("g", 1, {"vcore": -1}),)))], 0)
    assert [type(each).__name__ for each in scheduler.step(0)] == ["Reject"]
    assert list(scheduler.tree.queues) == ["root"]
