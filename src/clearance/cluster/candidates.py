"""Candidates: the nodes on which somebody could be asked to leave, the least harm first, found only as they are needed.

Rules:

1. The harm that a node is said to do is a bound: whoever leaves there does as much at least.
2. A bound holds as long as victims are only added: the more they are, the fewer of the others may leave.
3. Of one queue and priority those who came last have lost least, unless they save their work now and then.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator

from clearance.cluster.application import Application
from clearance.cluster.queues import QueueState
from clearance.cluster.victim import Harm

Bound = tuple[float, float, int, float]
MOST: Bound = math.inf, math.inf, 0, math.inf


class Candidates:
    """See the module.

    Args:
        leaves: whose applications could be asked.
        least: returns the least harm that members of an application do, or None where none may leave.
        within: the nodes that count; None: all.
        now: seconds of the driver's clock.

    Attributes:
        bounds: of the nodes found so far, by index.
    """

    def __init__(
        self,
        leaves: Iterable[QueueState],
        least: Callable[[Application], Harm | None],
        within: set[int] | None,
        now: float,
    ) -> None:
        self.bounds: dict[int, Bound] = {}
        self._least = least
        self._within = within
        self._now = now
        self._latest: list[Iterator[tuple[Application, float]]] = []
        self._next: list[tuple[int, float, int, Application]] = []  # priority, bound of what is lost, whose, who
        self._saves: list[bool] = []
        for leaf in leaves:
            for (_, saves), apps in leaf.running.items():
                self._latest.append(reversed(apps.items()))
                self._saves.append(saves)
                self._follow(len(self._latest) - 1)

    def _follow(self, number: int) -> None:
        """Looks for the next of one queue and priority."""
        found = next(self._latest[number], None)
        if found is not None:
            app, since = found
            lost = 0.0 if self._saves[number] else self._now - since
            heapq.heappush(self._next, (app.job.priority, lost, number, app))

    def before(self, bound: Bound) -> set[int]:
        """Finds nodes until none that is not found yet could do less harm than the least of them, or than a bound.

        Returns:
            Those that are new, or of which the bound is lower now.
        """
        bounds, within = self.bounds, self._within
        found: set[int] = set()
        while self._next and self._next[0][:2] <= bound[:2]:
            _, _, number, app = heapq.heappop(self._next)
            self._follow(number)
            harm = self._least(app)
            if harm is None:
                continue
            own = (*harm[:2], 1, -math.inf)
            for held in app.held.values():
                index = held.node
                if (within is None or index in within) and (index not in bounds or own < bounds[index]):
                    bounds[index] = own
                    bound = min(bound, own)
                    found.add(index)
        return found
