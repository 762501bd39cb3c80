"""Evictions: what the capacity desk asks to leave gets a notice, time to save its work, and asks anew.

Rules (ARCHITECTURE, decision 10):

1. The notice is SIGTERM; after the grace period the whole process group is ended. `context.checkpoint_dir` is kept.
2. What ends well within its grace has succeeded. What is evicted uses no retry, and keeps its place in the queue.
3. Room is given back when the attempt has ended, never at the notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clearance.run.controller import Controller

SERVICE = "service:"


class Evictions:
    """See the module.

    Args:
        controller: which leads.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._reasons: dict[str, str] = {}
        self._notices: list[str] = []

    def give_notice(self, job: str, reason: str) -> None:
        """Asks whoever holds room under this id to leave, once this turn is committed; a service by a handover."""
        if not (job.startswith(SERVICE) and self._controller.handovers.begin(job, reason)):
            self.notice(job, reason)

    def notice(self, job: str, reason: str) -> None:
        """Asks whoever holds room under this id to leave, once this turn is committed."""
        controller = self._controller
        if job.startswith(SERVICE):
            attempt = controller.services.attempt_of(controller.handovers.name_of(job))
        else:
            instance = controller.desks.holding.get(job)
            attempt = instance.attempt if instance is not None else None
        if attempt is not None and attempt not in self._reasons:
            self._reasons[attempt] = reason
            self._notices.append(attempt)

    def ended(self, attempt: str) -> str:
        """An attempt has ended; returns why it was asked to leave, empty where it was not."""
        return self._reasons.pop(attempt, "")

    def act(self) -> None:
        """Acts on what is committed."""
        if self._notices:
            notices, self._notices = self._notices, []
            self._controller.engine.cancel(notices, self._controller.settings.grace, "evicted")
