"""What is done again with a task that is cleared, though it may have succeeded: setups, teardowns, handlers.

Rules:

1. A teardown that has ended, and its setup, are done again when anything is that the teardown waited for; the setup
   also where the teardown is done again anyway, since it did not succeed.
2. A handler of what is done again handles again; those of the run always do.
3. Nothing else is done again below a row that stands for one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearance.run.instance import ActiveRun, Instance
from clearance.run.shape import Path, Shape, text
from clearance.types.states import TaskState

if TYPE_CHECKING:
    from clearance.run.machine import Machine
    from clearance.run.redo.clearing import Counts

Key = tuple[int, Path]


def followers(shape: Shape, node: int) -> list[tuple[int, bool]]:
    """Returns the teardowns and handlers that follow a node, and whether each is a teardown."""
    found: dict[int, bool] = {}
    for one in (node, *shape.chain[node]):
        found.update(dict.fromkeys(shape.teardowns.get(one, ()), True))
        found.update((child, False) for child, _ in shape.held[one] if shape.handlers.get(child) == one)
    return list(found.items())


def set_back_followers(
    machine: Machine,
    run: ActiveRun,
    found: list[Key],
    cleared: dict[Instance, None],
    again: dict[Key, set[int]],
    changed: Counts,
) -> None:
    """Sets back what follows the rows that were cleared.

    Args:
        machine: which moves them.
        run: in which they are.
        found: node and path of the rows that were cleared in the database alone.
        cleared: those in memory; gets what is set back there.
        again: copies that are opened again; gets those of what is set back in the database.
        changed: how many more rows are in which state; likewise.
    """
    shape = run.shape
    for final in shape.finals:
        _set_back(machine, run, (final, ()), cleared, again, changed)
    waiting = [*found, *((row.node, row.path) for row in cleared)]
    done = {*waiting}
    while waiting:
        node, path = waiting.pop()
        for follower, takes_down in followers(shape, node):
            at = path[: shape.depth(follower)]
            keys = [(follower, at)]
            if takes_down:
                keys.append((shape.index[run.graph.nodes[follower].setup], at))
            if keys[0] not in done and not _ended(machine, run, keys[0]):
                continue
            for one, place in keys:
                for level in range(len(place)):  # what stands for it
                    _set_back(machine, run, (one, place[:level]), cleared, again, changed)
                if _set_back(machine, run, (one, place), cleared, again, changed):
                    waiting.append((one, place))
                    done.add((one, place))


def _state(machine: Machine, run: ActiveRun, key: Key) -> tuple[TaskState | None, int]:
    row = run.get(*key)
    if row is not None:
        return row.state, row.number
    stored = machine.arguments.stored
    found = stored.row(run.number, *key) if stored else None
    return (TaskState(found.state), found.number) if found else (None, -1)


def _ended(machine: Machine, run: ActiveRun, key: Key) -> bool:
    state, number = _state(machine, run, key)
    marked = any(change[0] is run and change[1] == number for change in machine.changes.marked)
    return state is not None and state.finished and not marked


def _set_back(
    machine: Machine,
    run: ActiveRun,
    key: Key,
    cleared: dict[Instance, None],
    again: dict[Key, set[int]],
    changed: Counts,
) -> bool:
    from clearance.run.redo import clearing

    if not _ended(machine, run, key):
        return False
    row = run.get(*key)
    if row is not None:
        clearing.set_back(machine, row)
        cleared[row] = None
        return True
    state, number = _state(machine, run, key)
    node, path = key
    assert state is not None
    if path:
        changed[node, text(path[:-1])].update({state: -1, TaskState.SCHEDULED: 1})
        again[run.shape.around(node, len(path) - 1), path[:-1]].add(path[-1])
    machine.changes.marked.append((run, number, state, TaskState.SCHEDULED))
    if state is TaskState.SUCCESS:
        machine.changes.forgotten.append((run, number))
    run.cancelled -= state is TaskState.CANCELLED
    return True
