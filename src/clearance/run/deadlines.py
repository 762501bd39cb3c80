"""Deadlines: a task, or a run, that has not ended some time after the run was made is late, and an event says so.

Rules:

1. The time counts from when the run was made. A deadline ends nothing: that is what `timeout` is for.
2. `deadline_missed` is told once for each task and run, whatever is killed meanwhile: what was told is in the log of
   the run, which is read when the run is taken back.
3. Of a mapped task, and of one in a mapped group, the deadline is that of all its copies together.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

from clearance.run.instance import ActiveRun

if TYPE_CHECKING:
    from clearance.run.controller import Controller

MISSED = "deadline_missed"


class Deadlines:
    """What is due, and when.

    Args:
        controller: which leads; its runs, ledger and database are used.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._due: list[tuple[float, int, int, ActiveRun]] = []

    @property
    def due(self) -> float:
        """When the next one is due, seconds since 1970."""
        return self._due[0][0] if self._due else math.inf

    def begin(self, run: ActiveRun, known: bool = False) -> None:
        """A run goes on.

        Args:
            run: which.
            known: whether it may have told some already.
        """
        waiting = {number: node.deadline for number, node in enumerate(run.graph.nodes) if node.deadline}
        if run.graph.deadline:
            waiting[-1] = run.graph.deadline
        if waiting and known:
            for (number,) in self._controller.database.rows("events_of_kind", run.number, MISSED):
                waiting.pop(number, None)
        for number, seconds in waiting.items():
            heapq.heappush(self._due, (run.created_at + seconds, run.number, number, run))

    def fire(self, now: float) -> None:
        """Tells of what is late now."""
        while self._due and self._due[0][0] <= now:
            at, _, number, run = heapq.heappop(self._due)
            if self._controller.runs.get(run.id) is not run:
                continue
            row = run.nodes[number] if number >= 0 else None
            if row is not None and row.state.finished:
                continue
            told = {"deadline": at} if row is None else {"task": row.spec.id, "deadline": at, "state": str(row.state)}
            self._controller.ledger.tell_of(now, run, row, MISSED, told)
