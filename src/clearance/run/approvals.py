"""Approvals: what a person decides for a task that asks, as a row, an event and the task's own result."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.errors import Refused, UsageError
from clearance.run import recovery, rows
from clearance.run.look import views
from clearance.types.deferral import asked
from clearance.types.principal import Principal
from clearance.types.states import TaskState

if TYPE_CHECKING:
    from clearance.run.controller import Controller

APPROVED, REJECTED = "approved", "rejected"


class Approvals:
    """The desk at which people decide.

    Args:
        controller: whose next turn commits a decision.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def decide(self, id: str, label: str, decision: str, principal: Principal, note: str) -> dict[str, Any]:
        """Takes a decision; the same one again changes nothing.

        Args:
            id: of the run.
            label: of the task, `release` or `release[2]`.
            decision: `approved` or `rejected`.
            principal: who decides.
            note: why, in a line or more.

        Returns:
            `decision`, `by`, `note`, `at` (ISO 8601) of what holds now, and `changed`.

        Raises:
            UsageError: no such run or task, it asks for nothing now, or the opposite was decided.
            Refused: the task asks others.
        """
        controller = self._controller
        run = controller.runs.get(id) or recovery.load(
            controller.database, recovery.known(controller.database, id), controller.evidence.arguments
        )
        instance = run.find(label)
        if instance is None:  # there is none, or it is a mapped instance that has ended
            _, stored = views.find(controller.database, id, label)
            row, state = rows.deferrals(controller.database, run.number).get(stored.number), stored.state
        else:
            row, state = instance.deferral, str(instance.state)
        if row is None or row.kind != "approval" or not (row.waiting or row.payload):
            raise UsageError(f"{id} {label} asks for no decision now: it is {state}")
        if instance is None or not (row.waiting and state == TaskState.DEFERRED):
            return self._again(f"{id} {label}", state, row, decision)
        check(f"{id} {label}", asked(row.details).approvers, principal)
        now = controller.clock()
        told = {
            "decision": decision, "by": principal.name, "note": note,
            "at": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        controller.ledger.add(
            "approval_add", run.number, instance.number, instance.epoch, decision, principal.name, note, now
        )
        controller.ledger.note("task." + decision, f"{id} {instance.label}", principal.name, note=note)
        controller.ledger.tell_of(now, run, instance, decision, {"task": instance.label, **told})
        controller.wake_deferred("approval", f"{run.key}.{instance.number}", told)
        return told | {"changed": True}

    @staticmethod
    def _again(where: str, state: str, row: rows.DeferralRow, decision: str) -> dict[str, Any]:
        told: dict[str, Any] = msgspec.json.decode(row.payload) if row.payload else {}
        if not told:
            raise UsageError(f"{where} asks for no decision now: it is {state}")
        if told["decision"] != decision:
            raise UsageError(
                f"{where} was {told['decision']} by {told['by']} at {told['at']}: retry the task, which asks anew"
            )
        return told | {"changed": False}


def check(what: str, approvers: Sequence[str], principal: Principal) -> None:
    """Checks that somebody may decide.

    Args:
        what: is decided, for the message.
        approvers: names, or `group:NAME`; empty where anybody may.
        principal: who wants to.

    Raises:
        Refused: the approvers are others.
    """
    own = {principal.name, *(f"group:{group}" for group in principal.groups)}
    if approvers and not own.intersection(approvers):
        raise Refused(f"{what} asks {' or '.join(approvers)}, not {principal.name}: let one of them decide")
