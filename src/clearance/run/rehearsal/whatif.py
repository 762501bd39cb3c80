"""What if: the states a run would end in, through the real state machine, with nothing run and nothing stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

from clearance.errors import UsageError, nearest
from clearance.graph.binding import Binding, Element, Path, Result, written
from clearance.graph.model import Graph, Items, Node, Value
from clearance.graph.predicate import part, values_in
from clearance.graph.trigger import check_rule
from clearance.run.arguments import Arguments
from clearance.run.instance import ActiveRun, Instance
from clearance.run.machine import Machine
from clearance.types.states import TaskState

OUTCOMES = {"success": TaskState.SUCCESS, "fail": TaskState.FAILED, "skip": TaskState.SKIPPED}


class Given(Arguments):
    """Values for conditions, as a person gives them.

    Args:
        values: by name, `best.score` or `best`.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(lambda artifact: artifact.inline or b"")
        self._values = values
        self.used: set[str] = set()

    def plain(self, instance: Instance, binding: Binding) -> Any:
        if isinstance(binding, Value):
            return binding.value
        name = written(binding)
        for whole, value in self._values.items():
            rest = _rest(binding, whole)
            if rest is not None:
                self.used.add(whole)
                return part(value, rest, whole)
        if isinstance(binding, Element):
            return super().plain(instance, binding)
        raise UsageError(f"a condition of {instance.label} reads {name}: say which value it has, --when {name}=VALUE")


def _rest(binding: Binding, whole: str) -> Path | None:
    """Returns the path from a named value to a binding; None where the name is not that of something around it."""
    assert isinstance(binding, Result | Element)
    for length in range(len(binding.path), -1, -1):
        if written(msgspec.structs.replace(binding, path=binding.path[:length])) == whole:
            return binding.path[length:]
    return None


def what_if(
    graph: Graph, fail: Iterable[str] = (), skip: Iterable[str] = (), values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the state of every task and of the run, when these tasks fail or are skipped and the others succeed.

    A task that is mapped over a result, whose length is not known here, stands for all its instances; of a group that
    is mapped over one there is one copy.

    Args:
        graph: of the DAG.
        fail: tasks (`train`, or `train[2]` of a map over constants) that fail, if they run.
        skip: tasks that skip themselves, if they run.
        values: what conditions read, by the name that stands in them: `best.score`, or `best` for all of it.

    Raises:
        UsageError: no such task, one that both fails and skips, or a value that a condition reads and nobody gives.
    """
    run = ActiveRun(
        number=0, key="whatif", id="whatif", version="", bundle="",
        graph=msgspec.structs.replace(graph, nodes=tuple(_known_length(node) for node in graph.nodes)),
    )  # fmt: skip
    given = Given(values or {})
    machine = Machine(given)
    fates = dict.fromkeys(fail, TaskState.FAILED)
    for label in skip:
        if fates.setdefault(label, TaskState.SKIPPED) is not TaskState.SKIPPED:
            raise UsageError(f"task {label!r} cannot both fail and be skipped: choose one")
    machine.begin(run)
    final = ""
    waiting: deque[Instance] = deque()
    while True:
        changes = machine.take()
        if changes.ended:
            final = changes.ended[-1][1]
        waiting.extend(each for each in changes.ready if each.state is TaskState.AWAITING_CLEARANCE)
        if not waiting:
            if not run.filling:
                break
            for expansion in list(run.filling):
                machine.fill(run, expansion)
            continue
        instance = waiting.popleft()
        fate = fates.get(instance.label, fates.get(instance.spec.id, TaskState.SUCCESS))
        machine.move(instance, TaskState.QUEUED)
        machine.move(instance, TaskState.RUNNING)
        machine.finish(instance, fate)
    for label in fates:
        if run.find(label) is None:
            near = nearest(label, [instance.label for instance in run.instances()])
            raise UsageError(f"dag {graph.dag!r} has no task {label!r}{near}")
    for name in values or {}:
        if name not in given.used and not _read(graph, name):
            names = {written(one) for node in graph.nodes for each in node.conditions for one in values_in(each)}
            raise UsageError(f"no condition of dag {graph.dag!r} reads {name}{nearest(name, names)}")
    return {"states": {each.label: each.state.value for each in run.instances()}, "run": str(final)}


def _read(graph: Graph, name: str) -> bool:
    """True where some condition reads a value of this name, or a part of it."""
    values = [one for node in graph.nodes for each in node.conditions for one in values_in(each)]
    return any(_rest(one, name) is not None for one in values)


def replay(dag: dict[str, Any]) -> dict[str, Any]:
    """Returns states and run of a DAG in plain data: `{"tasks": {id: {"up", "rule", "outcome"}}}`.

    Raises:
        UsageError: a field is missing, an outcome is none, or a task waits for one that there is not, or for itself.
        GraphError: a rule is none.
    """
    try:
        nodes = [
            Node(
                id=id,
                function=f"whatif:{id}",
                upstream=_up(id, task["up"], dag["tasks"]),
                trigger_rule=check_rule(task["rule"]),
            )
            for id, task in dag["tasks"].items()
        ]
        outcomes = {id: OUTCOMES[task["outcome"]] for id, task in dag["tasks"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"a DAG for what-if lacks {error}, or it is none of {', '.join(OUTCOMES)}") from None
    _refuse_cycle({node.id: node.upstream for node in nodes})
    fail = [id for id, state in outcomes.items() if state is TaskState.FAILED]
    skip = [id for id, state in outcomes.items() if state is TaskState.SKIPPED]
    return what_if(Graph(dag="whatif", nodes=tuple(nodes)), fail, skip)


def _up(id: str, up: Any, tasks: Mapping[str, Any]) -> tuple[str, ...]:
    if not isinstance(up, list) or not all(isinstance(other, str) for other in up):
        raise UsageError(f"task {id!r}: up is {str(up)[:50]!r}: write a list of ids of tasks")
    for other in up:
        if other not in tasks:
            raise UsageError(f"task {id!r} waits for {other!r}, which is none{nearest(other, tasks)}")
    return tuple(up)


def _refuse_cycle(above: Mapping[str, tuple[str, ...]]) -> None:
    try:
        TopologicalSorter(above).prepare()
    except CycleError as error:
        raise UsageError(f"tasks wait for themselves through a cycle: {' -> '.join(error.args[1])}") from None


def outline(node: Node) -> Node:
    """Returns a node with one instance, or one copy, in place of all."""
    if not node.mapped:
        return node
    mapped: dict[str, Binding] = dict.fromkeys(node.mapped, Value([None])) if node.is_group else {}
    return msgspec.structs.replace(node, mapped=mapped)


def _known_length(node: Node) -> Node:
    if all(isinstance(binding, Value | Items) for binding in node.mapped.values()):
        return node
    return outline(node)
