"""Each value of a file of queues on its own: what it may be, and what is said of one that it cannot be."""

from __future__ import annotations

import pytest

from clearance.cluster.config import load
from support.queues import below_root, partition, problems

BAD_QUEUES = [
    ("[{name: a, parnt: true}]", "root.a.parnt is 'true': there is no key 'parnt'; did you mean 'parent'?"),
    ("[{name: a, properties: {preemption.polcy: fence}}]", "did you mean 'preemption.policy'?"),
    ("[{name: a, properties: {preemption.policy: fense}}]", "root.a.properties.preemption.policy is 'fense'"),
    ("[{name: a, properties: {application.sort.policy: fare}}]", "did you mean 'fair'?"),
    ("[{name: a, properties: {application.sort.priority: true}}]", "use enabled, disabled"),
    ("[{name: a, properties: {priority.offset: 2147483648}}]", "to 2147483647"),
    ("[{name: a, properties: {preemption.delay: 30}}]", "write it as '30s'"),
    ("[{name: a, properties: {preemption.delay: 0s}}]", "longer than 0"),
    ("[{name: a, properties: {application.unschedasks.backoff: -1}}]", "write a whole number"),
    ("[{name: a, name: b}]", "root.a.name stands twice, first on line 2"),
    ("[{name: a}, {name: A}]", "queue 'root.a' stands twice"),
    ("[{name: a.b}]", "a dot in a name is written _dot_"),
    ("[{name: '@recovery@'}]", "cannot be a name"),
    (f"[{{name: {'x' * 65}}}]", "cannot be a name"),
    ("[{parent: true}]", "has no name"),
    ("[{name: a, parent: false, queues: [{name: b}]}]", "root.a.parent is 'false' but it has queues"),
    ("[{name: a, parent: maybe}]", "write true or false"),
    ("[{name: a, maxapplications: 0}]", "leave it away for no limit"),
    ("[{name: a, maxapplications: -1}]", "write a whole number from 1"),
    ("[{name: a, maxapplications: 1.5}]", "write a whole number from 1"),
    ("[{name: a, maxapplications: 99999999999999999999}]", "write a whole number from 1"),
    ("[{name: a, submitacl: 'x y z'}]", "root.a.submitacl is 'x y z'"),
    ("[{name: a, resources: {max: {vcore: -1}}}]", "root.a.resources.max.vcore is '-1': it is negative"),
    ("[{name: a, resources: {max: {vcore: .nan}}}]", "root.a.resources.max.vcore is '.nan'"),
    ("[{name: a, resources: {max: {gpus: 1}}}]", "there is no resource 'gpus'"),
    ("[{name: a, resources: {max: {vcore: }}}]", "root.a.resources.max.vcore is empty"),
    ("[{name: a, resources: {max: 3}}]", "root.a.resources.max is '3': write a map"),
    ("[{name: a, resources: {max: {vcore: [1]}}}]", "root.a.resources.max.vcore is a list: write one plain value"),
    ("[{name: a, limits: [{maxapplications: 1}]}]", "root.a.limits[0] is for nobody"),
    ("[{name: a, limits: [{users: [x]}]}]", "root.a.limits[0] limits nothing"),
    ("[{name: a, limits: [{users: [x], maxresources: {vcore: 0}}]}]", "is all 0"),
    ("[{name: a, limits: [{users: [x], maxapplications: 0}]}]", "write a whole number from 1"),
    ("[{name: a, limits: [{users: ['1x'], maxapplications: 1}]}]", "has '1x', which can be no name"),
    ("[{name: a, limits: [{users: [x, '*'], maxapplications: 1}]}]", "give '*' a limit of its own"),
]


@pytest.mark.parametrize(("queues", "message"), BAD_QUEUES)
def test_a_queue_that_cannot_be_is_refused_with_path_line_value_and_mend(queues: str, message: str):
    (problem,) = problems(below_root(queues))
    assert problem.startswith("line 2: ")
    assert message in problem


BAD_PARTITIONS = [
    ("name: x", "partitions.x.queues is missing"),
    ("queues: [], quees: 1", "there is no key 'quees'; did you mean 'queues'?"),
    ("queues: [], nodesortpolicy: {type: binpack}", "did you mean 'binpacking'?"),
    ("queues: [], nodesortpolicy: {resourceweights: {vcore: -1}}", "write a number from 0"),
    ("queues: [], nodesortpolicy: {resourceweights: {cpu: 1}}", "write 'vcore'"),
    ("queues: [], preemption: {enabled: perhaps}", "partitions.default.preemption.enabled is 'perhaps'"),
    ("queues: [], placementrules: [{name: provded}]", "did you mean 'provided'?"),
    ("queues: [], placementrules: [{name: recovery}]", "use provided, user, fixed, tag"),
    ("queues: [], placementrules: [{name: tag}]", "without a value"),
    ("queues: [], placementrules: [{name: fixed, create: true}]", "without a value"),
    ("queues: [], placementrules: [{name: fixed, create: true, value: 'a b'}]", "it can be no queue"),
    ("queues: [], placementrules: [{name: user, filter: {type: refuse}}]", "use allow or deny"),
    ("queues: [], placementrules: [{name: user, filter: {users: ['(']}}]", "is no regular expression"),
    ("queues: [], placementrules: [{name: user, filter: {groups: [a, 'b*']}}]", "a regular expression stands alone"),
]


@pytest.mark.parametrize(("text", "message"), BAD_PARTITIONS)
def test_a_partition_that_cannot_be_is_refused(text: str, message: str):
    (problem,) = problems(partition(text))
    assert problem.startswith("line 2: ")
    assert message in problem


def test_all_problems_of_a_file_are_told_each_with_its_line():
    told = problems("""partitions:
- queues:
  - name: a
    maxapplications: none
    resources:
      max:
        vcore: two
        memory: 1.5Gi
  - name: a
- queues: []
""")
    assert [problem.partition(":")[0] for problem in told] == ["line 4", "line 7", "line 8", "line 9", "line 10"]


def test_what_has_no_effect_is_noted():
    """Partition and Queue Configuration, resources: a maximum that is all 0 is ignored."""
    config = load(
        "partitions: [{queues: [{name: a, resources: {max: {vcore: 0}}, childtemplate: {maxapplications: 1}}], "
        "placementrules: [{name: user, value: x}], usergroupresolver: {type: os}}]\nchecksum: ABC\n"
    )
    assert config.default.queues["root.a"].max == {}
    assert len(config.notes) == 5
    assert all("is ignored: " in note for note in config.notes)


def test_a_maximum_of_zero_beside_others_forbids_a_resource():
    """Partition and Queue Configuration, resources: 0 makes the resource not available to the queue."""
    queue = load(below_root("[{name: a, resources: {max: {vcore: 1, nvidia.com/gpu: 0}}}]")).default.queues["root.a"]
    assert queue.max == {"vcore": 1000, "nvidia.com/gpu": 0}


def test_weights_that_are_not_given_are_those_of_yunikorn():
    """Sorting Policies, resource weighting: vcore and memory count 1.0; only what is mentioned counts."""
    assert load(below_root("[]")).default.resource_weights == {"vcore": 1.0, "memory": 1.0}
    weighted = load("partitions: [{queues: [], nodesortpolicy: {type: fair, resourceweights: {vcore: 4}}}]\n").default
    assert weighted.resource_weights == {"vcore": 4.0}
    assert load("partitions: [{queues: [], nodesortpolicy: binpacking}]\n").default.node_sort_policy == "binpacking"


def test_a_file_without_a_root_gets_one():
    """Partition and Queue Configuration, queues: several at the top, or one of another name, go below a root."""
    for queues in ("[{name: a}, {name: b}]", "[{name: a}]", "[{name: root, queues: [{name: a}]}]"):
        config = load(below_root(queues))
        assert config.root.path == "root"
        assert config.root.children[0].path == "root.a"
        assert not config.root.is_leaf
