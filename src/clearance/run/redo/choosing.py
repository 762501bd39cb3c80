"""What a person names to have it done again: `train`, `train[3]`, or `prepare[3]` for a copy of a group."""

from __future__ import annotations

from clearance.errors import UsageError, nearest
from clearance.run.instance import ActiveRun
from clearance.run.redo.clearing import Choice
from clearance.run.shape import Path
from clearance.run.stored import Stored
from clearance.types.states import TaskState


def choice(run: ActiveRun, stored: Stored, label: str) -> Choice:
    """Returns node and path of what is to be done again.

    Raises:
        UsageError: there is no such task, or it has not ended without success.
    """
    found = run.locate(label)
    if found is None or (state := _state(run, stored, *found)) is None:
        near = nearest(label, [each.label for each in run.instances()])
        raise UsageError(f"run {run.id!r} has no task {label!r}{near}; `clearance runs show {run.id}` lists them")
    around = [run.nodes[each] for each in (*run.shape.chain[found[0]], found[0])]
    whole = next((each.spec.id for each in around if each.state is TaskState.SUCCESS), "")
    if not state.finished or whole:
        as_a_whole = f", and {whole} succeeded as a whole" if state is not TaskState.SUCCESS and whole else ""
        raise UsageError(
            f"{run.id} {label} is {state}{as_a_whole}: only failed, skipped or cancelled tasks are retried"
        )
    return found


def _state(run: ActiveRun, stored: Stored, node: int, path: Path) -> TaskState | None:
    """Returns the state of a row, whether it is in memory or not; of a copy of a group `failed` where there is one."""
    copy_of_group = run.shape.inside.get(node) if len(path) > run.shape.depth(node) else None
    if (row := run.get(node, path)) is not None:
        return row.state
    kept = stored.row(run.number, copy_of_group[0] if copy_of_group else node, path)
    if kept is None:
        return None
    return TaskState.FAILED if copy_of_group else TaskState(kept.state)
