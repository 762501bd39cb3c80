"""The first blocker is sufficient: lifting it lets the job start, or another one is first."""

from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster.blocker import APPLICATIONS, BEHIND, KEPT, LIMIT, QUOTA
from clearance.cluster.config import load
from clearance.cluster.event import JobSubmitted, NodeAdded
from clearance.cluster.job import Job, TaskGroup, Topology
from clearance.cluster.node import Node
from clearance.cluster.quantities import format_quantity
from clearance.cluster.scheduler import Scheduler
from clearance.cluster.whatif import AddNodes, EndJob, RaiseMaximum
from cluster.invariants import check
from cluster.test_scheduler_properties import CONFIG, acts, nodes, play


def lifted(scheduler, job, blocker):
    """Returns the changes that lift a blocker and nothing else."""
    if blocker.kind == QUOTA:
        return [RaiseMaximum(blocker.subject, blocker.resource, blocker.lack)]
    if blocker.kind == LIMIT:
        return [RaiseMaximum(blocker.subject, by=blocker.lack)]
    if blocker.kind == APPLICATIONS:
        return [RaiseMaximum(blocker.subject, by=1)]
    if blocker.kind in (BEHIND, KEPT):
        return [EndJob(blocker.subject)]
    capacity, labels = {}, {"rack": "new"}
    for part in scheduler.apps[job].requests[0].unit.parts:
        labels |= part.shape.selector
    for request in scheduler.apps[job].requests:
        for part in request.unit.parts:
            for name, amount in scheduler.space.named(part.shape.usage).items():
                whole = -(-amount // 1000) * 1000 if name == "nvidia.com/gpu" else amount
                capacity[name] = capacity.get(name, 0) + whole * part.count
    apart = any(
        part.apart or part.shape.whole for request in scheduler.apps[job].requests for part in request.unit.parts
    )
    if not apart:
        return [AddNodes(1, capacity=written(capacity), labels=labels)]
    return [AddNodes(1, capacity=written(capacity), labels=labels | {"rack": f"new{number}"}) for number in range(9)]


def written(amounts):
    return {name: format_quantity(name, amount) for name, amount in amounts.items()}


@settings(deadline=None)
@given(st.lists(nodes, max_size=6), acts, st.sampled_from([None, "easy", "fifo"]), st.sampled_from(["lists", "numpy"]))
def test_the_first_blocker_is_sufficient(first, todo, backfill, backing):
    scheduler = play(Scheduler(load(CONFIG), backfill=backfill, backing=backing), first, todo, lambda _: None)
    waiting = [app.id for app in scheduler.apps.values() if app.requests and not app.held]
    for job in waiting:
        parts = [part for request in scheduler.apps[job].requests for part in request.unit.parts]
        if any(part.shape.affinity or (part.apart and part.topology.required) for part in parts):
            continue  # a node that is added cannot change where other jobs are
        if any(part.topology.required and part.shape.whole for part in parts):
            continue
        blocker = scheduler.explain(job).blockers[0]
        after = scheduler.what_if(lifted(scheduler, job, blocker))
        check(after.scheduler)
        left = after.scheduler.apps.get(job)
        if left is not None and left.requests and not left.held:
            assert after.explain(job).blockers[0] != blocker, blocker
    check(scheduler)


ANYWHERE = Topology()


def cluster(*jobs, count=4, backfill=None, racks=2):
    scheduler = Scheduler(load(CONFIG), backfill=backfill)
    capacity = {"vcore": "8", "memory": "32Gi", "nvidia.com/gpu": 2}
    made = [NodeAdded(Node(f"n{index}", capacity, {"rack": f"r{index % racks}"})) for index in range(count)]
    scheduler.apply([*made, *(JobSubmitted(job) for job in jobs)], 0)
    scheduler.step(0)
    return scheduler


def job(id, count=1, queue="root.batch", estimate=None, topology=ANYWHERE, **resources):
    amounts = {name.replace("gpu", "nvidia.com/gpu"): amount for name, amount in resources.items()}
    return Job(
        id, queue, "ana", task_groups=(TaskGroup("g", count, amounts, topology=topology),), runtime_estimate=estimate
    )


def test_a_quota_is_named_with_its_path_and_amounts():
    scheduler = cluster(job("a", vcore="8", queue="root.ml.serve"), job("b", vcore="8", queue="root.ml.serve"))
    (first, *_) = scheduler.explain("b").blockers
    assert (first.kind, first.subject, first.resource, first.lack) == (QUOTA, "queue root.ml.serve", "vcore", 6000)
    assert first.text == "queue root.ml.serve uses vcore=8 of 10, and 8 more are asked for"


def test_a_gang_says_how_many_members_lack_a_place_and_what_the_nodes_lack():
    scheduler = cluster(job("a", 2, gpu=2), job("b", 3, gpu=2))
    (first,) = scheduler.explain("b").blockers
    assert (first.kind, first.lack, first.nodes) == ("room", 1, {"short of nvidia.com/gpu": 2})
    assert "short by 1" in first.text


def test_a_topology_is_named_where_there_is_room_in_all():
    scheduler = cluster(
        job("a", 1, gpu=2), job("b", 2, gpu=2, topology=Topology(required="rack")), job("c", 1, gpu=2), racks=4
    )
    assert scheduler.explain("b").state == "Rejected"  # a rack of one node never holds two
    pinned = [
        Job(
            f"p{index}",
            "root.batch",
            "ana",
            task_groups=(TaskGroup("g", 1, {"nvidia.com/gpu": count}, node=f"n{index}"),),
        )
        for index, count in enumerate((2, 2, 1, 1))
    ]
    scheduler = cluster(*pinned)
    scheduler.apply([JobSubmitted(job("d", 2, gpu=1, topology=Topology(required="rack")))], 1)
    scheduler.step(1)
    (first,) = scheduler.explain("d").blockers
    assert (first.kind, first.subject) == ("topology", "rack")


def test_behind_whom_and_until_when():
    scheduler = cluster(job("a", 3, gpu=2, estimate=100), job("b", 4, gpu=2, estimate=50), backfill="easy")
    assert scheduler.explain("b").start == 100
    scheduler.apply([JobSubmitted(job("c", 1, gpu=2, estimate=500))], 1)
    scheduler.step(1)
    (first,) = scheduler.explain("c").blockers
    assert (first.kind, first.subject) == (KEPT, "b")
    scheduler.apply([JobSubmitted(job("d", 1, gpu=2, estimate=99))], 1)
    scheduler.step(1)
    assert scheduler.apps["d"].held
    assert scheduler.what_if([]).estimate("c").start == 150
    assert scheduler.what_if([AddNodes(5, like="n0")]).estimate("c").start == 1


def test_of_a_job_that_ended_its_end_is_told():
    scheduler = cluster(job("a", 5, gpu=2), job("b"))
    assert scheduler.explain("a").text.endswith(
        "room for 4 of 5 is all that the whole cluster has when it is empty: ask for less, or add nodes"
    )
    assert scheduler.explain("b").text.startswith("1 members run on n")
