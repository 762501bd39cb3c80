"""The differences between two configurations."""

from __future__ import annotations

from clearance.cluster.config import Change, changes, load
from support.queues import below_root


def test_the_differences_of_two_configurations_are_typed():
    old = load(below_root("[{name: a, queues: [{name: b}]}, {name: c, maxapplications: 3}]"))
    new = load("partitions: [{preemption: {enabled: false}, queues: [{name: c, maxapplications: 4}, {name: d}]}]\n")
    found = changes(old, new)
    assert found == (
        Change("removed", "default", "root.a.b"),
        Change("removed", "default", "root.a"),
        Change("changed", "default", "", {"preemption": (True, False)}),
        Change("changed", "default", "root.c", {"max_applications": (3, 4)}),
        Change("added", "default", "root.d"),
    )
    assert [str(change) for change in found][1:4] == [
        "queue root.a removed", "partition default changed: preemption", "queue root.c changed: max_applications",
    ]  # fmt: skip


def test_a_partition_that_comes_or_goes_is_a_difference():
    one = load("partitions: [{queues: []}]\n")
    two = load("partitions: [{queues: []}, {name: gpu, queues: [{name: a}]}]\n")
    assert [str(change) for change in changes(one, two)] == [
        "partition gpu added", "queue root of partition gpu added", "queue root.a of partition gpu added",
    ]  # fmt: skip
    assert [str(change) for change in changes(two, one)] == [
        "queue root.a of partition gpu removed", "queue root of partition gpu removed", "partition gpu removed",
    ]  # fmt: skip


def test_the_same_queues_written_otherwise_are_no_difference():
    one = load(below_root("[{name: A, resources: {max: {memory: 1G, vcore: 1}}}]"))
    other = load("\n\npartitions:\n- queues:\n  - {name: a, resources: {max: {vcore: 1000m, memory: 1000M}}}\n")
    assert changes(one, other) == ()
