"""Clearing: rows that have ended are set back and done again, with whatever depended on them.

Rules:

1. A row is cleared when it has ended, is a chosen one or depends on one, and what stands for it is not done with. Rows
   depend on each other only within the copy of every mapped group that lies around both. `Reach` says whether what
   succeeded counts, and whether what depends on the chosen ones does.
2. Whoever has a task done again that stands between a setup and a teardown which has ended, has these done again too;
   handlers handle again.
3. What was mapped over a result that is made anew is mapped anew: its copies are dropped, and their numbers are never
   used again. The result of a row that had succeeded is dropped with it.
3. Rows that are not in memory are set back in the database. Their copies are opened again like new ones, some at a
   time; a crash in between loses nothing, since a copy in which rows are scheduled and none is active is to be opened.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from clearance.errors import ClearanceError
from clearance.run import counting
from clearance.run.expansion import Copy, Expansion
from clearance.run.instance import BAD, LATER, ActiveRun, Instance, counts_as_failure
from clearance.run.redo import follow
from clearance.run.rows import InstanceRow
from clearance.run.shape import Path, Shape, path_of, text
from clearance.types.states import FINISHED, TaskState

if TYPE_CHECKING:
    from clearance.run.machine import Machine

Choice = tuple[int, Path]
Counts = dict[tuple[int, str], Counter[str]]


class Reach(StrEnum):
    """What is cleared beside the rows that were named."""

    UNSUCCESSFUL = "unsuccessful"  # of them and of what depends on them, whatever did not succeed: a retry
    ALL = "all"  # and whatever depends on them
    ONLY = "only"  # nothing
    MARKED = "marked"  # and whatever depends on them and did not succeed


class Chosen:
    """Says whether a row is cleared.

    Args:
        shape: of the graph.
        choices: node and path of each row that was named; None for all.
        reach: what is cleared beside them.
    """

    def __init__(self, shape: Shape, choices: Sequence[Choice] | None, reach: Reach = Reach.UNSUCCESSFUL) -> None:
        self._shape = shape
        self._reach = reach
        self._choices = (
            None if choices is None else [(node, path, self._behind(node, len(path))) for node, path in choices]
        )

    def _behind(self, node: int, level: int) -> dict[int, int]:
        shape = self._shape
        if self._reach is Reach.ONLY:
            return dict.fromkeys((node, *shape.chain[node], *shape.inside.get(node, ())), level)
        return shape.behind(node, level)

    @property
    def forces(self) -> bool:
        """True where rows that succeeded are cleared too."""
        return self._reach is not Reach.UNSUCCESSFUL

    def takes(self, node: int, path: Path, state: TaskState) -> bool:
        """True for a row that is cleared if what stands for it is."""
        if not state.finished or not self(node, path):
            return False
        if state is not TaskState.SUCCESS or self._reach in (Reach.ALL, Reach.ONLY):
            return True
        return self._reach is Reach.MARKED and (self.named(node, path) or self.stands(node, path))

    def named(self, node: int, path: Path) -> bool:
        """True for a row that was named, or lies in one that was."""
        for chosen, at, _ in self._choices or ():
            around = (*self._shape.chain[node], node)
            if chosen in around and path[: len(at)] == at and len(path) >= len(at):
                return True
        return False

    def stands(self, node: int, path: Path) -> bool:
        """True for a row that stands for one that was named."""
        for chosen, at, _ in self._choices or ():
            around = (*self._shape.chain[chosen], chosen)
            if node in around and len(path) < len(at) and at[: len(path)] == path:
                return True
        return False

    def __call__(self, node: int, path: Path) -> bool:
        if self._choices is None:
            return True
        for _, at, behind in self._choices:
            if node in behind:
                shared = min(behind[node], len(path), len(at))
                if path[:shared] == at[:shared]:
                    return True
        return False


def clear(machine: Machine, run: ActiveRun, choices: Sequence[Choice] | None, reach: Reach = Reach.UNSUCCESSFUL) -> int:
    """See `Machine.clear`."""
    run.cancelling = False
    run.gathered.clear()
    chosen = Chosen(run.shape, choices, reach)
    dropped: list[Choice] = []
    cleared = _set_back(machine, run, chosen, dropped)
    _open_steps_again(machine, run, cleared)
    changed: Counts = defaultdict(Counter)
    found: list[Choice] = []
    again = _set_back_stored(machine, run, chosen, found, changed, dropped)
    if cleared or found:
        follow.set_back_followers(machine, run, found, cleared, again, changed)
    counts: Counts = defaultdict(Counter)
    if (stored := machine.arguments.stored) is not None:
        for key, some in stored.all_counts(run.number).items():
            counts[key].update(some)
        for (node, path), row in run.rows.items():
            counts[node, text(path[:-1])].subtract([row.stored[0]])
        for key, change in changed.items():
            counts[key].update(change)
    for (node, path), row in run.rows.items():
        counts[node, text(path[:-1])][row.state] += 1
    if chosen.forces:
        for row in run.instances():
            if row.state is TaskState.SCHEDULED and not row.collects and row not in cleared:
                counting.recount(row)
    _go_on(machine, run, list(cleared), counts, again)
    return len(cleared) + sum(map(len, again.values()))


def _set_back(machine: Machine, run: ActiveRun, chosen: Chosen, dropped: list[Choice]) -> dict[Instance, None]:
    """Clears the rows in memory, those that stand for others first; adds the maps whose copies are dropped."""
    cleared: dict[Instance, None] = {}
    for row in sorted(run.instances(), key=lambda each: (len(each.path), each.node)):
        if _is_dropped(run, row.node, row.path, dropped):
            del run.rows[row.node, row.path]
            run.expansions.pop((row.node, row.path), None)
            continue
        if row.spec.step or not chosen.takes(row.node, row.path, row.state):
            continue  # a step is done again with its flow
        if all((above := run.get(*key)) is None or not above.state.finished for key in _above(run, row.node, row.path)):
            if chosen.forces and chosen.named(row.node, row.path):
                machine.changes.uncached.append((run, row.number))
            set_back(machine, row)
            cleared[row] = None
            if chosen.forces and _mapped_anew(run, row):
                dropped.append((row.node, row.path))
                run.expansions.pop((row.node, row.path), None)
    return cleared


def _open_steps_again(machine: Machine, run: ActiveRun, cleared: dict[Instance, None]) -> None:
    """A flow that is done again may call every one of its tasks again."""
    if any(row.spec.flow for row in cleared):
        for row in run.nodes:
            if row.spec.step and row.state.finished:
                run.expansions.pop((row.node, ()), None)
                set_back(machine, row)
                cleared[row] = None


def _mapped_anew(run: ActiveRun, row: Instance) -> bool:
    """True for a map or mapped group that waits for a result again."""
    if not _is_map(run, row.node, row.path):
        return False
    before = [run.get(parent, row.path[:common]) for parent, common in run.shape.parents[row.node]]
    return any(each is not None and not each.state.finished for each in before)


def _is_map(run: ActiveRun, node: int, path: Path) -> bool:
    """True for the row of a mapped task or group at which its trigger rule is asked."""
    return bool(run.graph.nodes[node].mapped) and len(path) == run.shape.depth(node)


def _is_dropped(run: ActiveRun, node: int, path: Path, dropped: list[Choice]) -> bool:
    around = (*run.shape.chain[node], node)
    return any(len(path) > len(at) and one in around and path[: len(at)] == at for one, at in dropped)


def _above(run: ActiveRun, node: int, path: Path) -> list[tuple[int, Path]]:
    """Returns node and path of the rows that stand for a row: of the same node, and of the group of whose copies."""
    found = [(node, path[:-1])] if path else []
    group = run.shape.around(node, len(path)) if len(path) < run.shape.depth(node) else node
    return found if group == node else [*found, (group, path)]


def active(run: ActiveRun, chosen: Chosen) -> list[Instance]:
    """Returns the rows that a clearing would reach and that are still on their way."""
    return [
        row
        for row in run.instances()
        if not row.state.finished
        and row.state is not TaskState.SCHEDULED
        and chosen(row.node, row.path)
        and not chosen.stands(row.node, row.path)
    ]


def reached(machine: Machine, run: ActiveRun, chosen: Chosen) -> dict[str, int]:
    """Returns how many rows of each task a clearing would set back, those that stand for others not counted."""
    found: Counter[str] = Counter()
    for row in run.nodes:
        if chosen.takes(row.node, (), row.state) and not run.shape.levels(row.node) and not row.spec.is_group:
            found[row.spec.id] += 1
    if (stored := machine.arguments.stored) is not None:
        for node, scope, position, _, state in stored.finished(run.number):
            path = path_of(scope, position)
            if len(path) == run.shape.levels(node) and chosen.takes(node, path, TaskState(state)):
                found[run.graph.nodes[node].id] += 1
    return dict(found)


def set_back(machine: Machine, row: Instance) -> None:
    """Sets a finished row back to scheduled."""
    run = row.run
    run.unfinished += 1
    if row.state is TaskState.SUCCESS:
        machine.changes.forgotten.append((run, row.number))
    run.failures -= counts_as_failure(row)
    run.cancelled -= row.state is TaskState.CANCELLED
    row.attempts = 0
    row.result = None
    row.reason = ""
    if row.path:
        copy = row.within[-1].live.setdefault(row.path[-1], Copy(started=True))
        copy.unfinished += 1
    machine.move(row, TaskState.SCHEDULED)


def _set_back_stored(
    machine: Machine,
    run: ActiveRun,
    chosen: Chosen,
    cleared: list[Choice],
    changed: Counts,
    dropped: list[Choice],
) -> dict[tuple[int, Path], set[int]]:
    """Clears the rows that are not in memory; returns the copies that are opened again, by node and path above."""
    again: dict[tuple[int, Path], set[int]] = defaultdict(set)
    if (stored := machine.arguments.stored) is None:
        return again
    open_above = {(row.node, row.path) for row in run.instances() if not row.state.finished}
    listed = stored.finished(run.number) if chosen.forces else stored.unsuccessful(run.number)
    found = [(node, path_of(scope, position), number, state) for node, scope, position, number, state in listed]
    for node, path, number, state in sorted(found, key=lambda each: (len(each[1]), each[0])):
        if _is_dropped(run, node, path, dropped):
            changed[node, text(path[:-1])].update({state: -1})
            machine.changes.dropped.append((run, number))
            machine.changes.forgotten.append((run, number))
            run.cancelled -= state == TaskState.CANCELLED
            if chosen.named(node, path):
                machine.changes.uncached.append((run, number))
            continue
        if (node, path) in run.rows or not chosen.takes(node, path, TaskState(state)):
            continue
        if run.graph.nodes[node].step:
            continue  # it is done again with its flow
        if any(key not in open_above for key in _above(run, node, path)):
            continue
        open_above.add((node, path))
        cleared.append((node, path))
        if chosen.forces and _is_map(run, node, path):
            before = [(parent, path[:common]) for parent, common in run.shape.parents[node]]
            if any(key in open_above for key in before):
                dropped.append((node, path))
        changed[node, text(path[:-1])].update({state: -1, TaskState.SCHEDULED: 1})
        again[run.shape.around(node, len(path) - 1), path[:-1]].add(path[-1])
        machine.changes.marked.append((run, number, TaskState(state), TaskState.SCHEDULED))
        if state == TaskState.SUCCESS:
            machine.changes.forgotten.append((run, number))
        if chosen.forces and chosen.named(node, path):
            machine.changes.uncached.append((run, number))
        run.cancelled -= state == TaskState.CANCELLED
    return again


def _go_on(
    machine: Machine,
    run: ActiveRun,
    cleared: list[Instance],
    counts: Counts,
    again: dict[tuple[int, Path], set[int]],
) -> None:
    """Lets cleared rows, and those that stand for others, go on from where they are."""
    _expand_again(machine, run, cleared, counts, again)
    for (node, path), positions in again.items():
        if (expansion := run.expansions.get((node, path))) is not None:
            expansion.again = deque(sorted({*expansion.again, *positions} - expansion.live.keys()))
            run.filling[expansion] = None
    for expansion in run.expansions.values():
        standing = machine.standing(run, expansion)
        if expansion.more and not standing[-1].state.finished:
            run.filling[expansion] = None  # a cancellation that is taken back had ended the filling
        for each in standing:
            if each.state is TaskState.SCHEDULED:
                machine.move(each, TaskState.DEFERRED)
        settle(run, standing, expansion, counts)
    for row in cleared:
        if row.state is TaskState.SCHEDULED and len(row.path) > run.shape.depth(row.node):
            machine.start(row)
    for row in run.instances():
        if row.state is TaskState.SCHEDULED and not row.collects and len(row.path) <= run.shape.depth(row.node):
            counting.recount(row)
    machine.consider(
        [*cleared, *(row for each in list(run.expansions.values()) for row in machine.standing(run, each))]
    )


def _expand_again(
    machine: Machine,
    run: ActiveRun,
    cleared: Iterable[Instance],
    counts: Counts,
    again: dict[tuple[int, Path], set[int]],
) -> None:
    """Mapped tasks and groups that had been expanded stand for their copies once more."""
    for row in cleared:
        if row.collects or len(row.path) > run.shape.depth(row.node) or not row.spec.mapped:
            continue
        old = run.expansions.pop((row.node, row.path), None)
        first = run.shape.inside.get(row.node, [row.node])[0]
        opened = sum(counts[first, text(row.path)].values())
        if not opened:
            continue
        try:
            elements = machine.arguments.elements(row, again=True)
        except ClearanceError:
            continue  # it is expanded anew when its turn has come, and fails then with the reason
        expansion = old or Expansion(row.node, row.path, elements, len(elements), opened)
        expansion.elements = elements
        run.expansions[row.node, row.path] = expansion
        for each in machine.standing(run, expansion):
            if each.state.finished and expansion.opened < expansion.total:
                if each.path:
                    counts[each.node, text(each.path[:-1])].update({each.state: -1, TaskState.DEFERRED: 1})
                counting.uncount(each)
                set_back(machine, each)
            if each.state is TaskState.SCHEDULED:
                machine.move(each, TaskState.DEFERRED)
        if expansion.more:
            run.filling[expansion] = None


def settle(run: ActiveRun, standing: list[Instance], expansion: Expansion, counts: Counts) -> None:
    """Counts anew what rows that stand for the copies of an expansion wait for."""
    scope = text(expansion.path)
    for row in standing:
        if row.state is not TaskState.DEFERRED:
            continue
        if row.node == expansion.node and row.spec.is_group:
            members = [run.get(node, row.path) for node in run.shape.members[row.node]]
            states = [(each, each.state) for each in members if each is not None]
            row.pending = sum(not state.finished for _, state in states)
            row.failed = sum(state in BAD and run.shape.last(each.node) for each, state in states)
            continue
        found = counts[row.node, scope]
        row.pending = expansion.total - sum(found[state] for state in FINISHED)
        row.pending += row.spec.step and not run.nodes[0].state.finished
        row.failed = sum(found[state] for state in BAD)
        row.skipped = found[TaskState.SKIPPED]


def reopen(
    machine: Machine, run: ActiveRun, expansion: Expansion, position: int, within: tuple[Expansion, ...]
) -> None:
    """Opens a copy in which rows were set back, and the database holds all of it."""
    path = (*expansion.path, position)
    stored = machine.arguments.stored
    assert stored is not None
    made = []
    for node in run.shape.inside.get(expansion.node, (expansion.node,)):
        found = stored.row(run.number, node, path)
        assert found is not None
        row = restored(run, found.number, node, path, within, found)
        if not row.state.finished:
            run.unfinished += 1
            expansion.live[position].unfinished += 1
        made.append(row)
    if any(row.state.finished for row in made):
        expansion.start(position)  # it may wait for copies that are not open: it must not hold them up
    if expansion.node == made[0].node:
        made[0].mapped = expansion.elements[position]
    counts: Counts = defaultdict(Counter)
    again: dict[tuple[int, Path], set[int]] = defaultdict(set)
    for row in made:
        if row.spec.mapped and len(row.path) == run.shape.depth(row.node) and row.state is TaskState.SCHEDULED:
            for node in run.shape.inside.get(row.node, (row.node,)):
                counts[node, text(path)].update(stored.counts(run.number, node, path))
                again[row.node, path].update(stored.again(run.number, node, path))
    if expansion.live[position].unfinished:
        _go_on_in(machine, run, made, counts, again)
    else:
        expansion.close(position)
        machine.changes.closed.append((run, expansion, position))


def _go_on_in(
    machine: Machine, run: ActiveRun, made: list[Instance], counts: Counts, again: dict[tuple[int, Path], set[int]]
) -> None:
    """The same as `_go_on` for one copy that was opened again."""
    scheduled = [row for row in made if row.state is TaskState.SCHEDULED]
    _expand_again(machine, run, scheduled, counts, again)
    for key, positions in again.items():
        if (expansion := run.expansions.get(key)) is not None:
            expansion.again = deque(sorted(positions))
            run.filling[expansion] = None
            settle(run, machine.standing(run, expansion), expansion, counts)
    for row in scheduled:
        if row.state is TaskState.SCHEDULED:
            if len(row.path) > run.shape.depth(row.node):
                machine.start(row)
            elif not row.collects:
                counting.recount(row)
    machine.consider(made)


def restored(
    run: ActiveRun, number: int, node: int, path: Path, within: tuple[Expansion, ...], stored: InstanceRow
) -> Instance:
    """Returns a row of the database as it is in memory, and takes it into the run."""
    row = Instance(run, number, node, path, within=within) if path else run.nodes[node]
    if path:
        run.rows[node, path] = row
    row.state = TaskState(stored.state)
    row.epoch, row.attempts, row.due_at = stored.epoch, stored.attempts, stored.due_at
    row.clearance = stored.clearance
    row.stored = (row.state, row.epoch)
    if row.state is TaskState.SUCCESS:
        row.result = LATER
    return row
