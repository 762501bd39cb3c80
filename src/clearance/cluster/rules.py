"""The chain of placement rules: from who submits a job, and where to, to the queue that it goes into.

Rules (YuniKorn, "App Placement Rules"):

1. The rules are tried in order; the first that finds a queue which takes the job decides.
2. `provided` takes the queue that the job names, `user` the name of the user, `fixed` its value, `tag` what the job has
   under the tag. A dot in a name of one part becomes `_dot_`; names are in lower case.
3. The queue is put below the one that the `parent` rule finds, else below the root. A job's or tag's queue that begins
   at the root has its parent already.
4. A queue that does not exist is created where the rule says `create`; else the rule does not match.
5. The user must be able to submit to the queue, or to the nearest queue above it that exists.
6. Where no rule matches, a job that runs already (forced) goes into the recovery queue, any other into `root.default`
   if there is one; else it is rejected.
7. Some things end the chain: a name that cannot be a queue, a leaf as a parent, a queue that is draining or stopped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from clearance.cluster.acl import Ancestry, may_submit
from clearance.cluster.model import (
    DEFAULT_QUEUE,
    RECOVERY_QUEUE,
    ROOT,
    ChildTemplate,
    Filter,
    PartitionConfig,
    PlacementRule,
    QueueConfig,
)
from clearance.cluster.properties import inherit
from clearance.types.queue import is_queue_name


class Tree(Ancestry, Protocol):
    """The queues as the rules see them: `PartitionConfig` is one, and so is what the scheduler holds."""

    def exists(self, path: str) -> bool:
        """Whether there is a queue at this path."""

    def is_leaf(self, path: str) -> bool:
        """Whether the queue there takes jobs, and no queues."""

    def accepts(self, path: str) -> bool:
        """Whether the queue there is active: not draining, not stopped."""


class Submitted(msgspec.Struct, frozen=True):
    """What the rules may look at.

    Attributes:
        user: who submits.
        groups: of the user.
        queue: that the job names; empty: none.
        tags: of the job, by name in any case.
        forced: whether the job runs already and must have a queue.
    """

    user: str
    groups: tuple[str, ...] = ()
    queue: str = ""
    tags: Mapping[str, str] = {}
    forced: bool = False


class Placed(msgspec.Struct, frozen=True):
    """The queue that was found.

    Attributes:
        queue: its path.
        created: the paths that must be created first, parents before children.
        rule: the rule that found it.
    """

    queue: str
    created: tuple[str, ...]
    rule: str


class Rejected(msgspec.Struct, frozen=True):
    """No queue takes the job.

    Attributes:
        reasons: the rules that were tried, in order, each with why it found none.
    """

    reasons: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """One line for people."""
        return "no placement rule matched: " + "; ".join(f"{rule}: {reason}" for rule, reason in self.reasons)


class _NoMatch(Exception):
    """The rule finds no queue; the next is tried."""


class _End(Exception):
    """The rule finds a queue that cannot be; the job is rejected."""


def place(rules: Sequence[PlacementRule], tree: Tree, job: Submitted) -> Placed | Rejected:
    """Returns the queue that a job goes into.

    Args:
        rules: of the partition, in order.
        tree: the queues that there are.
        job: what is submitted.
    """
    reasons: list[tuple[str, str]] = []
    for rule in rules:
        try:
            path = _find(rule, tree, job)
            return Placed(path, _check(path, tree, job), str(rule))
        except _NoMatch as miss:
            reasons.append((str(rule), str(miss)))
        except _End as end:
            return Rejected((*reasons, (str(rule), str(end))))
    if job.forced:
        return Placed(RECOVERY_QUEUE, () if tree.exists(RECOVERY_QUEUE) else (RECOVERY_QUEUE,), "recovery")
    try:
        if not tree.exists(DEFAULT_QUEUE):
            raise _NoMatch("there is no such queue")
        return Placed(DEFAULT_QUEUE, _check(DEFAULT_QUEUE, tree, job), "default")
    except (_NoMatch, _End) as miss:
        return Rejected((*reasons, (DEFAULT_QUEUE, str(miss))))


def created(partition: PartitionConfig, path: str, leaf: bool = True) -> QueueConfig:
    """Returns a queue that a rule creates: a leaf after the template that holds there, or a parent.

    Args:
        partition: whose declared queues hand down their properties and template.
        path: of the new queue.
        leaf: whether jobs go into it.
    """
    above = next(iter(partition.chain(path.rpartition(".")[0])), partition.root)
    template = (partition.template_for(above.path) if leaf else None) or ChildTemplate()
    return QueueConfig(
        path,
        parent=not leaf,
        guaranteed=dict(template.guaranteed),
        max=dict(template.max),
        max_applications=template.max_applications,
        properties=inherit(above.properties, template.properties, f"{above.path}.childtemplate.properties"),
        own_properties=dict(template.properties),
    )


def lets_in(filter: Filter, user: str, groups: Collection[str]) -> bool:
    """Whether a rule with this filter is for this user."""
    if filter.empty:
        return filter.allow
    if filter.user_pattern:
        matches = re.search(filter.user_pattern, user) is not None
    else:
        matches = user in filter.users
    if not matches and filter.group_pattern:
        matches = any(re.search(filter.group_pattern, group) for group in groups)
    elif not matches:
        matches = not filter.groups.isdisjoint(groups)
    return matches == filter.allow


def _find(rule: PlacementRule, tree: Tree, job: Submitted) -> str:
    """Returns the path that a rule finds, there or to be created."""
    name = _name(rule, job)
    if not lets_in(rule.filter, job.user, job.groups):
        raise _NoMatch(f"its filter leaves out user {job.user!r}")
    if name.startswith(f"{ROOT}."):
        path = name
    else:
        # The value of `fixed` is a hierarchy; what comes from a job, a user or a tag is one name.
        path = f"{_above(rule, tree, job)}.{name if rule.name == 'fixed' else name.replace('.', '_dot_')}"
    if path == RECOVERY_QUEUE:
        raise _End(f"nothing is submitted to {path!r}")
    for part in path.split(".")[1:]:
        if not is_queue_name(part):
            raise _End(f"{path!r} can be no queue: a name has 1 to 64 of a-z A-Z 0-9 _ : # / @ -")
    if not rule.create and not tree.exists(path):
        raise _NoMatch(f"there is no queue {path!r}, and the rule does not say `create: true`")
    return path


def _name(rule: PlacementRule, job: Submitted) -> str:
    """Returns what a rule makes a queue of, in lower case."""
    if rule.name == "user":
        found, without = job.user, "nobody submits"
    elif rule.name == "fixed":
        found, without = rule.value, "it has no value"
    elif rule.name == "tag":
        tags = {tag.lower(): value for tag, value in job.tags.items()}
        found, without = tags.get(rule.value, ""), f"the job has no tag {rule.value!r}"
    else:
        found, without = job.queue, "the job names no queue"
    if not found:
        raise _NoMatch(without)
    return found.lower()


def _above(rule: PlacementRule, tree: Tree, job: Submitted) -> str:
    if rule.parent is None:
        return ROOT
    path = _find(rule.parent, tree, job)
    if tree.is_leaf(path):
        raise _End(f"its parent rule finds {path!r}, which is a leaf")
    return path


def _check(path: str, tree: Tree, job: Submitted) -> tuple[str, ...]:
    """Returns the paths to be created, if the job may go there."""
    missing: list[str] = []
    there = path
    while not tree.exists(there) and there != ROOT:
        missing.insert(0, there)
        there = there.rpartition(".")[0]
    if not missing and not tree.is_leaf(path):
        raise _NoMatch(f"{path!r} is a parent; jobs go into leaves")
    if not may_submit(tree, path, job.user, job.groups):
        raise _NoMatch(f"user {job.user!r} may not submit to {path!r}: no submitacl or adminacl up to the root says so")
    if missing and tree.is_leaf(there):
        raise _End(f"{path!r} cannot be created, since {there!r} is a leaf")
    if not tree.accepts(there):
        raise _End(f"{there!r} is draining or stopped")
    return tuple(missing)
