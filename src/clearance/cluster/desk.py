"""The capacity desk: the scheduler as the control loop asks it. A task is a job, and so is a service.

Rules:

1. One that could never start is denied at once; else it waits, and `step` grants it.
2. A job holds what it was granted until it is released, also while it is asked to leave.
3. Nothing is kept of a job that was released.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from clearance.cluster import event as events
from clearance.cluster.answer import DENIED, EVICTED, GRANTED, HELD, Answer, Placement
from clearance.cluster.application import Application
from clearance.cluster.blocker import BEHIND, KEPT, LIMIT, ROOM, Blocker
from clearance.cluster.condition import USER, HealthPolicy
from clearance.cluster.consolidate import Plan
from clearance.cluster.decision import Bind, Cordon, Decision, Drain, Migrate, Preempt, Reject, Scale
from clearance.cluster.defaults import default
from clearance.cluster.job import Job
from clearance.cluster.model import DEFAULT_QUEUE, PartitionConfig, SchedulerConfig
from clearance.cluster.node import Node
from clearance.cluster.nodes import BINPACKING
from clearance.cluster.pools import Autoscale
from clearance.cluster.quantities import OURS
from clearance.cluster.queues import ENDLESS
from clearance.cluster.scheduler import Scheduler
from clearance.cluster.task import shown
from clearance.errors import ClearanceError

_NAMED = 5
_REMEMBERED = 10_000


class Desk:
    """See the module.

    Args:
        config: of the queues; None: everybody may submit to the one queue `root.default`, and nodes are filled one
            after the other.
        backfill: see `Scheduler`.
        autoscale: pools of nodes that come and go; None: none do.
        health: what is done about nodes that are not well; None: nothing.

    Attributes:
        scheduler: that decides.
        now: seconds of the driver's clock, which whoever asks keeps going.
        happened: the newest of what was asked, decided and told: a number that counts up, when, what it is about, the
            id of a job, node or queue, and a line for people.
        counts: how many answers there were, by verdict.
        orders: what was decided about nodes and of the scheduler's own jobs, for the driver, who takes it out.
    """

    def __init__(
        self,
        config: SchedulerConfig | PartitionConfig | None = None,
        backfill: str | None = "fifo",
        autoscale: Autoscale | None = None,
        health: HealthPolicy | None = None,
    ) -> None:
        self.scheduler = Scheduler(
            config or replace(default().default, node_sort_policy=BINPACKING), backfill=backfill,
            autoscale=autoscale, health=health,
        )  # fmt: skip
        self.orders: list[Bind | Scale | Cordon | Drain] = []
        self.now = 0.0
        self._denied: set[str] = set()
        self._numbers = itertools.count(1)
        self.counts: dict[str, int] = {}
        self.happened: deque[tuple[int, float, str, str, str]] = deque(maxlen=_REMEMBERED)

    # -- what there is -------------------------------------------------------------------------------------------------

    def add_node(self, name: str, capacity: dict[str, int], pool: str = "") -> None:
        """Adds a node, or changes the capacity of one; what it holds stays.

        Args:
            name: of the node.
            capacity: as `Resources.quantities` gives it: `cpu` and `gpu` in thousandths, `memory` in bytes.
            pool: of whose kind it is, where this is one of the pools: its capacity, labels and taints count.
        """
        for each in self.scheduler.pools:
            if pool == each.name:
                self._tell(events.NodeAdded(each.node(name)))
                self._note("node", name, f"there, of pool {pool}")
                return
        written: dict[str, int | str] = {OURS.get(key, key): amount for key, amount in capacity.items()}
        for key in ("cpu", "gpu"):
            if key in capacity:
                written[OURS[key]] = f"{capacity[key]}m"
        self._tell(events.NodeAdded(Node(name, written)))
        self._note("node", name, "there")

    def remove_node(self, name: str) -> None:
        """Takes a node away that is gone; what it held asks again."""
        if name in self.scheduler.nodes.named:
            self._tell(events.NodeRemoved(name))
            self._note("node", name, "gone")

    def tell(self, event: events.Event) -> None:
        """Passes on what a driver observes of nodes and of the scheduler's own jobs."""
        self._tell(event)

    def set_limit(self, name: str, size: int | None) -> None:
        """Says how much there is of a limit; None takes it away. Who holds more than there is keeps it."""
        self._tell(events.LimitSet(name, size))

    def usage(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Returns of each node and resource how much is given out, and how much there is, as `add_node` takes it."""
        names = {theirs: ours for ours, theirs in OURS.items()}
        space, nodes = self.scheduler.space.names, self.scheduler.nodes
        return {
            state.name: {
                names.get(space[position], space[position]): (state.used[position], amount)
                for position, amount in enumerate(state.capacity) if amount
            }
            for state in nodes.named.values()
        }  # fmt: skip

    def queues(self) -> dict[str, dict[str, Any]]:
        """Returns of each queue: how many jobs `run` and `wait`, and by resource what is used, guaranteed and may be.

        What has no maximum is None there. Amounts are as `add_node` takes them.
        """
        ours = {theirs: name for name, theirs in OURS.items()}
        names = [ours.get(name, name) for name in self.scheduler.space.names]
        found: dict[str, dict[str, Any]] = {}
        for path, queue in self.scheduler.tree.queues.items():
            amounts = {
                name: (queue.used[at], queue.guaranteed[at], None if queue.max[at] == ENDLESS else queue.max[at])
                for at, name in enumerate(names)
            }  # fmt: skip
            found[path] = {"run": queue.applications, "wait": queue.jobs - queue.applications, "amounts": amounts}
        return found

    def used(self, name: str) -> int:
        """How much of a limit is in use."""
        limit = self.scheduler.limits.named.get(name)
        return limit.taken if limit else 0

    def cordon(self, name: str, on: bool, reason: str = "") -> bool:
        """Lets a node take nothing new, or do so again; returns whether that changed anything."""
        node = self.scheduler.nodes.named[name].node
        if node.schedulable is not on:
            return False
        self._tell(events.NodeChanged(msgspec.structs.replace(node, schedulable=not on)))
        self._note("node", name, f"cordoned: {reason}" if on else "schedulable")
        return True

    def on(self, name: str) -> tuple[str, ...]:
        """Returns the jobs that have members on a node."""
        held = self.scheduler.nodes.named[name].held
        return tuple(dict.fromkeys(member.rsplit("/", 2)[0] for member in held))

    def configure(self, config: SchedulerConfig) -> None:
        """Takes another configuration of the queues."""
        self._tell(events.ConfigChanged(config))
        self._note("queue", "root", "queues changed")

    # -- moves ---------------------------------------------------------------------------------------------------------

    def next_moves(self, plan: Plan) -> list[Migrate]:
        """Returns the moves of a plan that can be made now; their room is taken."""
        return self.scheduler.next_moves(plan)

    def moved(self, id: str, targets: Mapping[str, str]) -> Answer | None:
        """Members of a job go on elsewhere.

        Args:
            id: of the job.
            targets: nodes by member.

        Returns:
            Where the job goes on; None where there is no room for it any more: it is to be released.
        """
        app = self.scheduler.apps[id]
        for member, node in targets.items():
            self._tell(events.MemberMoved(member, node))
            if member not in app.held or self.scheduler.nodes.at[app.held[member].node].name != node:
                return None
        return self.explain(id)

    # -- who asks ------------------------------------------------------------------------------------------------------

    def arrive(self) -> int:
        """Returns the next number in the order of arrival, for jobs that share one: see `Job.order`."""
        return self.scheduler.arrive()

    def submit(self, job: Job) -> Answer | None:
        """Takes a job into its queue.

        Returns:
            A denial when it can never start, or no queue takes it; else None.

        Raises:
            ClearanceError: a job of this id waits or holds already.
        """
        if job.id in self.scheduler.apps:
            raise ClearanceError(f"capacity was asked twice for {job.id!r}: release the first ask before the second")
        self._tell(events.JobSubmitted(job))
        self._note("app", job.id, "submitted")
        if (ended := self.scheduler.ended.pop(job.id, None)) is not None:
            self._denied.add(job.id)
            self.counts[DENIED] = self.counts.get(DENIED, 0) + 1
            return Answer(job.id, DENIED, ended[1])
        return None

    def restore(self, job: Job, placement: Placement, queue: str = "") -> None:
        """Takes back a job that was granted before this desk was made.

        A gang of which some nodes have gone is evicted by the next `step`, and starts again whole. A job of whose nodes
        none is there goes on where it is, and holds no room.

        Args:
            job: as it was submitted.
            placement: where it runs.
            queue: in which it was granted; empty: `root.default`.
        """
        known = self.scheduler.nodes.named
        group = job.task_groups[0].name if job.task_groups else ""
        places = tuple(
            (f"{job.id}/{group}/{rank}", node) for rank, node in enumerate(placement.nodes) if group and node in known
        )
        if group and not places:
            if not job.limits:
                return
            job = msgspec.structs.replace(job, task_groups=())
        self._tell(events.Restored(job, places, self.now, queue or DEFAULT_QUEUE))

    def release(self, id: str) -> None:
        """Gives back what a job holds, or takes it out of its queue; an unknown id is ignored."""
        if id in self.scheduler.apps:
            self._tell(events.JobFinished(id))
            self.scheduler.forget(id)
            self._note("app", id, "released")

    def finish(self, id: str, failed: bool) -> None:
        """A job of the scheduler's own has ended; an unknown id is ignored."""
        if id in self.scheduler.apps:
            self._tell(events.JobFinished(id, failed))
            self.scheduler.forget(id)
            self._note("app", id, "failed" if failed else "completed")

    def step(self, most: int | None = None) -> list[Answer]:
        """Decides what can be decided now.

        Args:
            most: how many are granted at most; None for all that can.

        Returns:
            Grants, denials and evictions; who still waits is told by `explain`.
        """
        found: list[Answer] = []
        for decision in self.scheduler.step(self.now, most):
            found += self._answers(decision)
        for answer in found:
            self.counts[answer.verdict] = self.counts.get(answer.verdict, 0) + 1
            self._note("app", answer.id, f"{answer.verdict}: {answer.reason}")
        return found

    def explain(self, id: str) -> Answer | None:
        """Says where a job stands now and why; None for an id that neither waits nor holds."""
        app = self.scheduler.apps.get(id)
        if app is None:
            return None
        queue = app.queue.path
        if not app.requests:
            held = sorted(app.held.values(), key=lambda each: int(each.id.rsplit("/", 1)[1]))
            nodes = tuple(self.scheduler.nodes.at[each.node].name for each in held)
            placement = Placement(nodes, _devices([each.devices for each in held]))
            return Answer(id, GRANTED, self._fits(nodes, app.usage.items()), placement, queue=queue)
        first = self.scheduler.first_blocker(app)
        blockers = self._blockers(app, first)
        reason = first.text
        if blockers and first.kind in (LIMIT, ROOM):
            more = max(0, len(self.scheduler.members) - _NAMED) if first.kind == ROOM else 0
            names = ", ".join(map(self.label, blockers))
            reason = f"{reason}; held by {names}{f' and {more} more' if more else ''}"
        return Answer(id, HELD, reason, blockers=blockers, queue=queue)

    def besides(self, id: str) -> list[str]:
        """Returns what else is in the way of a job that waits, in order, behind the first that `explain` tells."""
        return [blocker.text for blocker in self.scheduler.explain(id).blockers[1:]]

    def order(self, id: str) -> tuple[int, ...]:
        """Returns the place of a job among its equals; empty for one that neither waits nor holds."""
        app = self.scheduler.apps.get(id)
        return app.order if app else ()

    def label(self, id: str) -> str:
        """Returns how people know a job that waits or holds; its id where there is none."""
        app = self.scheduler.apps.get(id)
        return app.job.name if app else id

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _tell(self, event: events.Event) -> None:
        self.scheduler.apply((event,), self.now)

    def note(self, kind: str, id: str, text: str) -> None:
        """Adds a line to what happened."""
        self._note(kind, id, text)

    def _note(self, kind: str, id: str, text: str) -> None:
        self.happened.append((next(self._numbers), self.now, kind, id, text))

    def _answers(self, decision: Decision) -> Iterable[Answer]:
        if isinstance(decision, Bind):
            app = self.scheduler.apps[decision.job]
            if own(app.job):
                self.orders.append(decision)
                return
            nodes = tuple(member.node for member in decision.members)
            placement = Placement(nodes, _devices([member.devices for member in decision.members]))
            reason = self._fits(nodes, app.usage.items())
            yield Answer(decision.job, GRANTED, reason, placement, queue=app.queue.path)
        elif isinstance(decision, Reject):
            if decision.job in self._denied:
                self._denied.remove(decision.job)
            else:
                self.scheduler.forget(decision.job)
                yield Answer(decision.job, DENIED, decision.reason)
        elif isinstance(decision, Scale | Cordon):
            self.orders.append(decision)
        elif isinstance(decision, Drain):
            self.orders.append(decision)
            for id in self.on(decision.node):
                if not own(self.scheduler.apps[id].job):
                    yield Answer(id, EVICTED, f"{decision.node} is drained: {decision.reason}")
        elif isinstance(decision, Preempt):
            for id in dict.fromkeys(member.rsplit("/", 2)[0] for member in decision.members):
                yield Answer(id, EVICTED, decision.reason)

    def _blockers(self, app: Application, first: Blocker) -> tuple[str, ...]:
        if first.kind in (BEHIND, KEPT):
            return (first.subject,)
        if first.kind == LIMIT:
            share = next(share for share in app.shares if share.limit.name == first.subject)
            return tuple(itertools.islice(share.limit.users, _NAMED)) if share.possible else ()
        if first.kind == ROOM:
            return tuple(dict.fromkeys(app.id for app, _ in itertools.islice(self.scheduler.members.values(), _NAMED)))
        return ()

    def _fits(self, nodes: tuple[str, ...], usage: Iterable[tuple[int, int]]) -> str:
        names = self.scheduler.space.names
        members = len(nodes)
        each = shown(tuple((names[position], amount // members) for position, amount in usage)) if members else ""
        where = nodes[0] if members == 1 else ", ".join(dict.fromkeys(nodes))
        if not members:
            return "its turn has come"
        return f"{each} on {where}" if members == 1 else f"a gang of {members} x {each} on {where}"


def own(job: Job) -> bool:
    """Whether a job is one of the scheduler's own, which tests a node."""
    return job.user == USER and "preflight" in job.tags


def _devices(devices: list[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    return tuple(devices) if any(devices) else ()
