"""What is asked of the scheduler: jobs, their groups of identical members, and where the members may go.

Rules:

1. A job starts with `min_member` members of every group at once, or with none: that is its gang. Members beyond the
   minimum, up to `max_member`, start one by one as there is room; a group whose minimum is 0 has only such members.
2. Amounts are written as in `queues.yaml`: `90` or `"500m"` of `vcore`, `"700Gi"` of `memory`, `8` of
   `nvidia.com/gpu`. Less than one GPU is a share of one device; more than one is whole devices.
3. A job without groups takes room on no node: it waits for its limits alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from clearance.cluster.limits import Limit
from clearance.errors import UsageError, nearest

SOFT, HARD = "soft", "hard"
STYLES = (SOFT, HARD)
_NUMBERS = (
    "runtime_estimate", "timeout", "restart_cost", "checkpoint_interval", "state_bytes", "disruption_budget",
)  # fmt: skip
_UNSAID = (None, None, 0.0, None, 0, None)


class Toleration(msgspec.Struct, frozen=True):
    """Lets a group onto nodes with a taint (Kubernetes' rules).

    Attributes:
        key: of the taint; empty tolerates every key.
        value: of the taint; empty tolerates every value.
        effect: `NoSchedule`, `PreferNoSchedule` or `NoExecute`; empty tolerates every effect.
    """

    key: str = ""
    value: str = ""
    effect: str = ""


class Topology(msgspec.Struct, frozen=True):
    """How close together the members of a group must be.

    Attributes:
        required: a level; all members are within one domain of it, or none starts.
        preferred: a level; all within one domain of it where that is possible, else in as few as possible.
    """

    required: str = ""
    preferred: str = ""


class Affinity(msgspec.Struct, frozen=True):
    """Where other jobs' members draw a group to or keep it away from.

    Attributes:
        labels: of jobs; a job matches that has all of them.
        level: a level of the topology, or `node`.
        anti: True: no domain that holds a member of a matching job; False: only such domains.
    """

    labels: tuple[tuple[str, str], ...]
    level: str = "node"
    anti: bool = False


class TaskGroup(msgspec.Struct, frozen=True):
    """Members of a job that are alike.

    Attributes:
        name: unique in the job.
        min_member: how many start with the job.
        resources: of one member, by name.
        max_member: how many there may be; None: no more than the minimum.
        node_selector: labels that a node must have.
        tolerations: of taints.
        topology: how close together they must be.
        affinity: to and from other jobs.
        anti_affinity: a level, or `node`: at most one member of this group in each domain of it; empty: any number.
        node: the one node that they may go to; empty: any.
        whole_node: each member takes an empty node for itself.
    """

    name: str
    min_member: int = 1
    resources: Mapping[str, int | str] = {}
    max_member: int | None = None
    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    topology: Topology = Topology()
    affinity: tuple[Affinity, ...] = ()
    anti_affinity: str = ""
    node: str = ""
    whole_node: bool = False


class Job(msgspec.Struct, frozen=True):
    """One job: an application in YuniKorn's words.

    Attributes:
        id: unique among all jobs of the scheduler.
        queue: where it is to go; the placement rules decide.
        user: who submits it.
        groups: of the user.
        priority: higher goes first.
        task_groups: see rule 3.
        runtime_estimate: seconds from its start to its end; None: unknown.
        style: what happens when the gang could not start within `timeout`: `hard`: the job fails; `soft`: its members
            start one by one.
        timeout: seconds from its submission; None: it waits for ever.
        tags: for placement rules, `namespace` among them.
        labels: for `Affinity`.
        movable: whether consolidation may move its members.
        preemptible: whether preemption may end its members.
        service: whether it never ends; it is moved by starting the new member before the old one ends.
        restart_cost: node-seconds that a restart of one member costs, besides the work lost since its checkpoint.
        checkpoint_interval: seconds between its checkpoints; None: it has none, so a move loses all its work.
        state_bytes: that a move of one member transfers.
        disruption_budget: how many of its members may be away at once by consolidation and drains; None: any number.
        limits: what it takes besides, of limits that lie on no node.
        order: its place among jobs of the same queue and priority, before their age; empty: that of its age. Numbers of
            `Scheduler.arrive` are of the same kind as ages.
        label: as people know it; empty: by its id.
    """

    id: str
    queue: str = ""
    user: str = "nobody"
    groups: tuple[str, ...] = ()
    priority: int = 0
    task_groups: tuple[TaskGroup, ...] = (TaskGroup("main"),)
    runtime_estimate: float | None = None
    style: str = HARD
    timeout: float | None = None
    tags: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    movable: bool = True
    preemptible: bool = True
    service: bool = False
    restart_cost: float = 0.0
    checkpoint_interval: float | None = None
    state_bytes: int = 0
    disruption_budget: int | None = None
    limits: tuple[Limit, ...] = ()
    order: tuple[int, ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        """As people know it."""
        return self.label or self.id


def check_job(job: Job) -> None:
    """Makes sure that what a job says of itself can be.

    Raises:
        UsageError: seconds or bytes that are no number, negative or without end, or an unknown style.
    """
    said = (
        job.runtime_estimate, job.timeout, job.restart_cost, job.checkpoint_interval, job.state_bytes,
        job.disruption_budget,
    )  # fmt: skip
    if said != _UNSAID:
        for name, value in zip(_NUMBERS, said, strict=True):
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"job {job.id!r}: {name} is {value}: write a number, 0 or more")
    if job.style not in STYLES:
        raise UsageError(
            f"job {job.id!r}: there is no style {job.style!r}{nearest(job.style, STYLES)}: use {' or '.join(STYLES)}"
        )
