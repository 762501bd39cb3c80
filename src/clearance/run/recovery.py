"""Recovery: from rows back to a run in memory, so that nothing depends on the process that died."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque

from clearance.cluster import Placement
from clearance.errors import UsageError, nearest
from clearance.graph import model
from clearance.run import counting, rows
from clearance.run.arguments import Arguments
from clearance.run.clearance import decode
from clearance.run.expansion import Copy, Expansion
from clearance.run.instance import ActiveRun, Instance, counts_as_failure
from clearance.run.machine import Machine
from clearance.run.redo.clearing import restored, settle
from clearance.run.shape import text
from clearance.run.starts.causes import cause_of
from clearance.store.database import Database
from clearance.types.digest import Digest, digest_of
from clearance.types.states import RunState, TaskState

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}\Z")


def version_digest(graph: bytes, bundle: str) -> Digest:
    """Returns the digest of a DAG version: its graph and its source bundle together."""
    return digest_of(f"{digest_of(graph)}\n{bundle}\n".encode())


def check_run_id(id: str) -> None:
    """Checks the form of a run id that a person chose.

    Raises:
        UsageError: empty, too long, or with characters that are not allowed.
    """
    if not _RUN_ID.match(id) or ".." in id:
        raise UsageError(
            f"run id {id!r}: use up to 200 letters, digits and . _ : / -, beginning with a letter or digit"
        )


def known(database: Database, id: str) -> rows.RunRow:
    """Returns the run of this id.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    row = rows.run_row(database, id)
    if row is None:
        ids = [found[0] for found in database.rows("run_ids")]
        raise UsageError(f"no run {id!r}{nearest(id, ids)}; `clearance runs list` shows them all")
    return row


def state_of(database: Database, number: int) -> str:
    """Returns the stored state of a run."""
    return str(database.rows("run_at", number)[0][5])


def unfinished_runs(database: Database, arguments: Arguments) -> list[ActiveRun]:
    """Loads every run that has not finished, oldest first."""
    found = [*database.rows("runs_in", RunState.RUNNING), *database.rows("runs_in", RunState.QUEUED)]
    return [load(database, row, arguments) for row in sorted((rows.RunRow(*row) for row in found), key=_number)]


def _number(row: rows.RunRow) -> int:
    return row.number


def load(database: Database, row: rows.RunRow, arguments: Arguments) -> ActiveRun:
    """Builds a run as it stands in the database: of mapped tasks and groups only what is open.

    Args:
        database: where it is remembered.
        row: the run.
        arguments: what its mapped tasks and groups are mapped over.
    """
    _, bundle, _, graph = database.rows("version_get", row.version)[0]
    run = ActiveRun(
        number=row.number, key=row.key, id=row.id, version=row.version, bundle=bundle,
        graph=model.decode(bytes(graph)), principal=row.principal, environment=row.environment,
        state=RunState(row.state), cause=cause_of(database, row.number), created_at=row.created_at,
    )  # fmt: skip
    _Loading(database, run, arguments).load()
    return run


class _Loading:
    """One run while it is loaded."""

    def __init__(self, database: Database, run: ActiveRun, arguments: Arguments) -> None:
        self._database = database
        self._run = run
        self._arguments = arguments
        self._counts: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        self._again: dict[Expansion, set[int]] = {}

    def load(self) -> None:
        run, counts = self._run, self._counts
        for node, scope, state, count in self._database.rows("instance_counts", run.number):
            counts[node, scope][state] = count
        highest = self._database.rows("instance_numbers", run.number, run.number, run.number)[0][0]
        run.total = max(len(run.nodes), (-1 if highest is None else int(highest)) + 1)
        run.cancelled = sum(each[TaskState.CANCELLED] for each in counts.values())
        found = [rows.InstanceRow(*each) for each in self._database.rows("instances_open", run.number, run.number)]
        for stored in found:
            if stored.position < 0:
                self._take_node(stored)
        for instance in run.nodes:
            self._expand(instance)
        below = [each for each in found if each.position >= 0]
        working = {self._copy_of(each) for each in below if not TaskState(each.state).finished}
        for stored in sorted(below, key=_depth):
            if self._copy_of(stored) in working:
                self._take(stored)
        machine = Machine(self._arguments)
        for expansion in run.expansions.values():
            settle(run, machine.standing(run, expansion), expansion, counts)
            expansion.fresh = sum(not copy.started for copy in expansion.live.values())
            if expansion.more:
                run.filling[expansion] = None
        deferrals = rows.deferrals(self._database, run.number)
        for instance in run.instances():
            instance.deferral = deferrals.get(instance.number)
            if instance.state is TaskState.SCHEDULED and not instance.collects:
                counting.recount(instance)
        for number, state, reason in self._database.rows("marks_open", run.number):
            marked = rows.InstanceRow(*self._database.rows("instances_numbered", run.number, number)[0])
            run.marks[marked.node, marked.path] = (TaskState(state), reason)

    def _take_node(self, stored: rows.InstanceRow) -> None:
        run = self._run
        instance = restored(run, stored.number, stored.node, (), (), stored)
        if instance.state.finished:
            run.unfinished -= 1
            run.failures += counts_as_failure(instance)
            run.cancelled += instance.state is TaskState.CANCELLED

    def _copy_of(self, stored: rows.InstanceRow) -> tuple[int, tuple[int, ...]]:
        """The mapped task or group in whose copy a row lies, and the path of that copy."""
        return self._run.shape.around(stored.node, len(stored.path) - 1), stored.path

    def _take(self, stored: rows.InstanceRow) -> None:
        """Takes a row with a path, unless it only happens to have the path of something that is open."""
        run, path = self._run, stored.path
        around = [run.shape.around(stored.node, level) for level in range(len(path))]
        expansions = [run.expansions.get((node, path[:level])) for level, node in enumerate(around)]
        within = tuple(each for each in expansions if each is not None)
        if len(within) < len(path) or path[-1] in self._again.get(within[-1], ()):
            return
        last, position = within[-1], path[-1]
        state = TaskState(stored.state)
        instance = restored(run, stored.number, stored.node, path, within, stored)
        if last.node == stored.node:
            instance.mapped = last.elements[position]
        copy = last.live.setdefault(position, Copy())
        if not state.finished:
            run.unfinished += 1
            copy.unfinished += 1
        for expansion, index in zip(within, path, strict=True):
            expansion.live[index].started |= instance.epoch > 0 or state.finished
            expansion.waiting += state is TaskState.AWAITING_CLEARANCE
        self._expand(instance)

    def _expand(self, instance: Instance) -> None:
        """A row that stands for copies does so again; copies that were set back and not begun are opened anew."""
        run, path = self._run, instance.path
        if instance.spec.step and instance.state is TaskState.DEFERRED and not path:
            _, steps = self._arguments.steps(instance)
            total = self._counts[instance.node, ""].total()
            run.expansions[instance.node, ()] = Expansion(instance.node, (), steps, total, total)
            return
        deferred = instance.state is TaskState.DEFERRED and instance.spec.mapped
        if not deferred or len(path) != run.shape.depth(instance.node):
            return
        nodes = run.shape.inside.get(instance.node, [instance.node])
        elements = self._arguments.elements(instance, again=True)
        scope = text(path)
        opened = self._counts[nodes[0], scope].total()
        expansion = Expansion(instance.node, path, elements, len(elements), opened)
        run.expansions[instance.node, path] = expansion
        if any(self._counts[node, scope][TaskState.SCHEDULED] for node in nodes):
            again: set[int] = set()
            active: set[int] = set()
            for node in nodes:
                again.update(at for (at,) in self._database.rows("instances_again", run.number, node, scope))
                active.update(at for (at,) in self._database.rows("instances_active", run.number, node, scope))
            self._again[expansion] = again - active
            expansion.again = deque(sorted(again - active))


def _depth(stored: rows.InstanceRow) -> int:
    return len(stored.path)


def placement(instance: Instance) -> Placement:
    """Returns where a granted instance was placed, as its clearance says."""
    record = decode(instance.clearance)
    nodes = record.capacity.nodes if record and record.capacity else ()
    return Placement(nodes)


def queue(instance: Instance) -> str:
    """Returns the queue in which an instance was granted; empty where its clearance does not say."""
    record = decode(instance.clearance)
    return record.capacity.queue if record and record.capacity else ""
