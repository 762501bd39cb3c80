"""Clearance: the transition from awaiting_clearance to queued, which needs a yes from both desks.

The trust desk is asked first (may it?), then the capacity desk (where and when?). A denial by either is final
for the attempt and names its rule; what is held names who holds it. `clearance why` prints these records.
"""

from __future__ import annotations

import msgspec

from clearance.cluster import Answer, Desk, Job, Limit, Placement, task_groups
from clearance.errors import UsageError
from clearance.run.expansion import Expansion
from clearance.run.instance import ActiveRun, Instance
from clearance.run.shape import Path, text
from clearance.types.principal import groups_of


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one desk says.

    Attributes:
        verdict: `granted`, `held` or `denied`.
        reason: one line.
        rule: which rule decided, for the trust desk.
        nodes: where the members go, for the capacity desk.
        queue: that of the capacity desk.
        blockers: who holds it, as people name them.
    """

    verdict: str
    reason: str
    rule: str = ""
    nodes: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    queue: str = ""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The decision on one instance, as it is stored.

    Attributes:
        verdict: of both desks together.
        at: seconds since 1970.
        capacity: what the capacity desk says; None while it has not been asked.
        trust: what the trust desk says.
        reason: why neither desk was asked, where a condition decided.
    """

    verdict: str
    at: float
    capacity: Verdict | None = None
    trust: Verdict | None = None
    reason: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def decode(text: str) -> Record | None:
    """Reads a stored record; None for an instance that has not asked yet."""
    return _decoder.decode(text) if text else None


class Desks:
    """Both desks as the controller asks them.

    Args:
        scheduler: the capacity desk.

    Attributes:
        holding: the instances that hold room, by the id under which they asked.
    """

    def __init__(self, scheduler: Desk) -> None:
        self.scheduler = scheduler
        self._trust: dict[str, Verdict] = {}
        self._orders: dict[str, tuple[int, ...]] = {}
        self.holding: dict[str, Instance] = {}

    @staticmethod
    def id_of(instance: Instance) -> str:
        """Returns the id of what an instance asks."""
        return f"{instance.run.key}.{instance.number}"

    def job_of(self, instance: Instance) -> Job:
        """Returns what an instance asks of the capacity desk."""
        spec, run = instance.spec, instance.run
        return Job(
            id=self.id_of(instance),
            queue=spec.queue or run.graph.queue,
            user=run.principal,
            groups=groups_of(run.principal),
            task_groups=task_groups(spec.resources, spec.gang),
            priority=spec.priority + run.graph.priority,
            runtime_estimate=spec.expect or None,
            tags={"namespace": run.graph.dag},
            label=f"{run.id} {instance.label}",
            limits=_limits(instance),
            order=self._place(instance),
        )

    def _place(self, instance: Instance) -> tuple[int, ...]:
        """Returns its place among asks of the same priority; empty for that of its arrival.

        Where a run says how long its tasks take, its asks go in the order of what lies behind them: the longest way to
        the run's end first.
        """
        if (again := self._orders.pop(self.id_of(instance), None)) is not None:
            return again
        run = instance.run
        order = self._order(instance.within[0], instance.path) if instance.within else ()
        if not run.shape.ways:
            return order
        if not run.arrival:
            run.arrival = self.scheduler.arrive()
        return (run.arrival, -run.shape.ways[instance.node], *(order or (self.scheduler.arrive(),)))

    def copy_job(self, run: ActiveRun, expansion: Expansion, position: int) -> Job:
        """Returns what the next copy of a group asks that limits how many copies are open."""
        spec = run.graph.nodes[expansion.node]
        path = (*expansion.path, position)
        first = run.expansions[run.shape.around(expansion.node, 0), ()]
        return Job(
            id=f"copy:{run.key}.{expansion.node}.{text(path)}",
            task_groups=(),
            priority=run.graph.priority,
            label=f"{run.id} {spec.id}[{text(path)}]",
            limits=(_map_limit(run, spec.id, spec.copies, expansion.path),),
            order=self._order(first, path),
        )

    @staticmethod
    def run_job(run: ActiveRun) -> Job | None:
        """Returns what a run asks of a DAG that limits how many of them go on; None where it does not.

        Runs of a backfill keep to its own concurrency, and do not count.
        """
        graph = run.graph
        if not graph.max_active_runs or (run.cause is not None and run.cause.backfill):
            return None
        limit = Limit(f"max_active_runs of {graph.dag}", 1, graph.max_active_runs)
        return Job(f"run:{run.key}", task_groups=(), priority=graph.priority, label=run.id, limits=(limit,))

    def _order(self, first: Expansion, path: Path) -> tuple[int, ...]:
        """Copies of one map go in their order, before whatever arrived after the map."""
        if not first.arrival:
            first.arrival = self.scheduler.arrive()
        return (first.arrival, *path)

    def request(self, instance: Instance, trust: Verdict, now: float) -> bool:
        """Asks the capacity desk if the trust desk allows it.

        Returns:
            False when one of them denied, with the record set on the instance.
        """
        if trust.verdict == "denied":
            instance.clearance = _stored(Record("denied", now, trust=trust))
            return False
        try:
            job = self.job_of(instance)
        except UsageError as error:  # a resource that the scheduler does not know
            instance.clearance = _stored(Record("denied", now, Verdict("denied", str(error)), trust))
            return False
        if denial := self.scheduler.submit(job):
            instance.clearance = _stored(Record("denied", now, _verdict(denial), trust))
            return False
        self._trust[job.id] = trust
        return True

    def decided(self, instance: Instance, answer: Answer, now: float) -> None:
        """Records a grant on the instance, or a denial of one that had waited."""
        if answer.verdict == "granted":
            self.holding[answer.id] = instance
        trust = self._trust.pop(answer.id, None)
        if trust is None and (before := decode(instance.clearance)) is not None:
            trust = before.trust
        instance.clearance = _stored(Record(answer.verdict, now, _verdict(answer), trust))

    def held(self, instance: Instance, decision: Answer, now: float) -> None:
        """Records on the instance that it waits, and for whom."""
        trust = self._trust.get(decision.id)
        instance.clearance = _stored(Record("held", now, _verdict(decision), trust))

    def restore(self, instance: Instance, placement: Placement, queue: str) -> None:
        """Takes back what an instance held before this controller led."""
        job = self.job_of(instance)
        self.holding[job.id] = instance
        self.scheduler.restore(job, placement, queue)

    def release(self, instance: Instance, again: bool = False) -> None:
        """Gives back what the instance holds or waits for; one that asks `again` keeps its place."""
        id = self.id_of(instance)
        self._trust.pop(id, None)
        self.holding.pop(id, None)
        if again and (order := self.scheduler.order(id)):
            self._orders[id] = order
        self.scheduler.release(id)


def pool_limit(name: str) -> str:
    """Returns the name of the limit that a pool is."""
    return f"pool {name}"


def _limits(instance: Instance) -> tuple[Limit, ...]:
    """Returns what an instance takes besides room on a node."""
    spec, run = instance.spec, instance.run
    graph = run.graph
    if not (spec.pool or spec.concurrency or spec.copies or graph.max_active_tasks):
        return ()
    found = []
    if graph.max_active_tasks:
        found.append(Limit(f"max_active_tasks of {run.id}", 1, graph.max_active_tasks))
    if spec.concurrency:
        found.append(Limit(f"concurrency of {graph.dag} {spec.id}", 1, spec.concurrency))
    if spec.copies:
        found.append(_map_limit(run, spec.id, spec.copies, instance.path[:-1]))
    if spec.pool:
        found.append(Limit(pool_limit(spec.pool), spec.pool_slots))
    return tuple(found)


def _map_limit(run: ActiveRun, task: str, size: int, path: Path) -> Limit:
    place = f"[{text(path)}]" if path else ""
    return Limit(f"concurrency of the map {run.id} {task}{place}", 1, size)


def denial(stored: str, reason: str, now: float) -> str:
    """Returns a stored record with the trust desk's denial in place of what it said before."""
    record = decode(stored)
    capacity = record.capacity if record else None
    rule, _, why = reason.partition(": ")
    return _stored(Record("denied", now, capacity, Verdict("denied", why or reason, rule if why else "")))


def noted(state: str, reason: str, now: float) -> str:
    """Returns the record of an instance of which a condition decided, so that no desk was asked."""
    return _stored(Record(state, now, reason=reason))


def recorded(verdict: str, at: float, trust: Verdict, capacity: Verdict | None) -> str:
    """Returns a record as it is stored, of an instance for which the capacity desk's scheduler was not asked."""
    return _stored(Record(verdict, at, capacity, trust))


def _verdict(answer: Answer) -> Verdict:
    nodes = answer.placement.nodes if answer.placement else ()
    return Verdict(answer.verdict, answer.reason, nodes=nodes, blockers=answer.blockers, queue=answer.queue)


def _stored(record: Record) -> str:
    return _encoder.encode(record).decode()
