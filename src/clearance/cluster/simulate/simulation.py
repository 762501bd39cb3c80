"""The simulator: a trace drives the scheduler itself, event by event. Nothing is decided here.

Rules:

1. What happens at one moment is told at once, ends before submissions, and one step decides. A driver that tells a
   live scheduler the same gets the same decisions, with the same digest.
2. A job ends its runtime after its gang has started; of a job without a minimum, after its first member has.
3. A member that is preempted leaves at once. Its job goes on when its gang is whole again, from its last checkpoint, or
   from its beginning where it has none. So it is where its node fails or is drained (`simulate.outages`).
4. Whatever is decided is carried out. `Migrate` is for those who ask for plans; `step` makes none.
5. With autoscaling a node comes its pool's start-up time after it was asked for, goes as soon as it is to, and is paid
   for from when it is asked for.
6. Memory grows by a few numbers for each job, and otherwise with what runs and waits, not with what has been.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import math
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from clearance.cluster.condition import HealthPolicy
from clearance.cluster.decision import Bind, Cordon, Drain, Migrate, Preempt, Reject, Scale
from clearance.cluster.estimates import GIVEN, estimator
from clearance.cluster.event import Event, JobFinished, JobSubmitted, MemberEvicted, NodeAdded, NodeRemoved
from clearance.cluster.job import Job
from clearance.cluster.model import PartitionConfig, SchedulerConfig
from clearance.cluster.node import Node
from clearance.cluster.pools import Autoscale
from clearance.cluster.scheduler import Scheduler
from clearance.cluster.simulate.faults import Fault
from clearance.cluster.simulate.life import Life
from clearance.cluster.simulate.outages import Outages, PreflightOver, Repaired
from clearance.cluster.simulate.rent import Rent
from clearance.cluster.simulate.report import NEVER_STARTED, Promises, Report, Summary, bounded_slowdown, by_size, jain
from clearance.cluster.simulate.samples import Sampler
from clearance.cluster.simulate.trace import Arrival, Trace
from clearance.errors import UsageError

Record = Callable[[float, list[Event]], None]
_HOUR = 3600.0
_LATE = 1e-6


def simulate(
    trace: Trace,
    config: SchedulerConfig | PartitionConfig,
    nodes: Iterable[Node] = (),
    *,
    policy: str | None = None,
    backfill: str | None = None,
    estimates: str = GIVEN,
    seed: int = 0,
    backing: str | None = None,
    autoscale: Autoscale | None = None,
    health: HealthPolicy | None = None,
    faults: Iterable[Fault] = (),
    record: Record | None = None,
) -> Report:
    """Runs a trace to its end.

    Args:
        trace: whose jobs come.
        config: of the queues.
        nodes: of the cluster; none: those that the trace tells of. With autoscaling there may be none at all.
        policy: see `Scheduler`.
        backfill: see `Scheduler`.
        estimates: what is known of runtimes; see `cluster.estimates`.
        seed: of whatever is random: the factors of wrong estimates.
        backing: see `Scheduler`.
        autoscale: see `Scheduler`.
        health: see `Scheduler`; without it signals say nothing.
        faults: what goes wrong with the nodes, in the order of time.
        record: is called with each moment and what is told the scheduler then.

    Returns:
        What came of it.

    Raises:
        UsageError: there are no nodes, the jobs do not come in the order of time, a fault is of a node that is not
            there, or an option is unknown.
    """
    cluster = tuple(nodes) or trace.nodes
    if not cluster and autoscale is None:
        raise UsageError("the trace tells of no nodes: name them, by a file or such as 40x8gpu")
    scheduler = Scheduler(config, policy, backfill, seed, backing, autoscale=autoscale, health=health)
    simulation = Simulation(scheduler, trace, estimates, seed, record, faults)
    with _without_cycles():
        began = time.process_time()
        simulation.begin(cluster)
        simulation.run()
        return simulation.report(time.process_time() - began)


class Simulation:
    """See the module; one of them runs once.

    Args:
        scheduler: that decides.
        trace: whose jobs come.
        estimates: see `cluster.estimates`.
        seed: of wrong ones.
        record: see `simulate`.
        faults: see `simulate`.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        trace: Trace,
        estimates: str,
        seed: int,
        record: Record | None,
        faults: Iterable[Fault] = (),
    ) -> None:
        self._scheduler = scheduler
        self._outages = Outages(scheduler, faults)
        self._arrivals = iter(trace.arrivals)
        self._estimator = estimator(estimates, seed)
        self._given = estimates == GIVEN
        self._record = record
        self._reserves = scheduler.backfill.reserves
        self._lives: dict[str, Life] = {}
        self._gone: list[Life] = []
        self._timeline: list[tuple[float, int, Life | Node | Fault | Repaired | PreflightOver | None]] = []
        self._order = itertools.count()
        self._sampler = Sampler()
        self._running = 0
        self._waits, self._starts, self._sizes = array("d"), array("d"), array("l")
        self._jcts = array("d")
        self._slow: dict[str, tuple[int, float]] = {}
        self._promises = Promises()
        self._rejected = self._moves = self._events = 0
        self._lost = 0.0
        self._first, self._last = math.inf, 0.0
        self._since = 0.0
        self._there: list[int] = []
        self._used: list[float] = []
        self._pools = {pool.name: pool for pool in scheduler.pools}
        self._rent = Rent({pool.name: pool.price for pool in scheduler.pools})
        self._asked = itertools.count(1)
        self._dues: set[float] = set()

    # -- time ----------------------------------------------------------------------------------------------------------

    def begin(self, nodes: Iterable[Node]) -> None:
        """Tells of the nodes that are there."""
        happened: list[Event] = []
        nodes = tuple(nodes)
        for node in nodes:
            happened.append(NodeAdded(node))
            self._rent.change(node.pool, 1)
        for at, fault in self._outages.begin(nodes):
            self._later(at, fault)
        self.tell(0.0, happened)

    def run(self) -> None:
        """Goes from moment to moment until nothing happens any more."""
        timeline, lives, observe = self._timeline, self._lives, self._estimator.observe
        arrival = next(self._arrivals, None)
        while arrival is not None or timeline:
            now = timeline[0][0] if timeline else math.inf
            if arrival is not None and arrival.submit < now:
                now = arrival.submit
            happened: list[Event] = []
            while timeline and timeline[0][0] == now:
                due = heapq.heappop(timeline)[2]
                if isinstance(due, Life):
                    if due.ends == now and due.job.id in lives:  # it may have begun twice
                        observe(due.job, due.runtime)
                        del lives[due.job.id]
                        self._ended(due, now)
                        happened.append(JobFinished(due.job.id))
                elif isinstance(due, Node):
                    happened.append(NodeAdded(due))
                    self._resized(now)
                elif due is not None:
                    happened += self._fails(due, now)
            while arrival is not None and arrival.submit == now:
                happened.append(JobSubmitted(self._submitted(arrival)))
                arrival = next(self._arrivals, None)
            if arrival is not None and arrival.submit < now:
                raise UsageError(
                    f"job {arrival.job.id!r} comes at {arrival.submit:g}, after one at {now:g}: sort the trace"
                )
            self._events += len(happened)
            self.tell(now, happened)

    def tell(self, now: float, happened: list[Event]) -> None:
        """Tells the scheduler what has happened, and does what it decides."""
        scheduler = self._scheduler
        self._count(now)
        while True:
            if self._record is not None:
                self._record(now, happened)
            scheduler.apply(happened, now)
            caused: list[Event] = []
            for decision in scheduler.step(now):
                if type(decision) is Bind:
                    self._bind(decision, now)
                elif type(decision) is Reject:
                    self._reject(decision)
                elif type(decision) is Preempt:
                    caused += self._leave(decision.members, now)
                elif type(decision) is Migrate:
                    self._moves += 1
                elif type(decision) is Scale:
                    caused += self._scale(decision, now)
                elif type(decision) is Drain or type(decision) is Cordon:
                    gone = {each.member for each in caused if type(each) is MemberEvicted}
                    leaving = [id for id in self._outages.decided(decision) if id not in gone]
                    caused += self._leave(leaving, now)
            if not caused:
                break
            happened = caused
        for life in self._gone:
            scheduler.forget(life.job.id)
        self._gone.clear()
        if scheduler.autoscaler is not None:
            self._look_again(scheduler.autoscaler.due, now)
        if scheduler.health is not None:
            self._look_again(scheduler.health.due, now)
        if now >= self._sampler.due and self._first < math.inf:
            self._sampler.take(scheduler, now, self._running)

    def _count(self, now: float) -> None:
        """Adds up what was used since the last moment."""
        span = now - max(self._since, self._first)
        if span > 0:
            if not self._there:
                total = self._scheduler.nodes.total
                self._there = [position for position, amount in enumerate(total) if amount]
                self._used += [0.0] * (len(total) - len(self._used))
            used = self._scheduler.nodes.used
            for position in self._there:
                self._used[position] += used[position] * span
            self._since = now

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _scale(self, decision: Scale, now: float) -> list[Event]:
        """Lets nodes come in time; returns what has happened by others going."""
        self._resized(now)
        self._rent.change(decision.pool, decision.add - len(decision.remove))
        pool = self._pools[decision.pool]
        for _ in range(decision.add):
            self._later(now + pool.start_seconds, pool.node(f"{pool.name}-{next(self._asked)}"))
        return [NodeRemoved(name) for name in decision.remove]

    def _fails(self, due: Fault | Repaired | PreflightOver, now: float) -> list[Event]:
        """Returns what the scheduler is told of a fault, whose jobs stand still meanwhile."""
        happened, back, until = self._outages.happens(due)
        if back is not None:
            self._later(until, back)
        for event in happened:
            if isinstance(event, NodeRemoved | NodeAdded):
                self._resized(now)
                gone = isinstance(event, NodeRemoved)
                node = self._scheduler.nodes.named[event.name].node if isinstance(event, NodeRemoved) else event.node
                self._rent.change(node.pool, -1 if gone else 1)
                if gone:
                    self._leave(self._outages.on(node.name), now)
        return happened

    def _later(self, at: float, what: Node | Fault | Repaired | PreflightOver) -> None:
        heapq.heappush(self._timeline, (at, next(self._order), what))

    def _resized(self, now: float) -> None:
        """Adds up what there was, since that is about to change."""
        self._rent.advance(now, self._first, self._scheduler.nodes.total)
        self._there = []

    def _look_again(self, due: float, now: float) -> None:
        """Lets the scheduler decide when it has to, even if nothing happens then."""
        if now < due < math.inf and due not in self._dues:
            self._dues = {each for each in self._dues if each > now} | {due}
            heapq.heappush(self._timeline, (due, next(self._order), None))

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def _submitted(self, arrival: Arrival) -> Job:
        job = arrival.job
        if not self._given:
            job = replace(job, runtime_estimate=self._estimator.estimate(job, arrival.runtime))
        life = self._lives[job.id] = Life(job, len(self._starts), arrival)
        self._starts.append(NEVER_STARTED)
        self._waits.append(NEVER_STARTED)
        self._sizes.append(life.members)
        self._first = min(self._first, arrival.submit)
        if job.timeout is not None:
            heapq.heappush(self._timeline, (arrival.submit + job.timeout, next(self._order), None))
        return job

    def _bind(self, decision: Bind, now: float) -> None:
        if decision.job not in self._lives:
            if (test := self._outages.test(decision)) is not None:
                self._later(now + test[0], test[1])
            return
        life = self._lives[decision.job]
        if life.ends < math.inf:
            return
        if self._starts[life.number] == NEVER_STARTED:
            self._starts[life.number] = now
            self._waits[life.number] = now - life.submit
            if self._reserves:
                self._keep(self._scheduler.apps[decision.job].promised, now)
        elif len(self._scheduler.apps[decision.job].held) < life.members:
            return
        life.since = now
        life.ends = now + life.left
        self._running += 1
        heapq.heappush(self._timeline, (life.ends, next(self._order), life))

    def _keep(self, promised: float | None, now: float) -> None:
        """Compares a start with what was promised."""
        if promised is not None:
            late = now - promised
            made, broken, worst = self._promises.made + 1, self._promises.broken, self._promises.worst
            self._promises = Promises(made, broken + (late > _LATE), max(worst, late))

    def _ended(self, life: Life, now: float) -> None:
        self._running -= 1
        self._last = now
        jct = now - life.submit
        self._jcts.append(jct)
        queue = self._scheduler.apps[life.job.id].queue.path
        count, total = self._slow.get(queue, (0, 0.0))
        self._slow[queue] = count + 1, total + bounded_slowdown(jct, life.runtime)
        self._gone.append(life)

    def _reject(self, decision: Reject) -> None:
        life = self._lives.pop(decision.job)
        self._rejected += 1
        self._gone.append(life)

    def _leave(self, members: Sequence[str], now: float) -> list[Event]:
        """Takes members off; returns what has happened thereby."""
        self._moves += len(members)
        for id in members:
            life = self._lives[id.rsplit("/", 2)[0]]
            if life.ends < math.inf:
                every, done = life.job.checkpoint_interval, now - life.since
                kept = done // every * every if every else 0.0
                life.left -= kept
                self._lost += (done - kept) * life.members
                life.since = life.ends = math.inf
                self._running -= 1
        return [MemberEvicted(id) for id in members]

    # -- what came of it -----------------------------------------------------------------------------------------------

    def report(self, cpu: float) -> Report:
        """Returns what came of it; `cpu` are the seconds that it took."""
        names = self._scheduler.space.names
        self._resized(self._since)
        hours, had = self._rent.hours, self._rent.had
        self._sampler.take(self._scheduler, self._scheduler.now, self._running)
        samples = self._sampler.samples
        count = sum(each for each, _ in self._slow.values())
        return Report(
            submitted=len(self._starts),
            finished=len(self._jcts),
            rejected=self._rejected,
            unstarted=len(self._lives),
            jct=Summary.of(self._jcts),
            wait=Summary.of(wait for wait in self._waits if wait < NEVER_STARTED),
            slowdown=sum(total for _, total in self._slow.values()) / count if count else 0.0,
            wait_by_size=by_size(self._sizes, self._waits),
            utilisation={
                names[at]: used / had[at] for at, used in enumerate(self._used) if had[at]
            },
            fragmentation=samples.mean(samples.fragmentation),
            fairness=jain([total / each for each, total in self._slow.values()]),
            moves=self._moves,
            drained=self._outages.drained,
            cordoned=self._outages.cordoned,
            failed_nodes=self._outages.failed,
            faults_missed=self._outages.missed,
            lost_hours=self._lost / _HOUR,
            node_hours=math.fsum(hours.values()),
            pool_hours=hours,
            cost=self._rent.cost,
            busy_node_hours=samples.mean(samples.busy) * (samples.at[-1] - samples.at[0]) / _HOUR,
            makespan=max(self._last - self._first, 0.0) if self._jcts else 0.0,
            promises=self._promises,
            events=self._events,
            digest=self._scheduler.digest,
            cpu_seconds=cpu,
            events_per_s=self._events / cpu if cpu > 0 else 0.0,
            samples=samples,
            starts=self._starts,
        )  # fmt: skip


@contextmanager
def _without_cycles() -> Iterator[None]:
    """Lets the collector of cycles rest: none are made that grow, and it would walk all that waits again and again."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
