"""Clearing and marking: what a person says of tasks of a run that goes on or has ended.

Rules:

1. What is said is a row before it has an effect: who, why, and of what; a controller that dies goes on with it.
2. A task that is marked while it runs is ended first; nothing that depends on it starts before its processes are gone.
3. What depends on it is decided anew by the state machine, as if the task had ended so by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clearance.errors import UsageError
from clearance.run.instance import ActiveRun
from clearance.run.redo.clearing import Choice, Chosen, Reach, active, reached
from clearance.run.shape import Path, text
from clearance.types.states import TaskState

if TYPE_CHECKING:
    from clearance.run.controller import Controller

MARKS = (TaskState.SUCCESS, TaskState.FAILED)
_AT_WORK = (TaskState.QUEUED, TaskState.RUNNING)


class Marking:
    """See the module.

    Args:
        controller: which leads.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def clear(self, id: str, tasks: list[str], only: bool, dry: bool) -> dict[str, Any]:
        """Sets tasks back, whatever they ended with, and what depends on them; the run goes on.

        Args:
            id: of the run.
            tasks: `task`, `task[3]`, or a group.
            only: leave what depends on them as it is.
            dry: only say what would be cleared.

        Returns:
            `tasks`: how many rows of each task are cleared.

        Raises:
            UsageError: no such run or task, one that has not ended, or something that depends on one is at work.
        """
        controller = self._controller
        run = controller.looked_at(id)
        choices = [self._ended(run, label) for label in tasks]
        reach = Reach.ONLY if only else Reach.ALL
        chosen = Chosen(run.shape, choices, reach)
        if working := active(run, chosen):
            row = working[0]
            raise UsageError(
                f"{id} {row.label} is {row.state} and depends on what is to be cleared: wait for its end, cancel the "
                "run, or leave it with --only"
            )
        found = reached(controller.machine, run, chosen)
        if not dry:
            told = {"tasks": list(tasks), "only": only}
            controller.ledger.tell_of(controller.clock(), run, None, "cleared", told)
            controller.set_back(run, choices, reach)
        return {"tasks": found}

    def mark(self, id: str, label: str, state: str, reason: str, principal: str) -> bool:
        """Ends a task as a person says; False where it has ended so already.

        Raises:
            UsageError: no such run or task, no reason, or it stands for others.
        """
        controller = self._controller
        if state not in MARKS:
            raise UsageError(f"a task is marked success or failed, not {state!r}")
        if not reason.strip():
            raise UsageError("say why: --reason TEXT is kept with the run")
        run = controller.looked_at(id)
        node, path = self._place(run, label)
        was = self._state(run, node, path)
        if was == state:
            return False
        now, wanted = controller.clock(), TaskState(state)
        number = self._number(run, node, path)
        controller.ledger.add("mark_add", run.number, number, now, wanted, reason, principal)
        told = {"task": label, "state": wanted, "reason": reason, "by": principal, "from": was}
        row = run.get(node, path)
        controller.ledger.tell_of(now, run, row, "marked", told)
        controller.ledger.note("task.marked", f"{id} {label}", principal, state=wanted, reason=reason)
        run.marks[node, path] = (wanted, f"marked {wanted} by {principal}: {reason}")
        if row is None or row.state.finished:
            reach = Reach.MARKED if wanted is TaskState.SUCCESS else Reach.ALL
            controller.set_back(run, [(node, path)], reach)
        elif row.state in _AT_WORK:
            controller.stop(row)
        else:
            controller.withdraw(row)
            if row.state in (TaskState.UP_FOR_RETRY, TaskState.PREEMPTED):
                controller.machine.move(row, TaskState.AWAITING_CLEARANCE)
            controller.machine.mark(row)
        return True

    def _ended(self, run: ActiveRun, label: str) -> Choice:
        """Returns node and path of a task that has ended."""
        node, path = self._find(run, label)
        state = self._state(run, node, path)
        if not state.finished:
            raise UsageError(f"{run.id} {label} is {state}: only what has ended is cleared")
        return node, path

    def _place(self, run: ActiveRun, label: str) -> Choice:
        """Returns node and path of a row that runs itself."""
        node, path = self._find(run, label)
        if run.graph.nodes[node].is_group or len(path) < run.shape.levels(node):
            below = [*path, *[0] * (run.shape.levels(node) - len(path))]
            what = "is a group" if run.graph.nodes[node].is_group else "stands for its instances"
            raise UsageError(f"{run.id} {label} {what}: mark its tasks, such as {label.partition('[')[0]}"
                             f"[{text(tuple(below))}]")  # fmt: skip
        return node, path

    def _find(self, run: ActiveRun, label: str) -> tuple[int, Path]:
        found = run.locate(label)
        if found is None or self._row_state(run, *found) is None:
            raise self._controller.unknown(run, label)
        return found

    def _state(self, run: ActiveRun, node: int, path: Path) -> TaskState:
        state = self._row_state(run, node, path)
        assert state is not None
        return state

    def _row_state(self, run: ActiveRun, node: int, path: Path) -> TaskState | None:
        if (row := run.get(node, path)) is not None:
            return row.state
        inside = run.shape.inside.get(node)
        first = inside[0] if inside and len(path) > run.shape.depth(node) else node
        stored = self._controller.stored.row(run.number, first, path)
        return None if stored is None else TaskState(stored.state)

    def _number(self, run: ActiveRun, node: int, path: Path) -> int:
        if (row := run.get(node, path)) is not None:
            return row.number
        stored = self._controller.stored.row(run.number, node, path)
        assert stored is not None
        return stored.number
