"""What a run would do: which tasks together, and what both desks would say; nothing runs.

The waves come from the state machine (every task succeeds), the answers from the capacity desk with this machine's
room and the pools that the installation knows. What the trust desk judges does not exist yet: what it will ask is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from clearance.cluster import Desk
from clearance.engine.local.nodes import nodes_of
from clearance.errors import StoreError, UsageError
from clearance.graph.model import Binding, Graph, Items, Node, Value
from clearance.graph.predicate import sources, text
from clearance.run.admission import Admission
from clearance.run.arguments import Arguments
from clearance.run.clearance import Desks, Verdict
from clearance.run.instance import ActiveRun, Instance
from clearance.run.look.lineage import results_in
from clearance.run.machine import Machine
from clearance.run.redo.entries import Entry
from clearance.run.rehearsal.hits import Hits
from clearance.run.rehearsal.whatif import outline
from clearance.settings import Settings, load
from clearance.store.database import Database
from clearance.types.states import TaskState


class Planned(msgspec.Struct, frozen=True):
    """A task in its wave.

    Attributes:
        task: its id.
        count: how many instances or copies it has; None where that is known only when the run gets there.
        resources: `cpu` and `gpu` in thousandths, `memory` in bytes, for each process.
        gang: number of processes.
        pool: from which it takes; empty for none.
        trigger_rule: whether it runs, by how those before it ended.
        capacity: what the capacity desk says of the first instance, beside the rest of the wave.
        trust: what the trust desk says, or will look at.
        condition: what must hold for it to run, as text; empty where it depends on nothing.
        cached: run and task whose result would be taken from the cache; empty where it would run.
    """

    task: str
    count: int | None
    resources: dict[str, int]
    gang: int
    pool: str
    trigger_rule: str
    capacity: Verdict
    trust: Verdict
    condition: str = ""
    cached: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What a run would do.

    Attributes:
        dag: id of the DAG.
        parameters: with which its graph was built.
        waves: tasks that could run at the same time, in order; a later wave waits for an earlier one.
        cpu: that the engine offers, in thousandths.
    """

    dag: str
    parameters: dict[str, Any]
    waves: list[list[Planned]]
    cpu: int

    @property
    def denied(self) -> list[Planned]:
        """The tasks that a desk would deny."""
        return [one for wave in self.waves for one in wave if "denied" in (one.capacity.verdict, one.trust.verdict)]


def plan(graph: Graph, settings: Settings | None = None) -> Plan:
    """Returns what a run of a graph would do.

    Raises:
        StoreError: the database is of another version than this program.
    """
    settings = settings or load()
    nodes = nodes_of(settings)
    run = ActiveRun(
        number=0, key="plan", id=f"{graph.dag}/plan", version="", bundle="",
        graph=msgspec.structs.replace(graph, nodes=tuple(_unconditional(outline(each)) for each in graph.nodes)),
    )  # fmt: skip
    scheduler = Desk()
    for offered in nodes:
        scheduler.add_node(offered.name, offered.capacity)
    desks = Desks(scheduler)
    arguments = Arguments(lambda artifact: artifact.inline or b"")
    machine = Machine(arguments)
    with _opened(settings) as database:
        pools = {} if database is None else dict(database.rows("pools"))
        admission = Admission(desks, machine, cast(Any, _Pools(pools)))
        hits = Hits(database, arguments)
        machine.begin(run)
        waves: list[list[Planned]] = []
        while ready := [each for each in machine.take().ready if each.state is TaskState.AWAITING_CLEARANCE]:
            taken = {each: entry for each in ready if (entry := hits.take(each)) is not None}
            waves.append(_wave(ready, graph, desks, admission, taken))
            for instance in ready:
                machine.move(instance, TaskState.QUEUED)
                machine.move(instance, TaskState.RUNNING)
                entry = taken.get(instance)
                machine.finish(instance, TaskState.SUCCESS, None if entry is None else entry.decoded)
    return Plan(graph.dag, graph.parameters, waves, sum(offered.capacity["cpu"] for offered in nodes))


def _unconditional(node: Node) -> Node:
    """Returns a node that waits for what its conditions read, and then runs whatever that is."""
    if not node.conditions:
        return node
    return msgspec.structs.replace(node, conditions=(), waits=(*node.waits, *sources(node.conditions)))


class _Pools:
    """Stands where `Admission` reads the pools."""

    def __init__(self, pools: Mapping[str, int]) -> None:
        self._pools = pools

    def rows(self, statement: str) -> list[tuple[str, int]]:
        assert statement == "pools"
        return list(self._pools.items())


@contextmanager
def _opened(settings: Settings) -> Iterator[Database | None]:
    """Opens the database for reading; None where nothing is remembered yet."""
    try:
        database = Database(settings.database, read_only=True)
    except StoreError:
        yield None
        return
    with database:
        if not database.version():
            yield None
            return
        database.check()
        yield database


def _wave(
    ready: list[Instance], graph: Graph, desks: Desks, admission: Admission, taken: Mapping[Instance, Entry]
) -> list[Planned]:
    """Asks the desks for what is ready together, as a run would, and gives everything back; a hit asks no capacity."""
    capacity = {instance: Verdict("granted", "its result is taken from the cache") for instance in taken}
    for instance in ready:
        if instance in taken:
            continue
        spec = graph.nodes[instance.node]
        try:
            admission.check(msgspec.structs.replace(graph, nodes=(spec,)))
        except UsageError as error:
            capacity[instance] = Verdict("denied", str(error))
            continue
        ask = desks.job_of(instance)
        if denial := desks.scheduler.submit(ask):
            capacity[instance] = Verdict("denied", denial.reason)
    while granted := {decision.id: decision for decision in desks.scheduler.step()}:
        for instance in ready:
            if decision := granted.get(desks.id_of(instance)):
                nodes = decision.placement.nodes if decision.placement else ()
                capacity[instance] = Verdict("granted", decision.reason, nodes=nodes)
    for instance in ready:
        if instance not in capacity:
            held = desks.scheduler.explain(desks.id_of(instance))
            capacity[instance] = Verdict("held", held.reason if held else "waits for room")
    for instance in ready:
        desks.scheduler.release(desks.id_of(instance))
    return [_planned(graph, instance, capacity[instance], taken.get(instance)) for instance in ready]


def _planned(graph: Graph, instance: Instance, capacity: Verdict, entry: Entry | None) -> Planned:
    spec = graph.nodes[instance.node]
    made = {task for binding in (*spec.inputs.values(), *spec.mapped.values()) for task in results_in(binding)}
    if made:
        trust = Verdict("pending", f"granted if what {', '.join(sorted(made))} made is signed", rule="inputs-signed")
    else:
        trust = Verdict("granted", "it has no inputs from tasks", rule="inputs-signed")
    return Planned(
        spec.id, _count(graph, spec), spec.resources, spec.gang, spec.pool, spec.trigger_rule, capacity, trust,
        " and ".join(text(each) for each in spec.conditions), f"{entry.run} {entry.task}" if entry else "",
    )  # fmt: skip


def _count(graph: Graph, node: Node) -> int | None:
    """How many instances a task has, in all copies of the groups around it."""
    total = 1
    index = {each.id: each for each in graph.nodes}
    one: Node | None = node
    while one is not None:
        lengths = [_length(binding) for binding in one.mapped.values()]
        if None in lengths:
            return None
        known = [length for length in lengths if length is not None]
        if known:
            total *= _product(known) if one.product else known[0]
        one = index.get(one.group)
    return total


def _product(lengths: list[int]) -> int:
    total = 1
    for length in lengths:
        total *= length
    return total


def _length(binding: Binding) -> int | None:
    if isinstance(binding, Value):
        return len(binding.value)
    return len(binding.items) if isinstance(binding, Items) else None
