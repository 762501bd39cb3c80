"""What the scheduler decides: each with an id that a driver may see twice and do once, and with its reason."""

from __future__ import annotations

import msgspec


class Member(msgspec.Struct, frozen=True, gc=False):
    """One member on one node.

    Attributes:
        id: `JOB/GROUP/RANK`.
        node: its name.
        devices: indices of the GPUs that it takes of the node; a share takes a part of its one.
    """

    id: str
    node: str
    devices: tuple[int, ...] = ()


class Decision(msgspec.Struct, frozen=True, tag=True):
    """Something to do.

    Attributes:
        id: unique in the life of the scheduler, and growing.
        reason: one line for people.
    """

    id: int
    reason: str


class Bind(Decision, frozen=True):
    """These members start together, or none of them: in the order of their ranks."""

    job: str
    members: tuple[Member, ...]


class Reject(Decision, frozen=True):
    """The job is not taken, or has failed to start in time."""

    job: str


class Reserve(Decision, frozen=True):
    """Room is kept for a job that waits; nothing is to be done.

    Attributes:
        job: its id.
        nodes: where it is to start.
        start: when, as far as estimates tell; None: unknown.
    """

    job: str
    nodes: tuple[str, ...]
    start: float | None


class Preempt(Decision, frozen=True):
    """These members are to be ended by notice, for a job that is under its guarantee or for a lowered maximum.

    Attributes:
        members: ids of the victims.
        job: for whom; empty for a queue over its lowered maximum.
    """

    members: tuple[str, ...]
    job: str


class Migrate(Decision, frozen=True):
    """A member is to move.

    Attributes:
        member: its id.
        source: the node that it leaves.
        target: where it goes on.
        devices: of the target.
        make_before_break: whether the new one starts before the old one ends.
    """

    member: str
    source: str
    target: str
    devices: tuple[int, ...] = ()
    make_before_break: bool = False


class Scale(Decision, frozen=True):
    """A pool is to have more nodes, or to lose these.

    Attributes:
        pool: its name.
        add: how many nodes are to come.
        remove: names of empty nodes that are to go.
    """

    pool: str
    add: int = 0
    remove: tuple[str, ...] = ()


class Drain(Decision, frozen=True):
    """A node takes nothing new, and what is on it is to leave."""

    node: str


class Cordon(Decision, frozen=True):
    """A node takes nothing new and keeps what it has; or, lifted, it was closed for its health and is no more."""

    node: str
    lifted: bool = False
