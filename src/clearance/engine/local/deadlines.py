"""When attempts must be given notice or be killed: a heap of times."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from clearance.engine.local.running import Running


class Deadlines:
    """Times, each with an attempt and what is to be done to it then: `timeout` or `kill`."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Running, str]] = []
        self._count = 0

    def add(self, when: float, running: Running, what: str) -> None:
        """Adds one, in monotonic seconds; those of attempts that are over are left out when they have become many."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, running, what))
        if len(self._heap) > 1024 and self._count % 1024 == 0:
            self._heap = [entry for entry in self._heap if not entry[2].concluded]
            heapq.heapify(self._heap)

    @property
    def next(self) -> float:
        """When the first is due; 0 for none."""
        return self._heap[0][0] if self._heap else 0.0

    def take(self, now: float) -> Iterator[tuple[Running, str]]:
        """Removes and yields what is due of attempts that are not over."""
        while self._heap and self._heap[0][0] <= now:
            _, _, running, what = heapq.heappop(self._heap)
            if not running.concluded:
                yield running, what
