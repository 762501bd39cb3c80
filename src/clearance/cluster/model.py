"""Queues as they are declared: partitions, their trees of queues, limits, child templates and placement rules.

Frozen data without behaviour beyond looking things up; `cluster.config` makes it from a file. The unit of every amount
is that of `cluster.quantities`; durations are seconds. Paths are lower case, begin at `root` and are joined by dots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from clearance.cluster.acl import NOBODY, Acl
from clearance.cluster.properties import DEFAULTS, QueueProperties
from clearance.cluster.quantities import Amounts

ROOT = "root"
DEFAULT_PARTITION = "default"
DEFAULT_QUEUE = "root.default"
RECOVERY_QUEUE = "root.@recovery@"


@dataclass(frozen=True, slots=True)
class Limit:
    """How much each of some users and groups may use in a queue and below it.

    Attributes:
        description: for people.
        users: each of these on its own; `*` is each user not named in a limit of the queue.
        groups: the members of each of these together; `*` likewise.
        max_resources: by name; a name that is absent is not limited, 0 forbids it.
        max_applications: how many may run at once; None: not limited.
        where: its dotted path in the file.
    """

    description: str = ""
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    max_resources: Amounts = field(default_factory=dict)
    max_applications: int | None = None
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ChildTemplate:
    """What a leaf queue that a placement rule creates gets.

    Attributes:
        max_applications: as of a queue.
        properties: by name, as they are written; those of the parent hold where it has none.
        guaranteed: by name.
        max: by name.
    """

    max_applications: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    guaranteed: Amounts = field(default_factory=dict)
    max: Amounts = field(default_factory=dict)


@dataclass(frozen=True)
class QueueConfig:
    """A queue and everything below it.

    Attributes:
        path: `root.ml.train`.
        children: in the order of the file.
        parent: whether it may have children although it has none in the file.
        guaranteed: by name; a name that is absent is not guaranteed.
        max: by name; a name that is absent is not limited here.
        max_applications: how many may run at once in it and below it; None: not limited here.
        submit_acl: who may submit to it and below it.
        admin_acl: who may administer it and below it.
        limits: of users and groups, in the order of the file.
        properties: in force, with what the ancestors hand down.
        own_properties: by name, as they are written at this queue.
        child_template: as it is written at this queue; see `PartitionConfig.template_for`.
        line: where it begins in the file; 0: not from a file.
    """

    path: str
    children: tuple[QueueConfig, ...] = ()
    parent: bool = False
    guaranteed: Amounts = field(default_factory=dict)
    max: Amounts = field(default_factory=dict)
    max_applications: int | None = None
    submit_acl: Acl = NOBODY
    admin_acl: Acl = NOBODY
    limits: tuple[Limit, ...] = ()
    properties: QueueProperties = DEFAULTS
    own_properties: Mapping[str, str] = field(default_factory=dict)
    child_template: ChildTemplate | None = None
    line: int = field(default=0, compare=False)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def parent_path(self) -> str:
        """The path of the queue above; empty for the root."""
        return self.path.rpartition(".")[0]

    @property
    def is_leaf(self) -> bool:
        """Whether jobs go into it; else only queues do."""
        return not self.parent and not self.children

    def walk(self) -> Iterator[QueueConfig]:
        """Yields this queue and all below it, a parent before its children, in the order of the file."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Filter:
    """Whom a placement rule is for.

    Attributes:
        allow: True: those that match; False: those that do not.
        users: names of users; where `user_pattern` is set it holds instead.
        groups: names of groups; likewise.
        user_pattern: a regular expression, found anywhere in the name of the user.
        group_pattern: a regular expression, found anywhere in the name of one of the groups.
    """

    allow: bool = True
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    user_pattern: str = ""
    group_pattern: str = ""

    @property
    def empty(self) -> bool:
        """Whether it names nobody: then `allow` alone decides."""
        return not (self.users or self.groups or self.user_pattern or self.group_pattern)


@dataclass(frozen=True, slots=True)
class PlacementRule:
    """One rule of the chain that finds the queue of a job.

    Attributes:
        name: `provided`, `user`, `fixed` or `tag`.
        create: whether it may create the queue.
        value: the queue of `fixed`, the name of the tag of `tag`.
        parent: the rule that finds the queue above.
        filter: whom it is for.
        line: where it begins in the file.
    """

    name: str
    create: bool = False
    value: str = ""
    parent: PlacementRule | None = None
    filter: Filter = Filter()
    line: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """`tag namespace below fixed root.users`."""
        own = f"{self.name} {self.value}" if self.value else self.name
        return f"{own} below {self.parent}" if self.parent else own


@dataclass(frozen=True)
class PartitionConfig:
    """One set of nodes with one tree of queues.

    Attributes:
        name: in lower case.
        root: the queue `root`; limits of the partition are among its own.
        placement_rules: in order; empty in the file means `provided` alone.
        node_sort_policy: `fair` or `binpacking`.
        resource_weights: by name of the resource, of the utilisation by which nodes are sorted.
        preemption: whether asks may preempt.
        quota_preemption: whether a lowered maximum may preempt.
    """

    name: str
    root: QueueConfig
    placement_rules: tuple[PlacementRule, ...] = (PlacementRule("provided"),)
    node_sort_policy: str = "fair"
    resource_weights: Mapping[str, float] = field(default_factory=lambda: {"vcore": 1.0, "memory": 1.0})
    preemption: bool = True
    quota_preemption: bool = False

    @cached_property
    def queues(self) -> Mapping[str, QueueConfig]:
        """Every queue by its path, a parent before its children."""
        return {queue.path: queue for queue in self.root.walk()}

    def exists(self, path: str) -> bool:
        """Whether there is a queue at this path."""
        return path in self.queues

    def is_leaf(self, path: str) -> bool:
        """Whether there is a queue at this path that takes jobs."""
        queue = self.queues.get(path)
        return queue is not None and queue.is_leaf

    def accepts(self, path: str) -> bool:
        """Whether the queue takes new jobs: every declared one does."""
        return path in self.queues

    def chain(self, path: str) -> Iterator[QueueConfig]:
        """Yields the queues from this path up to the root; those that do not exist are left out."""
        while path:
            if (queue := self.queues.get(path)) is not None:
                yield queue
            path = path.rpartition(".")[0]

    def template_for(self, parent: str) -> ChildTemplate | None:
        """Returns the template for leaf queues created below this path: the nearest on the way up to the root."""
        return next((queue.child_template for queue in self.chain(parent) if queue.child_template is not None), None)


@dataclass(frozen=True)
class SchedulerConfig:
    """A whole `queues.yaml`.

    Attributes:
        partitions: in the order of the file, at least one.
        notes: what was accepted and has no effect, a line each.
    """

    partitions: tuple[PartitionConfig, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def default(self) -> PartitionConfig:
        """The partition `default`, else the first."""
        return next((each for each in self.partitions if each.name == DEFAULT_PARTITION), self.partitions[0])

    @property
    def root(self) -> QueueConfig:
        """The root queue of the default partition."""
        return self.default.root
