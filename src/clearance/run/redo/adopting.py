"""A run on another version of its DAG: a new run, which takes what it can from the one before.

Rules:

1. A run never changes its version: going on with other code is a run of its own, and the old one stays as it is.
2. A task is taken over when the task of that id has succeeded there, everything before it is taken over, and it is the
   same task: function, bindings and options that decide what comes out. Other code of the function counts only where
   the task has a cache, which knows it.
3. Of a mapped task each instance that succeeded is taken over, of a mapped group each copy in which nothing failed; the
   others are done. What follows waits for these, and is done too.
4. A setup is taken over with its teardown or not at all, a handler with what it handles; the run's handlers never are.
5. Nothing is signed or told of assets anew: the signature of the attempt that made a result holds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from clearance.errors import UsageError
from clearance.graph.model import Graph, Node, decode
from clearance.graph.predicate import sources
from clearance.run import recovery, rows
from clearance.run.expansion import Taken
from clearance.run.instance import ActiveRun, Instance
from clearance.run.rows import InstanceRow
from clearance.run.shape import Path, Shape
from clearance.types.states import RunState, TaskState

if TYPE_CHECKING:
    from clearance.run.controller import Controller

_SAME = (
    "function", "inputs", "mapped", "product", "group", "upstream", "conditions", "setup", "waits", "on", "of",
    "returns", "gang", "cache", "trigger_rule",
)  # fmt: skip
_UNHARMED = frozenset({TaskState.SUCCESS, TaskState.SKIPPED})


class Adopt:
    """What a new run takes from one before.

    Args:
        controller: which leads.
        id: of the run before.
        again: ids of tasks that are not taken over.

    Raises:
        UsageError: no such run or task, or it still goes on.
    """

    def __init__(self, controller: Controller, id: str, again: tuple[str, ...]) -> None:
        self._controller = controller
        self._row = recovery.known(controller.database, id)
        if not RunState(self._row.state).finished:
            raise UsageError(
                f"run {id!r} is {self._row.state}: wait for its end or cancel it, then go on with other code"
            )
        self._graph: Graph = decode(bytes(controller.database.rows("version_get", self._row.version)[0][3]))
        self._again = frozenset(again)
        known = {node.id for node in self._graph.nodes}
        for name in again:
            if name not in known:
                raise UsageError(f"run {id!r} has no task {name!r}; `clearance runs show {id}` lists them")

    def check(self, graph: Graph) -> None:
        """Checks that a graph is one of the same DAG.

        Raises:
            UsageError: it is not.
        """
        if graph.dag != self._graph.dag:
            raise UsageError(f"run {self._row.id!r} is of DAG {self._graph.dag!r}, not of {graph.dag!r}")

    def into(self, run: ActiveRun, now: float) -> None:
        """Lets what a new run takes over end with success, before anything is started.

        Instances that are taken over are rows only; they must be committed before others of their map are opened.
        """
        old = _Old(self._graph, rows.instance_rows(self._controller.database, self._row.number))
        units = _units(run)
        found = _taken(run, units, old, self._again)
        for top in found:
            if old.copies(top):
                self._take_copies(run, [run.nodes[node] for node in units[top]], old, found[top], now)
        for instance in run.nodes:
            if instance.spec.id in found and not instance.spec.mapped:
                self._take(run, instance, old.index[instance.spec.id], now)

    def _take(self, run: ActiveRun, instance: Instance, number: int, now: float) -> None:
        controller = self._controller
        result = rows.artifact_of(controller.database, self._row.number, number)
        if result is not None:
            data = rows.artifact_encoder.encode(result)
            controller.ledger.add("artifact_add", run.number, instance.number, result.digest, data, now)
        digest = "" if result is None else result.digest
        self._tell(run, instance, now, digest=digest)
        controller.machine.finish(instance, TaskState.SUCCESS, result)

    def _take_copies(self, run: ActiveRun, unit: list[Instance], old: _Old, taken: frozenset[int], now: float) -> None:
        """Writes the rows of a mapped task or group; the machine takes them into account when its turn has come."""
        top = unit[0]
        ledger = self._controller.ledger
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for instance in unit[1:] or unit:
            node = instance.node
            results = dict(self._controller.stored.results(self._row.number, old.index[instance.spec.id]))
            for path, state in old.below(instance.spec.id):
                whole = path[0] in taken
                if not whole and len(path) > 1:
                    continue  # it is mapped anew in its copy
                made = Instance(run, run.total, node, path)
                run.total += 1
                made.state = state if whole else TaskState.SCHEDULED
                ledger.add_instance(made, now)
                if len(path) == 1:
                    counts[node][made.state] += 1
                if whole and (result := results.get(path)) is not None:
                    data = rows.artifact_encoder.encode(result)
                    ledger.add("artifact_add", run.number, made.number, result.digest, data, now)
        opened = old.copies(top.spec.id)
        again = tuple(position for position in range(opened) if position not in taken)
        run.taken[top.node] = Taken(opened, again, counts)
        self._tell(run, top, now, instances=len(taken))

    def _tell(self, run: ActiveRun, instance: Instance, now: float, **more: str | int) -> None:
        told = {"task": instance.spec.id, "from_run": self._row.id, **more}
        self._controller.ledger.tell_of(now, run, instance, "adopted", told)


class _Old:
    """The run before: its nodes and rows."""

    def __init__(self, graph: Graph, found: list[InstanceRow]) -> None:
        self.nodes = {node.id: node for node in graph.nodes}
        self.index = {node.id: number for number, node in enumerate(graph.nodes)}
        self.states = {row.task: TaskState(row.state) for row in found if row.position < 0}
        self._below: dict[str, list[tuple[Path, TaskState]]] = defaultdict(list)
        for row in found:
            if row.position >= 0:
                self._below[row.task].append((row.path, TaskState(row.state)))
        shape = Shape(graph)
        self._inside = {
            graph.nodes[group].id: [graph.nodes[node].id for node in inside] for group, inside in shape.inside.items()
        }

    def inside(self, id: str) -> list[str]:
        """The ids of what lies in a mapped group; its own for anything else."""
        return self._inside.get(id, [id])

    def below(self, id: str) -> list[tuple[Path, TaskState]]:
        """Path and state of the rows of a node that have a path."""
        return self._below.get(id, [])

    def copies(self, id: str) -> int:
        """How many copies of a mapped task or group were opened."""
        return sum(len(path) == 1 for path, _ in self.below(self.inside(id)[0]))

    def unharmed(self, id: str) -> frozenset[int]:
        """The copies of a mapped task or group that need not be done again."""
        inside = self.inside(id)
        fine = _UNHARMED if id in self._inside else {TaskState.SUCCESS}
        bad = {path[0] for one in inside for path, state in self.below(one) if state not in fine}
        return frozenset(path[0] for path, _ in self.below(inside[0])) - bad


def _units(run: ActiveRun) -> dict[str, list[int]]:
    """Returns what is taken over together, by the id of its first: a task, or a mapped group and all that is in it."""
    found: dict[str, list[int]] = {}
    for number, node in enumerate(run.graph.nodes):
        chain = run.shape.chain[number]
        found.setdefault(run.graph.nodes[chain[0]].id if chain else node.id, []).append(number)
    return found


def _taken(run: ActiveRun, units: dict[str, list[int]], old: _Old, again: frozenset[str]) -> dict[str, frozenset[int]]:
    """Returns what is taken over: the first of each unit, with the copies that are, none for a task without a map."""
    nodes = run.graph.nodes
    top = {node: first for first, unit in units.items() for node in unit}
    found: dict[str, frozenset[int]] = {}
    whole: set[str] = set()
    for first, unit in units.items():
        ids = [nodes[node].id for node in unit]
        same = all(id in old.nodes and _same(old.nodes[id], nodes[node]) for id, node in zip(ids, unit, strict=True))
        if not same or not again.isdisjoint(ids) or {*ids} != {first, *old.inside(first)}:
            continue
        found[first] = old.unharmed(first)
        if old.states[first] is TaskState.SUCCESS and len(found[first]) == old.copies(first):
            whole.add(first)
        elif not found[first]:
            del found[first]
    downs = {run.shape.index[node.setup]: number for number, node in enumerate(nodes) if node.setup}
    before = {first: {top[each] for node in unit for each in _before(run, node, downs)} - {first}
              for first, unit in units.items()}  # fmt: skip
    while True:
        left = {first for first in found if not before[first] <= whole}
        if not left:
            return found
        for first in left:
            del found[first]
        whole -= left


def _before(run: ActiveRun, number: int, downs: dict[int, int]) -> set[int]:
    """Returns what must be taken over as a whole before a node is: what it depends on, and what goes with it.

    `downs` are the teardowns by setup.
    """
    node, index = run.graph.nodes[number], run.shape.index
    found = {index[name] for name in (*node.upstream, *sources(node.conditions), *node.waits)}
    if node.of:
        found.add(index[node.of])
    if number in downs:
        found.add(downs[number])
    return found


def _same(old: Node, new: Node) -> bool:
    """True where what came of one stands for what would come of the other."""
    own = new.flow or new.step or (new.on and not new.of)
    return not own and all(getattr(old, name) == getattr(new, name) for name in _SAME)
