"""What is in the way of a job that waits, as data; `cluster.explain` finds it."""

from __future__ import annotations

import msgspec

APPLICATIONS, QUOTA, LIMIT, BEHIND, ROOM, TOPOLOGY, KEPT, TURN = (
    "applications", "quota", "limit", "behind", "room", "topology", "kept", "turn",
)  # fmt: skip


class Blocker(msgspec.Struct, frozen=True):
    """One thing that is in the way.

    Attributes:
        kind: `applications`, `quota`, `limit`, `behind`, `room`, `topology`, `kept` or `turn`.
        text: for people.
        subject: what it is about: the label of a maximum, the name of a limit or level, the id of another job.
        resource: of a quota, by name.
        lack: how much of it, or how many members, are missing.
        nodes: of `room`: how many nodes are out for each reason, by name of the reason.
    """

    kind: str
    text: str
    subject: str = ""
    resource: str = ""
    lack: int = 0
    nodes: dict[str, int] = {}


class Explanation(msgspec.Struct, frozen=True):
    """Where a job stands.

    Attributes:
        job: its id.
        state: in YuniKorn's words.
        queue: its path; empty where none took it.
        blockers: in order; empty for one that does not wait.
        text: one line for people.
        start: when room is kept for it, in seconds of the driver's clock; None: it is not.
    """

    job: str
    state: str
    queue: str
    blockers: tuple[Blocker, ...]
    text: str
    start: float | None = None
