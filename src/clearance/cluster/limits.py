"""Limits that lie on no node: pools, concurrency. Who holds how much of each, and who waits for it.

Rules:

1. A limit is never given out beyond its size. A job takes its share once, with its first member, and holds it until it
   has none left and asks for none.
2. Whoever waits for a limit holds up nobody who does not ask for it.
3. Among those who ask for one limit nobody overtakes, but an ask for more than there is holds up nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from clearance.cluster.application import Request
    from clearance.cluster.queues import Key, Lane


class Limit(msgspec.Struct, frozen=True):
    """A share of something that is counted by name, on no node.

    Attributes:
        name: as people read it (`pool licences`); equal names are one limit.
        amount: how much of it the job takes, all members together.
        size: how much there is; None where the scheduler is told by `LimitSet`.
    """

    name: str
    amount: int = 1
    size: int | None = None


class LimitState:
    """One limit as it lives.

    Attributes:
        name: see `Limit`.
        size: how much there is, where a job does not say it; None: nobody has said.
        more: how much there would be besides, where it is asked what would be.
        taken: how much is in use.
        users: how much each job holds, by id, the oldest first.
        jobs: how many jobs wait or run that ask for it.
        waiting: lanes that wait for it.
    """

    __slots__ = ("jobs", "more", "name", "size", "taken", "users", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.size: int | None = None
        self.more = 0
        self.taken = 0
        self.users: dict[str, int] = {}
        self.jobs = 0
        self.waiting: dict[Lane, None] = {}

    def copy(self) -> LimitState:
        """Returns a copy for which nobody waits."""
        other = LimitState(self.name)
        other.size, other.more, other.jobs = self.size, self.more, self.jobs
        other.taken, other.users = self.taken, dict(self.users)
        return other


class Share(msgspec.Struct, frozen=True):
    """What one job takes of a limit; two are equal where the limit is the same one.

    Attributes:
        limit: as it lives.
        amount: how much it takes.
        own: how much there is, as this job says; None: as the limit says.
    """

    limit: LimitState
    amount: int
    own: int | None

    @property
    def size(self) -> int:
        """How much there is, as this job sees it."""
        size = self.limit.size if self.own is None else self.own
        return (size or 0) + self.limit.more

    @property
    def possible(self) -> bool:
        """Whether there is as much as it takes, used or not."""
        return self.amount <= self.size


Shares = tuple[Share, ...]


class Limits:
    """Every limit that has a size or is asked for, by name."""

    def __init__(self) -> None:
        self.named: dict[str, LimitState] = {}

    def set(self, name: str, size: int | None) -> LimitState:
        """Sets the size of a limit; None takes it back. Who holds more than there is keeps it."""
        limit = self.named.setdefault(name, LimitState(name))
        limit.size = size
        self._forget(limit)
        return limit

    def join(self, limits: tuple[Limit, ...]) -> Shares:
        """Returns what a job takes that comes now."""
        found = []
        for each in limits:
            limit = self.named.setdefault(each.name, LimitState(each.name))
            limit.jobs += 1
            found.append(Share(limit, each.amount, each.size))
        return tuple(found)

    def leave(self, shares: Shares) -> None:
        """A job has ended."""
        for share in shares:
            share.limit.jobs -= 1
            self._forget(share.limit)

    def _forget(self, limit: LimitState) -> None:
        if not limit.jobs and limit.size is None:
            del self.named[limit.name]


def full(shares: Shares, key: Key, lane: Lane | None) -> LimitState | None:
    """Returns the first limit that a request must wait for; None when it may take all of them.

    Args:
        shares: of its job.
        key: its place in the order.
        lane: where it waits.
    """
    for share in shares:
        limit = share.limit
        if limit.taken + share.amount > share.size or first_before(share, key, lane) is not None:
            return limit
    return None


def first_before(share: Share, key: Key, lane: Lane | None) -> Request | None:
    """Returns who waits for a limit and goes before a request; None where nobody does."""
    for other in share.limit.waiting:
        if other is not lane and (head := other.head()) is not None and head[0] < key and _could(other, share.limit):
            return head[2]
    return None


def next_lanes(limit: LimitState) -> list[Lane]:
    """Returns the first of those who wait for a limit, as many as there is room for."""
    heads = sorted((head[0], lane.number, lane) for lane in limit.waiting if (head := lane.head()) is not None)
    found, promised = [], limit.taken
    for _, _, lane in heads:
        share = _share(lane, limit)
        if share.possible:
            promised += share.amount
            if promised > share.size:
                break
            found.append(lane)
    return found


def _share(lane: Lane, limit: LimitState) -> Share:
    return next(share for share in lane.shares if share.limit is limit)


def _could(lane: Lane, limit: LimitState) -> bool:
    return _share(lane, limit).possible
