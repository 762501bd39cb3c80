"""What must agree between queues: resources, applications, limits, and the queues that placement rules name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster.config import InvalidQueues, QueueConfig
from clearance.cluster.parse import parse
from support.queues import below_root, partition, problems

BAD_QUEUES = [
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
        "root.a.b.c.limits[0].maxresources.vcore is 2 but above it user 'x' has 1: lower it",
    ),
    (
        "[{name: a, limits: [{users: [x], maxresources: {vcore: 1}}], queues: [{name: b, limits: [{users: [x], "
        "maxapplications: 5}], queues: [{name: c, limits: [{users: [x], maxresources: {vcore: 2}}]}]}]}]",
        "root.a.b.c.limits[0].maxresources.vcore is 2 but above it user 'x' has 1: lower it",
    ),
    (
        "[{name: a, limits: [{groups: [g], maxapplications: 5}], queues: [{name: b, limits: "
        "[{groups: [g], maxapplications: 6}]}]}]",
        "root.a.b.limits[0].maxapplications is 6 but above it group 'g' has 5: lower it",
    ),
]


@pytest.mark.parametrize(("queues", "message"), BAD_QUEUES)
def test_queues_that_do_not_agree_are_refused_with_path_line_value_and_mend(queues: str, message: str):
    (problem,) = problems(below_root(queues))
    assert problem.startswith("line 2: ")
    assert message in problem


BAD_RULES = [
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


@pytest.mark.parametrize(("text", "message"), BAD_RULES)
def test_a_rule_that_names_queues_that_cannot_be_is_refused(text: str, message: str):
    (problem,) = problems(partition(text))
    assert problem.startswith("line 2: ")
    assert message in problem


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
