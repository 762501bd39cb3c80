"""The file of queues: what it may say, what is handed down, what must agree, and that nothing else gets through."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearance.cluster import document
from clearance.cluster.acl import Acl
from clearance.cluster.config import (
    Change,
    ChildTemplate,
    Filter,
    InvalidQueues,
    Limit,
    PlacementRule,
    QueueConfig,
    changes,
    default,
    load,
)
from clearance.cluster.model import PartitionConfig
from clearance.cluster.parse import parse
from clearance.cluster.properties import PROPERTIES, inherit, parse_duration
from clearance.errors import ClearanceError, UsageError


def problems(text: str) -> list[str]:
    """Returns everything that is wrong with a text, a line each."""
    with pytest.raises(InvalidQueues) as raised:
        parse(text)
    return [str(problem) for problem in raised.value.problems]


def below_root(queues: str) -> str:
    """Returns a file with these queues, in YAML on one line, from its line 2 on."""
    return f"partitions:\n- queues: {queues}\n"


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


def test_a_file_without_a_root_gets_one():
    """Partition and Queue Configuration, queues: several at the top, or one of another name, go below a root."""
    for queues in ("[{name: a}, {name: b}]", "[{name: a}]", "[{name: root, queues: [{name: a}]}]"):
        config = load(below_root(queues))
        assert config.root.path == "root"
        assert config.root.children[0].path == "root.a"
        assert not config.root.is_leaf


def test_the_documented_queue_with_limits_is_accepted():
    """Partition and Queue Configuration, queues: the example of `root.namespaces`."""
    config = load("""
partitions:
  - name: default
    queues:
      - name: namespaces
        parent: true
        maxapplications: 12
        resources:
          guaranteed:
            {memory: 1G, vcore: 10}
          max:
            {memory: 10G, vcore: 100}
        queues:
          - name: level1
            maxapplications: 8
            resources:
              guaranteed:
                {memory: 500M, vcore: 5}
              max:
                {memory: 5G, vcore: 50}
""")
    assert config.default.queues["root.namespaces.level1"].guaranteed == {"memory": 500 * 10**6, "vcore": 5000}


def test_weights_that_are_not_given_are_those_of_yunikorn():
    """Sorting Policies, resource weighting: vcore and memory count 1.0; only what is mentioned counts."""
    assert load(below_root("[]")).default.resource_weights == {"vcore": 1.0, "memory": 1.0}
    weighted = load("partitions: [{queues: [], nodesortpolicy: {type: fair, resourceweights: {vcore: 4}}}]\n").default
    assert weighted.resource_weights == {"vcore": 4.0}
    assert load("partitions: [{queues: [], nodesortpolicy: binpacking}]\n").default.node_sort_policy == "binpacking"


def test_properties_are_handed_down_as_yunikorn_does():
    """Its documentation of each property, and what of a parent's it keeps: no priority policy or offset, of the
    preemption policies `disabled` alone."""
    top = inherit(None, {
        "application.sort.policy": "fair", "application.sort.priority": "disabled", "priority.policy": "fence",
        "priority.offset": "7", "preemption.policy": "fence", "preemption.delay": "10s", "quota.preemption.delay": "2h",
        "application.unschedasks.backoff": "5", "application.unschedasks.backoff.delay": "1m",
    })  # fmt: skip
    assert (top.priority_policy, top.priority_offset, top.preemption_policy) == ("fence", 7, "fence")
    child = inherit(top, {"preemption.policy": "disabled", "application.sort.policy": "StateAware"})
    assert (child.priority_policy, child.priority_offset) == ("default", 0)
    assert (child.sort_policy, child.sort_priority, child.preemption_delay) == ("fifo", False, 10.0)
    assert (child.quota_preemption_delay, child.unschedulable_backoff) == (7200.0, 5)
    assert child.unschedulable_backoff_delay == 60.0
    grandchild = inherit(child, {})
    assert grandchild.preemption_policy == "disabled"
    assert inherit(top, {}).preemption_policy == "default"


def test_the_properties_of_a_queue_are_those_in_force():
    text = below_root(
        "[{name: a, properties: {preemption.policy: disabled, preemption.delay: 5s}, "
        "queues: [{name: b, properties: {priority.offset: 3}}]}]"
    )
    queue = load(text).default.queues["root.a.b"]
    assert (queue.properties.preemption_policy, queue.properties.preemption_delay) == ("disabled", 5.0)
    assert queue.own_properties == {"priority.offset": "3"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("300ms", 0.3), ("2h45m", 9900), ("1h15m30.918s", 4530.918), ("0", 0),
     ("1µs", 1e-6), ("1ns", 1e-9), (".5s", 0.5), ("5.s", 5)],
)  # fmt: skip
def test_durations_are_read_as_in_go(text: str, seconds: float):
    """pkg.go.dev/time, ParseDuration and its tests: units, fractions, sums."""
    assert parse_duration(text, "x") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "-30s", "s", ".s", "1d", "30 s", "1s x", "+", "1e3s", "3000000h", "1.5"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(UsageError, match="write it as '30s'"):
        parse_duration(text, "preemption.delay")


BAD = [
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
    ("[{name: a, resources: {max: 3}}]", "root.a.resources.max is '3': write a map"),
    ("[{name: a, resources: {max: {vcore: [1]}}}]", "root.a.resources.max.vcore is a list: write one plain value"),
    ("[{name: root, resources: {max: {vcore: 1}}}]", "root.resources is set: take it away"),
    (
        "[{name: a, resources: {guaranteed: {vcore: 2}, max: {vcore: 1}}}]",
        "root.a.resources.guaranteed.vcore is 2 but its max is 1: lower it, or raise the max",
    ),
    (
        "[{name: a, resources: {guaranteed: {vcore: 3}}, queues: [{name: b, resources: {guaranteed: {vcore: 2}}}, "
        "{name: c, resources: {guaranteed: {vcore: 2}}}]}]",
        "the queues below 'root.a' guarantee vcore=4 together but its guaranteed is 3",
    ),
    (
        "[{name: a, resources: {max: {vcore: 3}}, queues: [{name: b, queues: [{name: c, resources: "
        "{guaranteed: {vcore: 4}}}]}]}]",
        "the queues below 'root.a' guarantee vcore=4 together but its max is 3",
    ),
    (
        "[{name: a, resources: {max: {vcore: 3}}, queues: [{name: b, queues: [{name: c, resources: "
        "{max: {vcore: 4}}}]}]}]",
        "root.a.b.c.resources.max.vcore is 4 but above it the max is 3",
    ),
    (
        "[{name: a, maxapplications: 3, queues: [{name: b, queues: [{name: c, maxapplications: 4}]}]}]",
        "root.a.b.c.maxapplications is 4 but 'root.a' has 3",
    ),
    (
        "[{name: a, parent: true, childtemplate: {resources: {guaranteed: {vcore: 2}, max: {vcore: 1}}}}]",
        "root.a.childtemplate.resources.guaranteed.vcore is 2 but its max is 1",
    ),
    ("[{name: a, limits: [{maxapplications: 1}]}]", "root.a.limits[0] is for nobody"),
    ("[{name: a, limits: [{users: [x]}]}]", "root.a.limits[0] limits nothing"),
    ("[{name: a, limits: [{users: [x], maxresources: {vcore: 0}}]}]", "is all 0"),
    ("[{name: a, limits: [{users: [x], maxapplications: 0}]}]", "write a whole number from 1"),
    ("[{name: a, limits: [{users: ['1x'], maxapplications: 1}]}]", "has '1x', which can be no name"),
    ("[{name: a, limits: [{users: [x, '*'], maxapplications: 1}]}]", "give '*' a limit of its own"),
    (
        "[{name: a, limits: [{users: [x], maxapplications: 1}, {users: [x], maxapplications: 2}]}]",
        "root.a.limits[1].users has 'x', who has a limit here already",
    ),
    (
        "[{name: a, limits: [{users: ['*'], maxapplications: 1}, {users: [x], maxapplications: 2}]}]",
        "put the '*' last",
    ),
    ("[{name: a, limits: [{groups: ['*'], maxapplications: 1}]}]", "is '*' alone"),
    (
        "[{name: a, resources: {max: {vcore: 1}}, limits: [{users: [x], maxresources: {vcore: 2}}]}]",
        "root.a.limits[0].maxresources.vcore is 2 but the max of 'root.a' is 1",
    ),
    (
        "[{name: a, maxapplications: 1, limits: [{users: [x], maxapplications: 2}]}]",
        "root.a.limits[0].maxapplications is 2 but 'root.a' has 1",
    ),
    (
        "[{name: a, limits: [{users: [x], maxresources: {vcore: 1}, maxapplications: 5}], queues: [{name: b, queues: "
        "[{name: c, limits: [{users: [x], maxresources: {vcore: 2}}]}]}]}]",
        "root.a.b.c.limits[0].maxresources.vcore is 2 but of users 'x' 'root.a' has 1",
    ),
    (
        "[{name: a, limits: [{groups: [g], maxapplications: 5}], queues: [{name: b, limits: "
        "[{groups: [g], maxapplications: 6}]}]}]",
        "root.a.b.limits[0].maxapplications is 6 but of groups 'g' 'root.a' has 5",
    ),
]


@pytest.mark.parametrize(("queues", "message"), BAD)
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
    ("queues: [{name: a}], placementrules: [{name: fixed, value: b}]", "there is no queue 'root.b'"),
    ("queues: [{name: a, queues: [{name: b}]}], placementrules: [{name: fixed, value: a}]", "'root.a' is a parent"),
    (
        "queues: [{name: a}], placementrules: [{name: user, parent: {name: fixed, value: a}}]",
        "'root.a' is a leaf; a queue that others are put below has `parent: true`",
    ),
    (
        "queues: [{name: a}], placementrules: [{name: fixed, create: true, value: root.a.b}]",
        "'root.a.b' cannot be made, since 'root.a' is a leaf",
    ),
    (
        "queues: [{name: a}], placementrules: [{name: fixed, value: root.a, parent: {name: user}}]",
        "'fixed root.a' begins at the root: take its `parent` away",
    ),
]


@pytest.mark.parametrize(("partition", "message"), BAD_PARTITIONS)
def test_a_partition_that_cannot_be_is_refused(partition: str, message: str):
    (problem,) = problems(f"partitions:\n- {{{partition}}}\n")
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


def test_the_error_says_the_file_and_a_problem_a_line(tmp_path: Path):
    file = tmp_path / "queues.yaml"
    file.write_text("partitions:\n- nme: x\n  queues: [{name: a b}]\n")
    with pytest.raises(InvalidQueues) as raised:
        load(file)
    first, *rest = str(raised.value).splitlines()
    assert first == f"{file}: 2 problems"
    assert [line.partition(":")[0] for line in rest] == ["  line 2", "  line 3"]
    assert raised.value.exit_code == 2


def test_a_guarantee_of_a_parent_that_has_none_is_that_of_its_children():
    assert problems(
        below_root(
            "[{name: a, resources: {guaranteed: {vcore: 1}}, queues: [{name: b, queues: "
            "[{name: c, resources: {guaranteed: {vcore: 2}}}]}]}]"
        )
    ) == [
        "line 2: the queues below 'root.a' guarantee vcore=2 together but its guaranteed is 1: lower theirs, or raise "
        "root.a.resources.guaranteed.vcore"
    ]


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "it is no YAML"),
        ("a: 1\n---\nb: 2\n", "it is no YAML"),
        ("- 1\n", "the file is a list: write a map"),
        ("? [a]\n: 1\n", "the file has a list as a key"),
        ("partitions: [&a {queues: []}, *a]\n", "the alias '*a' is refused"),
        ("partitions:\n- <<: {queues: []}\n", "of the kind 'merge', which is refused"),
        ("partitions: !!python/object/apply:os.getcwd []\n", "which is refused"),
        ("a: " + "[" * 5000, "more than 100 levels"),
        ('"\\UFFFFFFFF": 1', "it is no YAML"),
        ("a: \0", "it is no YAML"),
        ("a:\n" + "#" * document.SIZE, "characters, more than"),
    ],
)
def test_what_yaml_has_beyond_data_is_refused(text: str, message: str):
    assert any(message in problem for problem in problems(text))


def test_a_bomb_of_aliases_is_refused_before_it_grows():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert problems("\n".join(lines)) == ["line 2: the alias '*a0' is refused: write out what it stands for"]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path):
    (tmp_path / "latin.yaml").write_bytes(b"# caf\xe9\n")
    for name in ("missing.yaml", "", "latin.yaml", "nul\0"):
        with pytest.raises(UsageError, match=r"cannot be read|not UTF-8"):
            load(tmp_path / name)


WORDS = st.sampled_from([
    "partitions", "name", "queues", "root", "a", "resources", "max", "guaranteed", "vcore", "memory", "1Gi", "-1",
    "limits", "users", "groups", "*", "placementrules", "fixed", "value", "parent", "true", "null", "filter",
    "childtemplate", "~", "properties", "priority.offset", "nodesortpolicy", "type", "fair", "maxapplications", "1e9", "submitacl",
    "a b c",
])  # fmt: skip
TREES = st.recursive(
    WORDS | st.integers() | st.floats() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(st.text() | st.text(alphabet="abc:-?&*!|>%@`\"'{}[],#\n \t\\0123<=", max_size=40))
def test_no_text_does_anything_but_load_or_raise_our_error(text: str):
    try:
        parse(text)
    except ClearanceError:
        return


@given(TREES)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_tree_of_known_words_does_anything_but_load_or_raise_our_error(tree: object):
    import json

    for text in (json.dumps({"partitions": [tree]}), json.dumps({"partitions": [{"queues": [tree, tree]}]})):
        try:
            parse(text)
        except ClearanceError:
            continue


AMOUNT = st.integers(0, 6)
QUEUES = st.recursive(
    st.fixed_dictionaries({"g": AMOUNT, "m": st.none() | st.integers(1, 9)}),
    lambda inner: st.fixed_dictionaries(
        {"g": AMOUNT, "m": st.none() | st.integers(1, 9), "queues": st.lists(inner, max_size=3)}
    ),
    max_leaves=6,
)


def written(queue: dict[str, object], name: str) -> dict[str, object]:
    own = {"guaranteed": {"vcore": queue["g"]}} | ({} if queue["m"] is None else {"max": {"vcore": queue["m"]}})
    children = queue.get("queues", [])
    assert isinstance(children, list)
    return {"name": name, "resources": own, "queues": [written(child, f"q{i}") for i, child in enumerate(children)]}


@given(QUEUES)
def test_a_tree_that_is_accepted_can_give_every_guarantee_at_once(queue: dict[str, object]):
    import json

    try:
        root = parse(json.dumps({"partitions": [{"queues": [written(queue, "top")]}]})).root
    except InvalidQueues:
        return

    def given_out(each: QueueConfig, most: int) -> int:
        most = min(most, each.max.get("vcore", most))
        total = sum(given_out(child, most) for child in each.children)
        own = max(each.guaranteed.get("vcore", 0), total)
        assert own <= most
        if each.guaranteed.get("vcore"):
            assert total <= each.guaranteed["vcore"]
        return own

    given_out(root, 2**63)


def test_without_a_file_everybody_submits_to_the_default_queue():
    config = default({"vcore": 2000})
    assert [queue.path for queue in config.root.walk()] == ["root", "root.default"]
    assert config.root.submit_acl.allows("anybody")
    assert config.default.queues["root.default"].max == {"vcore": 2000}
    assert default().default.queues["root.default"].max == {}


def test_a_configuration_without_a_partition_of_that_name_has_its_first_for_default():
    assert load("partitions: [{name: GPU, queues: []}, {name: cpu, queues: []}]\n").default.name == "gpu"


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
    spaced = WHOLE.replace("\n", "\n\n").replace("1G,", "1000M,")
    assert spaced != WHOLE
    assert changes(load(WHOLE), load(spaced)) == ()


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
