"""Placement rules: the examples of YuniKorn's page "App Placement Rules", and what ends a chain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster.config import Filter, PartitionConfig, PlacementRule, QueueConfig, default, load
from clearance.cluster.model import RECOVERY_QUEUE
from clearance.cluster.rules import Placed, Rejected, Submitted, created, lets_in, place


def partition(rules: str, queues: str = "[]", acl: str = "'*'") -> PartitionConfig:
    """Returns a partition of these rules and of these queues below the root, both as YAML on one line."""
    return load(
        f"partitions: [{{name: default, placementrules: {rules}, "
        f"queues: [{{name: root, submitacl: {acl}, queues: {queues}}}]}}]\n"
    ).default


def placed(tree: PartitionConfig, **job: object) -> str | None:
    answer = place(tree.placement_rules, tree, Submitted(**{"user": "developer", **job}))  # type: ignore[arg-type]
    return answer.queue if isinstance(answer, Placed) else None


def test_a_provided_queue_is_put_below_the_users_unless_it_is_qualified():
    """App Placement Rules, provided rule: `my_special_queue` of `developer`, and `root.dev_queue`."""
    tree = partition("[{name: provided, create: true, parent: {name: user, create: true}}]")
    assert placed(tree, queue="my_special_queue") == "root.developer.my_special_queue"
    assert placed(tree, queue="root.dev_queue") == "root.dev_queue"


def test_the_user_rule_writes_dots_as_dot_and_fails_where_the_queue_is_missing():
    """App Placement Rules, user name rule: `finance.test` has a queue, `developer` has none."""
    tree = partition("[{name: user}]", "[{name: finance_dot_test}]")
    assert placed(tree, user="finance.test") == "root.finance_dot_test"
    assert placed(tree) is None


def test_the_fixed_rule_always_finds_its_queue():
    """App Placement Rules, fixed rule."""
    tree = partition("[{name: fixed, value: last_resort}]", "[{name: last_resort}]")
    assert placed(tree, queue="my_special_queue") == "root.last_resort"


def test_the_tag_rule_takes_the_namespace_and_fails_without_one():
    """App Placement Rules, tag rule."""
    tree = partition("[{name: tag, value: namespace, create: true}]")
    assert placed(tree, tags={"namespace": "default"}) == "root.default"
    assert placed(tree, tags={"Namespace": "testing"}) == "root.testing"
    assert placed(tree) is None


COMPLEX = """
partitions:
- placementrules:
  - {name: user, create: true, filter: {groups: [dev*]}, parent: {name: tag, value: namespace}}
  - name: tag
    value: namespace
    create: true
    parent: [{name: fixed, value: root.namespaces, filter: {type: allow, users: [john]}}]
  - {name: fixed, value: root.default}
  queues:
  - name: root
    submitacl: "*"
    queues: [{name: namespaces, parent: true}, {name: newapp, parent: true}, {name: default}]
"""


@pytest.mark.parametrize(
    ("user", "groups", "namespace", "queue"),
    [
        ("john", ("john",), "testing", "root.namespaces.testing"),
        ("sarah", ("sarah", "test_app", "dev_app"), "newapp", "root.newapp.sarah"),
        ("bob", ("bob",), "testapp", "root.default"),
    ],
)
def test_three_chained_rules_place_as_documented(user: str, groups: tuple[str, ...], namespace: str, queue: str):
    """App Placement Rules, complex examples, the first."""
    assert placed(load(COMPLEX).default, user=user, groups=groups, tags={"namespace": namespace}) == queue


def test_a_queue_that_may_not_be_submitted_to_leaves_it_to_the_next_rule():
    """App Placement Rules, complex examples, the second; `root.users` is open to everybody here."""
    tree = partition(
        "[{name: fixed, value: root.production}, {name: user, create: true, parent: {name: fixed, value: users}}]",
        "[{name: production, submitacl: 'john,bob'}, {name: users, parent: true, submitacl: '*'}]",
        acl="''",
    )
    assert placed(tree, user="john") == "root.production"
    assert placed(tree, user="sarah") == "root.users.sarah"


def test_a_group_that_a_list_names_may_submit_through_a_rule():
    tree = partition("[{name: provided}]", "[{name: a, submitacl: ' dev'}]", acl="''")
    assert placed(tree, queue="a", groups=("dev",)) == "root.a"
    assert placed(tree, queue="a", groups=("ops",)) is None


def test_without_a_match_a_job_goes_into_the_default_queue_or_is_rejected_with_every_reason():
    rules = "[{name: provided}, {name: tag, value: team}, {name: user}]"
    assert placed(partition(rules, "[{name: default}]"), queue="nowhere") == "root.default"
    tree = partition(rules, "[{name: other}]")
    answer = place(tree.placement_rules, tree, Submitted("ana", queue="nowhere"))
    assert isinstance(answer, Rejected)
    assert [rule for rule, _ in answer.reasons] == ["provided", "tag team", "user", "root.default"]
    assert "there is no queue 'root.nowhere'" in str(answer)
    assert "the job has no tag 'team'" in str(answer)


def test_without_rules_a_job_names_its_queue():
    """Partition and Queue Configuration, placement rules: without any, the provided rule applies."""
    tree = load("partitions: [{queues: [{name: ml, submitacl: '*'}]}]\n").default
    assert placed(tree, queue="root.ml") == placed(tree, queue="ML") == "root.ml"
    assert placed(tree, queue="root.vision") is None
    assert placed(default().default) == "root.default"


def test_a_job_that_runs_already_is_recovered_where_no_rule_matches():
    """Partition and Queue Configuration, recovery queue: for what runs already, and never to be submitted to."""
    tree = partition("[{name: provided, create: true}]", acl="''")
    answer = place(tree.placement_rules, tree, Submitted("ana", queue="root.gone", forced=True))
    assert answer == Placed(RECOVERY_QUEUE, (RECOVERY_QUEUE,), "recovery")
    asked = place(tree.placement_rules, tree, Submitted("ana", queue=RECOVERY_QUEUE))
    assert isinstance(asked, Rejected)
    assert "nothing is submitted to" in str(asked)


def test_a_parent_takes_no_jobs_and_a_leaf_no_queues():
    tree = partition("[{name: provided, create: true}]", "[{name: ml, parent: true}, {name: leaf}, {name: default}]")
    assert placed(tree, queue="root.ml") == "root.default"
    answer = place(tree.placement_rules, tree, Submitted("ana", queue="root.leaf.new"))
    assert isinstance(answer, Rejected)
    assert "'root.leaf' is a leaf" in str(answer)
    below = partition("[{name: tag, value: x, parent: {name: user}}]", "[{name: ana}, {name: default}]")
    assert placed(below, user="ana", tags={"x": "y"}) is None


def test_every_queue_on_the_way_is_created_parents_first():
    tree = partition("[{name: provided, create: true}]", "[{name: ml, parent: true}]")
    answer = place(tree.placement_rules, tree, Submitted("ana", queue="root.ml.vision.train"))
    assert answer == Placed("root.ml.vision.train", ("root.ml.vision", "root.ml.vision.train"), "provided")


def test_a_rule_below_another_creates_only_where_it_says_so_itself():
    rules = "[{name: tag, value: x, parent: {name: user, create: true}}]"
    tree = partition(rules, "[{name: ana, queues: [{name: old}]}]")
    assert placed(tree, user="ana", tags={"x": "old"}) == "root.ana.old"
    assert placed(tree, user="ana", tags={"x": "new"}) is None


def test_a_name_that_can_be_no_queue_ends_the_chain():
    tree = partition("[{name: provided, create: true}]", "[{name: default}]")
    for name in ("a b", "root.a..b", "root.", "x" * 65, "root.é"):
        answer = place(tree.placement_rules, tree, Submitted("ana", queue=name))
        assert isinstance(answer, Rejected), name
        assert "can be no queue" in str(answer)


class Draining:
    """A partition, one queue of which has been removed while jobs are in it."""

    def __init__(self, tree: PartitionConfig, path: str) -> None:
        self.tree = tree
        self.path = path

    def exists(self, path: str) -> bool:
        return self.tree.exists(path)

    def is_leaf(self, path: str) -> bool:
        return self.tree.is_leaf(path)

    def accepts(self, path: str) -> bool:
        return path != self.path

    def chain(self, path: str) -> Iterator[QueueConfig]:
        return self.tree.chain(path)


def test_a_draining_queue_takes_nothing_and_creates_nothing():
    tree = partition("[{name: provided, create: true}]", "[{name: ml, parent: true}, {name: old}, {name: default}]")
    for path, queue in (("root.old", "root.old"), ("root.ml", "root.ml.new")):
        answer = place(tree.placement_rules, Draining(tree, path), Submitted("ana", queue=queue))
        assert isinstance(answer, Rejected)
        assert "draining or stopped" in str(answer)


@pytest.mark.parametrize(
    ("filter", "ana", "bob"),
    [
        (Filter(), True, True),
        (Filter(allow=False), False, False),
        (Filter(users=frozenset({"ana"})), True, False),
        (Filter(allow=False, users=frozenset({"ana"})), False, True),
        (Filter(user_pattern="^a"), True, False),
        (Filter(group_pattern="dev|ops"), False, True),
        (Filter(allow=False, groups=frozenset({"ops"})), True, False),
        (Filter(users=frozenset({"ana"}), groups=frozenset({"ops"})), True, True),
    ],
)
def test_a_filter_is_for_whom_it_names_or_for_the_others(filter: Filter, ana: bool, bob: bool):
    """App Placement Rules, filter parameter; an empty one is its type for everybody. Bob is in ops, ana in no group."""
    assert (lets_in(filter, "ana", ()), lets_in(filter, "bob", ("staff", "ops"))) == (ana, bob)


TEMPLATE = """
partitions:
- placementrules: [{name: provided, create: true}]
  queues:
  - name: root
    submitacl: "*"
    properties: {application.sort.priority: disabled}
    childtemplate:
      maxapplications: 10
      properties: {application.sort.policy: fair}
      resources: {guaranteed: {vcore: 1, memory: 1G}, max: {vcore: 20, memory: 600G}}
    queues:
    - name: parent
      parent: true
      properties: {priority.policy: fence, priority.offset: 5, preemption.policy: disabled}
      childtemplate: {resources: {max: {vcore: 21, memory: 610G}}}
    - {name: notemplate, parent: true}
"""


def test_a_created_leaf_follows_the_nearest_template():
    """Partition and Queue Configuration, child template: root.parent.sales and root.notemplate.sales."""
    tree = load(TEMPLATE).default
    own = created(tree, "root.parent.sales")
    assert own.max == {"vcore": 21_000, "memory": 610 * 10**9}
    assert (own.guaranteed, own.max_applications) == ({}, None)
    inherited = created(tree, "root.notemplate.sales")
    assert inherited.max == {"vcore": 20_000, "memory": 600 * 10**9}
    assert inherited.guaranteed == {"vcore": 1000, "memory": 10**9}
    assert inherited.max_applications == 10
    assert inherited.properties.sort_policy == "fair"
    assert created(tree, "root.notemplate.deep.sales") == QueueConfig(
        **{**vars(inherited), "path": "root.notemplate.deep.sales"}
    )


def test_a_created_queue_has_what_its_ancestors_hand_down():
    tree = load(TEMPLATE).default
    own = created(tree, "root.parent.sales").properties
    assert (own.sort_priority, own.preemption_policy) == (False, "disabled")
    assert (own.priority_policy, own.priority_offset) == ("default", 0)
    parent = created(tree, "root.notemplate.deep", leaf=False)
    assert not parent.is_leaf
    assert (parent.max, parent.max_applications, parent.own_properties) == ({}, None, {})


NAMES = st.sampled_from(["", "a", "A.b", "root", "root.a", "root.p.x", "root.p", "root.leaf.x", "é", "x y", "root.."])
RULE = st.recursive(
    st.builds(PlacementRule, st.sampled_from(["provided", "user", "tag", "fixed"]), st.booleans(), NAMES),
    lambda rules: st.builds(
        PlacementRule, st.sampled_from(["provided", "user", "tag", "fixed"]), st.booleans(), NAMES, rules
    ),
    max_leaves=4,
)


SMALL = partition("[]", "[{name: p, parent: true}, {name: leaf}, {name: a}]")


@given(st.lists(RULE, max_size=4), NAMES, NAMES, st.booleans())
def test_whatever_the_rules_are_a_job_gets_a_leaf_that_is_there_or_can_be_made(
    rules: list[PlacementRule], queue: str, user: str, forced: bool
):
    tree = SMALL
    answer = place(rules, tree, Submitted(user, queue=queue, tags={"a": queue}, forced=forced))
    assert place(rules, tree, Submitted(user, queue=queue, tags={"a": queue}, forced=forced)) == answer
    if isinstance(answer, Rejected):
        assert answer.reasons[-1][0] != "root.default" or not forced
        return
    if answer.created:
        assert answer.rule == "recovery" or any(rule.create for rule in rules if str(rule) == answer.rule)
        assert answer.created[-1] == answer.queue
        above = answer.created[0].rpartition(".")[0]
        assert tree.exists(above)
        assert not tree.is_leaf(above)
    else:
        assert tree.is_leaf(answer.queue)
