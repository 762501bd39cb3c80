"""A whole file of queues: every key reaches its field, and the reference has all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clearance.cluster.acl import Acl
from clearance.cluster.config import (
    ChildTemplate,
    Filter,
    InvalidQueues,
    Limit,
    PartitionConfig,
    PlacementRule,
    default,
    load,
)
from clearance.cluster.properties import PROPERTIES

WHOLE = """
partitions:
- name: Default
  statedumpfilepath: /tmp/dump
  preemption: {enabled: false, quotapreemptionenabled: yes}
  nodesortpolicy:
    type: binpacking
    resourceweights: {vcore: 4.0, memory: 1}
  limits:
  - limit: everybody
    users: ["*"]
    maxapplications: 50
  placementrules:
  - name: Provided
    create: true
    filter: {type: deny, users: ["^guest"]}
    parent: {name: fixed, value: root.ML, create: true}
  queues:
  - name: root
    submitacl: "*"
    queues:
    - name: ML
      parent: true
      maxapplications: 12
      adminacl: ana ops
      properties:
        application.sort.policy: fair
        priority.offset: "-5"
      resources:
        guaranteed: {memory: 1G, vcore: 10}
        max: {memory: 10G, vcore: 100, nvidia.com/gpu: 8}
      childtemplate:
        maxapplications: 3
        properties: {preemption.delay: 1m30s}
        resources: {max: {vcore: 500m}}
      limits:
      - limit: the group and sue
        users: [sue, bob]
        groups: [vision]
        maxresources: {nvidia.com/gpu: 500m}
      queues:
      - name: Train
        maxapplications: 8
- name: edge
  queues: []
"""


def test_every_key_reaches_its_field():
    config = load(WHOLE)
    partition = config.default
    assert [each.name for each in config.partitions] == ["default", "edge"]
    assert (partition.preemption, partition.quota_preemption) == (False, True)
    assert (partition.node_sort_policy, partition.resource_weights) == ("binpacking", {"vcore": 4.0, "memory": 1.0})
    fixed = PlacementRule("fixed", True, "root.ml")
    assert partition.placement_rules == (
        PlacementRule("provided", True, parent=fixed, filter=Filter(allow=False, user_pattern="^guest")),
    )
    assert list(partition.queues) == ["root", "root.ml", "root.ml.train"]
    assert config.root.limits == (Limit("everybody", ("*",), max_applications=50),)
    ml = partition.queues["root.ml"]
    assert (ml.name, ml.parent_path, ml.is_leaf, ml.max_applications, ml.line) == ("ml", "root", False, 12, 22)
    assert ml.admin_acl == Acl(users=frozenset({"ana"}), groups=frozenset({"ops"}))
    assert ml.guaranteed == {"memory": 10**9, "vcore": 10_000}
    assert ml.max == {"memory": 10**10, "vcore": 100_000, "nvidia.com/gpu": 8000}
    assert ml.limits == (Limit("the group and sue", ("sue", "bob"), ("vision",), {"nvidia.com/gpu": 500}),)
    assert ml.child_template == ChildTemplate(3, {"preemption.delay": "1m30s"}, {}, {"vcore": 500})
    assert partition.queues["root.ml.train"].is_leaf
    assert config.notes == (
        "partitions.default.statedumpfilepath is ignored: nothing is dumped to a file; `clearance` shows the state",
    )


def test_the_documented_queue_with_limits_is_accepted():
    """Partition and Queue Configuration, queues: the example of `root.namespaces`."""
    config = load("""
partitions:
- queues:
  - name: namespaces
    parent: true
    maxapplications: 12
    resources: {guaranteed: {memory: 1G, vcore: 10}, max: {memory: 10G, vcore: 100}}
    queues:
    - name: level1
      maxapplications: 8
      resources: {guaranteed: {memory: 500M, vcore: 5}, max: {memory: 5G, vcore: 50}}
""")
    assert config.default.queues["root.namespaces.level1"].guaranteed == {"memory": 500 * 10**6, "vcore": 5000}


def test_the_error_says_the_file_and_a_problem_a_line(tmp_path: Path):
    file = tmp_path / "queues.yaml"
    file.write_text("partitions:\n- nme: x\n  queues: [{name: a b}]\n")
    with pytest.raises(InvalidQueues) as raised:
        load(file)
    first, *rest = str(raised.value).splitlines()
    assert first == f"{file}: 2 problems"
    assert [line.partition(":")[0] for line in rest] == ["  line 2", "  line 3"]
    assert raised.value.exit_code == 2


def test_without_a_file_everybody_submits_to_the_default_queue():
    config = default({"vcore": 2000})
    assert [queue.path for queue in config.root.walk()] == ["root", "root.default"]
    assert config.root.submit_acl.allows("anybody")
    assert config.default.queues["root.default"].max == {"vcore": 2000}
    assert default().default.queues["root.default"].max == {}


def test_a_configuration_without_a_partition_of_that_name_has_its_first_for_default():
    assert load("partitions: [{name: GPU, queues: []}, {name: cpu, queues: []}]\n").default.name == "gpu"


REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "queues.md"


def test_every_key_and_property_is_on_the_page():
    from clearance.cluster import parse as keys

    page = REFERENCE.read_text()
    names = {key for name in dir(keys) if name.endswith("_KEYS") for key in getattr(keys, name)}
    for name in (*names, *PROPERTIES, *keys.RULES, *keys.NODE_SORT_POLICIES):
        assert f"`{name}`" in page, name


def test_the_example_of_the_page_loads_without_a_note():
    text = REFERENCE.read_text().partition("```yaml\n")[2].partition("```")[0]
    config = load(text)
    assert config.notes == ()
    assert isinstance(config.default, PartitionConfig)
    assert len(config.default.queues) > 4
