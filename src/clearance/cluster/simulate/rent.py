"""What the nodes of a simulation cost: how many of each pool there were for how long, and what they had in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_HOUR = 3600.0


class Rent:
    """See the module.

    Args:
        prices: of an hour of a node, by pool; 1 where there is none.
    """

    def __init__(self, prices: Mapping[str, float]) -> None:
        self._prices = prices
        self._count: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._since = 0.0
        self.had: list[float] = []

    def advance(self, now: float, first: float, total: Sequence[int]) -> None:
        """Adds up what there was since the last moment, but not before the first submission.

        Args:
            now: seconds.
            first: of the first submission; infinity: there was none yet.
            total: capacity of all nodes, by position of a quota.
        """
        span = now - max(self._since, first)
        self._since = max(self._since, now)
        if span > 0:
            for pool, count in self._count.items():
                self._seconds[pool] = self._seconds.get(pool, 0.0) + count * span
            self.had += [0.0] * (len(total) - len(self.had))
            for position, amount in enumerate(total):
                self.had[position] += amount * span

    def change(self, pool: str, by: int) -> None:
        """So many nodes of a pool are paid for from now on, or are no more."""
        self._count[pool] = self._count.get(pool, 0) + by

    @property
    def hours(self) -> dict[str, float]:
        """Node-hours by pool; those of no pool under the empty name."""
        return {pool: seconds / _HOUR for pool, seconds in sorted(self._seconds.items())}

    @property
    def cost(self) -> float:
        """Of all of them."""
        return sum(hours * self._prices.get(pool, 1.0) for pool, hours in self.hours.items())
