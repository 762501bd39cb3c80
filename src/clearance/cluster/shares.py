"""Fair shares: how much a queue has of what is its own, so that the one with the least is next.

Rules:

1. The fair share is the largest, over the resources, of used by guaranteed; where nothing is guaranteed, of used by the
   maximum, or by the cluster where there is none (YuniKorn, "Sorting Policies").
2. With a half-life, used is the mean of what is used now and of what was used lately: the average over the past in
   which a moment counts half as much as the one a half-life later (after Slurm, "Fair share", `PriorityDecayHalfLife`).
   Constant use counts as it does without a half-life; whoever used much lately comes later; what starts now counts now.
3. Under `drf` the share of a queue with queues below it comes from theirs (Bhattacharya, Culler, Friedman, Ghodsi,
   Shenker and Stoica, "Hierarchical Scheduling for Diverse Datacenter Workloads", SoCC 2013, "H-DRF"): what each of them
   uses in which somebody could start is scaled down until its share is the least among them; what the others use
   counts as it is. So nobody pays for what a sibling has of something else.
4. Under `drf` a resource is left out of a share where it is exhausted and nobody who could be next in the queue asks for
   it. Exhausted is what is used up, and what somebody asks for who waits for room.
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
        exhausted: positions of the resources that are; see rule 4.
    """

    __slots__ = ("exhausted", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self.exhausted: frozenset[int] = frozenset()


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
        open = [child for child in queue.children.values() if child.key is not None]
        queue.asks = frozenset().union(*(child.asks for child in open))
        shares = [child.key[1] for child in open if child.key is not None and child.key[1] > 0]
        least = min(shares, default=0.0)
        scaled = [0.0] * len(queue.used)
        for child in queue.children.values():
            share = child.key[1] if child.key is not None else 0.0
            factor = least / share if share > 0 else 1.0
            for position, amount in enumerate(child.scaled if share > 0 else child.usage()):
                scaled[position] += amount * factor
        queue.scaled = scaled
    else:
        queue.scaled = queue.usage()
    ignored = queue.conditions.exhausted - queue.asks
    return largest([rate for rate in queue.rates if rate[0] not in ignored], queue.scaled)


def exhausted(total: Sequence[int], used: Sequence[int], short: Iterable[int]) -> frozenset[int]:
    """Returns the positions of what is exhausted; see rule 4.

    Args:
        total: by position, of the cluster.
        used: likewise.
        short: positions that those ask for who wait for room.
    """
    full = (position for position, (have, out) in enumerate(zip(total, used, strict=False)) if 0 < have <= out)
    return frozenset((*full, *short))
