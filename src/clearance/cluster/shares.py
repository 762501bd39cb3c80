"""Fair shares: how much a queue has of what is its own, so that the one with the least is next.

Rules:

1. The fair share is the largest, over the resources, of used by guaranteed; where nothing is guaranteed, of used by the
   maximum, or by the cluster where there is none (YuniKorn, "Sorting Policies").
2. With a half-life, used is the mean of what is used now and of what was used lately: the average over the past in
   which a moment counts half as much as the one a half-life later (after Slurm, `PriorityDecayHalfLife`). Constant use
   counts as it does without a half-life; whoever used much lately comes later; what starts now counts now.
3. Under `drf` the share of a queue with queues below it comes from theirs (Bhattacharya, Culler, Friedman, Ghodsi,
   Shenker and Stoica, "Hierarchical Scheduling for Diverse Datacenter Workloads", SoCC 2013, "H-DRF"): what each of
   them uses in which somebody could start is scaled down until its share is the least among them; what the others use
   counts as it is. So nobody pays for what a sibling has of something else.
4. Under `drf` a share leaves out what is exhausted: what is used up; and, where somebody waits because there is no room
   for what it asks for, each resource in it, but for a queue in which somebody who could be next asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clearance.cluster.queues import QueueState


class Conditions:
    """What shares depend on besides the use of a queue.

    Attributes:
        now: seconds of the driver's clock.
        full: positions of the resources that are used up.
        short: positions of those that somebody asks for who waits for room.
    """

    __slots__ = ("full", "now", "short")

    def __init__(self) -> None:
        self.now = 0.0
        self.full: frozenset[int] = frozenset()
        self.short: frozenset[int] = frozenset()

    def look(self, total: Sequence[int], used: Sequence[int], short: frozenset[int]) -> bool:
        """Notes what is exhausted; returns whether that is something else than before.

        Args:
            total: of the cluster, by position.
            used: likewise.
            short: see the class.
        """
        before = self.full, self.short
        pairs = enumerate(zip(total, used, strict=False))
        self.full, self.short = frozenset(position for position, (have, out) in pairs if 0 < have <= out), short
        return before != (self.full, self.short)

    def copy_from(self, other: Conditions) -> None:
        """Takes what holds there."""
        self.now, self.full, self.short = other.now, other.full, other.short


class Average:
    """What was used lately, exactly, at the cost of one multiplication when it changes; see rule 2.

    While use is constant, its distance from the average halves every half-life: so that only changes are counted.

    Args:
        half_life: in seconds, above 0.
        now: seconds of the driver's clock.
        used: by position; what was used before is taken to have been the same.
    """

    __slots__ = ("_at", "_used", "half_life", "past")

    def __init__(self, half_life: float, now: float, used: Sequence[int]) -> None:
        self.half_life = half_life
        self.past: list[float] = [float(each) for each in used]
        self._used = list(used)
        self._at = now

    def settle(self, now: float, used: Sequence[int]) -> None:
        """Counts what was used until now; from now on it is this.

        Args:
            now: seconds of the driver's clock, not before that of the last call.
            used: by position.
        """
        if now > self._at:
            left = 0.5 ** ((now - self._at) / self.half_life)
            self.past = [one + (past - one) * left for past, one in zip(self.past, self._used, strict=True)]
            self._at = now
        self._used = list(used)
        self.past += [0.0] * (len(used) - len(self.past))

    def mean(self) -> list[float]:
        """Returns the mean of what is used now and of what was used lately, by position."""
        return [(past + one) / 2 for past, one in zip(self.past, self._used, strict=True)]

    def copy(self) -> Average:
        """Returns a copy that changes on its own."""
        other = Average(self.half_life, self._at, self._used)
        other.past = list(self.past)
        return other


def largest(rates: Iterable[tuple[int, float]], used: Sequence[float]) -> float:
    """Returns the fair share; see rule 1.

    Args:
        rates: pairs of position and what one unit of it is of what is one's own.
        used: by position.
    """
    share = 0.0
    for position, rate in rates:
        part = used[position] * rate
        if part > share:
            share = part
    return share


def rescaled(queue: QueueState) -> float:
    """Returns the fair share under `drf`, and notes in the queue what its parent's follows from; see rules 3 and 4."""
    if queue.children:
        open = {child: child.key[1] for child in queue.children.values() if child.key is not None}
        queue.asks = frozenset().union(*(child.asks for child in open))
        least = min(open.values(), default=0.0)
        scaled = [0.0] * len(queue.used)
        for child in queue.children.values():
            if (share := open.get(child)) is None:
                factor, used = 1.0, child.usage()
            else:
                factor, used = least / share if share else 0.0, child.scaled
            for position, amount in enumerate(used):
                scaled[position] += amount * factor
        queue.scaled = scaled
    else:
        queue.scaled = queue.usage()
    conditions = queue.conditions
    ignored = conditions.full | (conditions.short - queue.asks)
    return largest([rate for rate in queue.rates if rate[0] not in ignored], queue.scaled)
