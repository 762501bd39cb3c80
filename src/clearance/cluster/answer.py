"""What the capacity desk answers: a job may start, waits, will not be, or is to leave."""

from __future__ import annotations

import msgspec

GRANTED, HELD, DENIED, EVICTED = "granted", "held", "denied", "evicted"


class Placement(msgspec.Struct, frozen=True):
    """Where the members of a job go.

    Attributes:
        nodes: one name a member, in rank order; none for a job that takes room on no node.
        devices: likewise the indices of its GPUs; empty where nobody has any.
    """

    nodes: tuple[str, ...]
    devices: tuple[tuple[int, ...], ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """The desk's answer to one job.

    Attributes:
        id: of the job.
        verdict: `granted`, `held`, `denied`; or `evicted` of one that runs and is to leave.
        reason: one line for people.
        placement: set when granted.
        blockers: ids of the first jobs that hold or precede it, when held.
        queue: its path; empty where none took it.
    """

    id: str
    verdict: str
    reason: str
    placement: Placement | None = None
    blockers: tuple[str, ...] = ()
    queue: str = ""
