"""Moves: members of jobs go from one node to another, so that nodes become free.

Rules:

1. The scheduler takes the room at the target before anybody is asked to leave, and every step of a plan is looked at
   again before it is made (`cluster.consolidate`).
2. A process does not move: its attempt is evicted, and the next one goes on at the target from `checkpoint_dir`. A gang
   moves as a whole, its other members back to where they were.
   A service that may is handed over instead (`capacity.handovers`).
3. What ends instead of moving has ended. A plan is forgotten with the controller that made it; moves that were under
   way then are evictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearance.cluster import Answer

if TYPE_CHECKING:
    from clearance.cluster.consolidate import Plan
    from clearance.run.controller import Controller


class Moves:
    """See the module.

    Args:
        controller: which leads.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._plan: Plan | None = None
        self._going: dict[str, dict[str, str]] = {}
        self._arrived: dict[str, Answer] = {}

    def begin(self, plan: Plan) -> None:
        """Makes the moves of a plan, as far as each can be made when its time has come."""
        self._plan = plan
        self._next()

    def gone(self, job: str) -> None:
        """A job has ended, or holds nothing any more."""
        self._arrived.pop(job, None)
        if self._going.pop(job, None) is not None:
            self._next()

    def settled(self, job: str) -> None:
        """A service has moved by a handover, or has not."""
        self.gone(job)

    def abandon(self) -> None:
        """A service could not move: no more is begun of a plan that counted on it."""
        self._plan = None

    def take(self, job: str) -> bool:
        """The attempt of a job was evicted; returns whether that was for a move, which is then made."""
        targets = self._going.pop(job, None)
        if targets is None:
            return False
        answer = self._controller.scheduler.moved(job, targets)
        if answer is not None:
            self._arrived[job] = answer
        self._next()
        return answer is not None

    def arrived(self, job: str) -> Answer | None:
        """Returns where a job goes on that was moved; None for one that was not."""
        return self._arrived.pop(job, None)

    def _next(self) -> None:
        if self._plan is None:
            return
        for move in self._controller.scheduler.next_moves(self._plan):
            job, reason = move.member.rsplit("/", 2)[0], f"it moves to {move.target} {move.reason}"
            self._going.setdefault(job, {})[move.member] = move.target
            if not (move.make_before_break and self._controller.handovers.begin(job, reason, move)):
                self._controller.evictions.notice(job, reason)
        if not self._going:
            self._plan = None
