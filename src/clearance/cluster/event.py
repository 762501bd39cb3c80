"""What has happened: everything that the scheduler is told. It asks nobody."""

from __future__ import annotations

import msgspec

from clearance.cluster.condition import Condition
from clearance.cluster.job import Job
from clearance.cluster.model import SchedulerConfig
from clearance.cluster.node import Node


class Event(msgspec.Struct, frozen=True, tag=True):
    """Something that has happened."""


class LimitSet(Event, frozen=True):
    """There is so much of a limit that lies on no node; None: it is gone. Who holds more than there is keeps it."""

    name: str
    size: int | None


class NodeAdded(Event, frozen=True):
    """A node has come, or the driver tells again of one that is there."""

    node: Node


class NodeChanged(Event, frozen=True):
    """A node has other capacity, labels, taints or schedulability; what it holds stays."""

    node: Node


class NodeRemoved(Event, frozen=True):
    """A node has gone, and with it what ran on it."""

    name: str


class JobSubmitted(Event, frozen=True):
    """Somebody asks."""

    job: Job


class JobFinished(Event, frozen=True):
    """A job has ended with all its members, or is taken back while it waits.

    Attributes:
        job: its id.
        failed: whether it failed; for its state alone.
    """

    job: str
    failed: bool = False


class MemberFinished(Event, frozen=True):
    """One member has ended; the job goes on with the others, and asks for no new one in its place.

    Attributes:
        member: its id, `JOB/GROUP/RANK`.
        failed: whether it failed.
    """

    member: str
    failed: bool = False


class BindFailed(Event, frozen=True):
    """A driver could not start what was bound: the whole gang of this decision is taken back and asks again."""

    decision: int
    reason: str = ""


class MemberEvicted(Event, frozen=True):
    """A member has left its node, by preemption, a drain or a move; it asks again unless the job ends."""

    member: str


class MemberMoved(Event, frozen=True):
    """A member goes on on a node: a move has come about, or, where it is the node that it was on, has not."""

    member: str
    node: str


class NodeSignal(Event, frozen=True):
    """Something was seen of a node that tells how well it is; see `cluster.condition`.

    Attributes:
        node: its name.
        kind: of the signal.
        value: a reading, the number of an error, or 1 for a failed attempt and 0 for one that succeeded.
        at: when, in seconds of the driver's clock.
    """

    node: str
    kind: str
    value: float
    at: float


class NodeReturned(Event, frozen=True):
    """A node that was taken out for its health has been repaired."""

    node: str


class ConditionRestored(Event, frozen=True):
    """A node was out for its health before the scheduler was made anew.

    Attributes:
        node: its name.
        condition: of it; one under test is tested anew.
        reason: why, for people.
    """

    node: str
    condition: Condition
    reason: str


class PoolStarting(Event, frozen=True):
    """So many nodes of a pool are on their way: told after a restart, or when fewer come than were asked for.

    Attributes:
        pool: its name.
        count: in all.
        reason: why there are fewer, for people.
    """

    pool: str
    count: int
    reason: str = ""


class Restored(Event, frozen=True):
    """A driver observes that a job's members run already: after a restart of the scheduler.

    Attributes:
        job: as it was submitted.
        places: pairs of member id and node.
        since: when they began.
        queue: where they ran; empty, or one that is no leaf any more: the placement rules find another.
    """

    job: Job
    places: tuple[tuple[str, str], ...]
    since: float = 0.0
    queue: str = ""


class ConfigChanged(Event, frozen=True):
    """Somebody has applied another `queues.yaml`; of several partitions that of the same name is meant."""

    config: SchedulerConfig
