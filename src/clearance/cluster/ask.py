"""What is asked of the capacity desk, and what it answers."""

from __future__ import annotations

import msgspec


class Limit(msgspec.Struct, frozen=True):
    """A share of something that is counted by name, on no node: a pool, a task's concurrency.

    Attributes:
        name: as people read it (`pool licences`); equal names are one limit.
        amount: how much of it the ask takes.
        size: how much there is; None where the desk is told by `set_limit`.
    """

    name: str
    amount: int = 1
    size: int | None = None


class Ask(msgspec.Struct, frozen=True):
    """A request for room for all members of a gang, or for none.

    Attributes:
        id: unique among the asks that wait or hold.
        resources: by name, for each member: `cpu` and `gpu` in thousandths, `memory` in bytes.
        members: how many processes must fit together.
        priority: higher goes first.
        label: how people know it (`digits/1 train`).
        limits: what it takes besides, once for the whole gang.
        order: its place among equals, the lower the earlier; empty for the order of arrival.
    """

    id: str
    resources: dict[str, int]
    members: int = 1
    priority: int = 0
    label: str = ""
    limits: tuple[Limit, ...] = ()
    order: tuple[int, ...] = ()


class Placement(msgspec.Struct, frozen=True):
    """Where the members of a granted ask go: one node name a member, in rank order."""

    nodes: tuple[str, ...]


class Decision(msgspec.Struct, frozen=True):
    """The desk's answer to one ask.

    Attributes:
        id: of the ask.
        verdict: `granted`, `held` or `denied`.
        reason: one line for people.
        placement: set when granted.
        blockers: ids of the first asks that hold or precede it, when held.
    """

    id: str
    verdict: str
    reason: str
    placement: Placement | None = None
    blockers: tuple[str, ...] = ()
