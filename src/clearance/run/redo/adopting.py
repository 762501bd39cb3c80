"""A run on another version of its DAG: a new run, which takes what it can from the one before.

Rules:

1. A run never changes its version: going on with other code is a run of its own, and the old one stays as it is.
2. A task is taken over when the task of that id has succeeded there, everything before it is taken over, and it is the
   same task: function, bindings and options that decide what comes out. Other code of the function counts only where
   the task has a cache, which knows it.
3. Mapped tasks and what lies in mapped groups run again; the cache has their results where they have one.
4. Nothing is signed or told of assets anew: the signature of the attempt that made a result holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearance.errors import UsageError
from clearance.graph.model import Graph, Node, decode
from clearance.run import recovery, rows
from clearance.run.instance import ActiveRun
from clearance.types.states import RunState, TaskState

if TYPE_CHECKING:
    from clearance.run.controller import Controller

_SAME = ("function", "inputs", "upstream", "returns", "gang", "cache", "trigger_rule")


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
        """Lets the tasks of a new run that are taken over end with success, before anything is started."""
        controller, database = self._controller, self._controller.database
        old = {node.id: (number, node) for number, node in enumerate(self._graph.nodes)}
        states = {row.task: row.state for row in rows.node_rows(database, self._row.number)}
        taken: set[str] = set()
        for instance in run.nodes:
            node = instance.spec
            number, before = old.get(node.id, (0, None))
            if before is None or node.id in self._again or not _same(before, node):
                continue
            if states.get(node.id) != TaskState.SUCCESS or not taken.issuperset(node.upstream):
                continue
            taken.add(node.id)
            result = rows.artifact_of(database, self._row.number, number)
            if result is not None:
                data = rows.artifact_encoder.encode(result)
                controller.ledger.add("artifact_add", run.number, instance.number, result.digest, data, now)
            told = {"task": node.id, "from_run": self._row.id, "digest": "" if result is None else result.digest}
            controller.ledger.tell_of(now, run, instance, "adopted", told)
            controller.machine.finish(instance, TaskState.SUCCESS, result)


def _same(old: Node, new: Node) -> bool:
    """True where a result of one stands for that of the other."""
    plain = not (old.mapped or new.mapped or old.group or new.group) and not new.is_group
    return plain and all(getattr(old, name) == getattr(new, name) for name in _SAME)
