"""Access control lists: the examples of YuniKorn's page "ACLs", and the way up to the root."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster.acl import Acl, may_administer, may_submit, parse_acl
from clearance.cluster.config import load
from clearance.errors import UsageError


@pytest.mark.parametrize(
    ("acl", "sue", "john", "bob"),
    [
        ("sue", True, False, False),
        ("sue dev", True, True, False),
        (" dev,test", False, True, True),
        ("*", True, True, True),
        ("", False, False, False),
        (" ", False, False, False),
        ("* dev", True, True, True),
        ("sue *", True, True, True),
        ("bob,john ", False, True, True),
    ],
)
def test_the_lists_let_in_whom_yunikorn_documents(acl: str, sue: bool, john: bool, bob: bool):
    """yunikorn.apache.org, ACLs: sue is in no group, john in dev, bob in test."""
    parsed = parse_acl(acl)
    assert (parsed.allows("sue"), parsed.allows("john", ["dev"]), parsed.allows("bob", ["test"])) == (sue, john, bob)


@pytest.mark.parametrize("acl", ["sue dev test", " dev, test", "sue,*", "1sue", "sue -dev", "sue d@v"])
def test_a_list_that_is_none_is_refused_with_its_path(acl: str):
    with pytest.raises(UsageError, match=r"root\.ml\.submitacl is "):
        parse_acl(acl, "root.ml.submitacl")


NAME = st.from_regex(r"[_a-zA-Z][a-zA-Z0-9:_.-]{0,8}", fullmatch=True)


@given(st.frozensets(NAME), st.frozensets(NAME), st.booleans())
def test_what_is_written_is_read_as_the_same(users: frozenset[str], groups: frozenset[str], everybody: bool):
    acl = Acl(everybody=True) if everybody else Acl(users=users, groups=groups)
    assert parse_acl(str(acl)) == acl


@given(st.text(alphabet="ab,* 1@", max_size=10), st.sampled_from(["a", "b", "ab"]))
def test_nobody_is_let_in_who_is_not_named(text: str, user: str):
    try:
        acl = parse_acl(text)
    except UsageError:
        return
    if acl.allows(user):
        assert "*" in text or user in text


TREE = """
partitions:
- name: default
  queues:
  - name: root
    adminacl: admin
    queues:
    - name: production
      submitacl: "john,bob"
      queues:
      - name: etl
        adminacl: " ops"
    - name: sandbox
      submitacl: "*"
"""


def test_a_queue_is_checked_up_to_the_root_and_denied_by_default():
    tree = load(TREE).default
    assert may_submit(tree, "root.production.etl", "john")
    assert not may_submit(tree, "root.production.etl", "sarah", ["dev"])
    assert may_submit(tree, "root.sandbox", "sarah")
    assert not may_submit(tree, "root", "sarah")


def test_who_administers_may_submit_but_not_the_other_way_round():
    tree = load(TREE).default
    assert may_submit(tree, "root.production.etl", "olga", ["ops"])
    assert may_administer(tree, "root.production.etl", "olga", ["ops"])
    assert not may_administer(tree, "root.production", "olga", ["ops"])
    assert not may_administer(tree, "root.production.etl", "john")
    assert may_administer(tree, "root.sandbox", "admin")


def test_a_queue_that_is_not_there_yet_is_checked_from_the_nearest_one_above():
    tree = load(TREE).default
    assert may_submit(tree, "root.production.new.deep", "bob")
    assert not may_submit(tree, "root.production.new.deep", "sarah")
