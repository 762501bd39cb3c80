"""What the scheduler decides about nodes is done, and what the engine sees of nodes is told to it.

Rules:

1. What is decided in a turn is acted on when the turn is committed. A decision that was lost with its controller is
   made again from what the engine has: nodes that are there, nodes on their way, attempts that run.
2. Which nodes are out for their health is written down, and holds for the next controller. What leaves a node that is
   drained leaves by eviction; so does what was on one that is gone.
3. A preflight job is an attempt of the node it tests, in no run. It ends with its controller; the next one tests anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearance.cluster import event as events
from clearance.cluster.condition import ATTEMPT, Condition
from clearance.cluster.decision import Bind, Scale
from clearance.cluster.desk import own
from clearance.cluster.quantities import OURS, parse_quantity
from clearance.engine.base import Finished, Launch, NodeGone, NodeReady, Ready, Scaling, Signal, Started, Unwatched
from clearance.types.artifact import Literal

if TYPE_CHECKING:
    from clearance.cluster.pools import Pool
    from clearance.run.controller import Controller

PREFLIGHT = "preflight-"
ENTRY = "clearance.engine.preflight:check"
_COUNTED = {"success": 0.0, "failure": 1.0, "timeout": 1.0}


class Driver:
    """See the module.

    Args:
        controller: which leads.

    Attributes:
        unwatched: why a signal is not seen here, by its kind.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._tests: dict[str, str] = {}
        self._out: dict[str, tuple[Condition, str]] = {}
        self._launches: list[Launch] = []
        self._scalings: list[Scaling] = []
        self._number = 0
        self._leaving: set[str] = set()
        self.unwatched: dict[str, str] = {}

    @property
    def due(self) -> float:
        """When something happens to nodes, or is decided about them, by itself; seconds since 1970."""
        controller = self._controller
        return min(controller.engine.due, controller.scheduler.scheduler.due)

    # -- what is observed ----------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Takes over what an earlier controller left: nodes on their way, and nodes that are out."""
        controller = self._controller
        desk = controller.scheduler
        for pool, count in controller.engine.starting().items():
            desk.tell(events.PoolStarting(pool, count))
        if desk.scheduler.health is None:
            return
        for name, text, reason, _ in controller.database.rows("conditions"):
            condition = Condition(text)
            self._out[name] = condition, reason
            if name in desk.scheduler.nodes.named:
                desk.tell(events.ConditionRestored(name, condition, reason))
                if condition in (Condition.DRAINING, Condition.DRAINED):
                    for job in desk.on(name):
                        controller.evictions.give_notice(job, f"{name} is drained: {reason}")

    def observe(self, event: Signal | Unwatched | NodeReady | NodeGone) -> None:
        """Takes what the engine sees of nodes."""
        desk = self._controller.scheduler
        desk.now = self._controller.clock()
        if isinstance(event, Signal):
            if desk.scheduler.health is not None and event.node in desk.scheduler.nodes.named:
                desk.tell(events.NodeSignal(event.node, event.kind, event.value, event.at))
        elif isinstance(event, NodeReady):
            desk.add_node(event.node.name, event.node.capacity, event.node.pool)
        elif isinstance(event, Unwatched):
            self.unwatched[event.kind] = event.reason
            desk.note("node", "", f"{event.kind} is not seen: {event.reason}")
        else:
            self._gone(event.name)

    def _gone(self, name: str) -> None:
        """A node is there no more; what ran on it is ended before its room is given back."""
        desk = self._controller.scheduler
        if name not in desk.scheduler.nodes.named:
            return
        if jobs := desk.on(name):
            self._leaving.add(name)
            desk.cordon(name, True, "it is gone")
            for job in jobs:
                self._controller.evictions.give_notice(job, f"{name} is gone")
        else:
            self._leaving.discard(name)
            desk.remove_node(name)

    def reported(self, event: Started | Ready | Finished) -> bool:
        """Takes a report on an attempt; returns whether it was one of a preflight job."""
        if not event.attempt.startswith(PREFLIGHT):
            return False
        job = self._tests.get(event.attempt)
        if job is not None and isinstance(event, Finished):
            del self._tests[event.attempt]
            desk = self._controller.scheduler
            if event.outcome in ("lost", "cancelled", "evicted"):  # says nothing of the node
                for member in list(desk.scheduler.apps[job].held) if job in desk.scheduler.apps else ():
                    desk.tell(events.MemberEvicted(member))
            else:
                desk.finish(job, event.outcome != "success")
        return True

    def tried(self, job: str, event: Finished, now: float) -> None:
        """An attempt of a task has ended, whose room is not given back yet: it may count against its node."""
        desk = self._controller.scheduler
        value = _COUNTED.get(event.outcome)
        if desk.scheduler.health is None or value is None or job not in desk.scheduler.apps:
            return
        answer = desk.explain(job)
        nodes = answer.placement.nodes if answer is not None and answer.placement is not None else ()
        if value and event.failure is not None and event.failure.rank < len(nodes):
            nodes = (nodes[event.failure.rank],)
        for node in dict.fromkeys(nodes):
            desk.tell(events.NodeSignal(node, ATTEMPT, value, now))

    def lost(self) -> None:
        """The engine died, and every preflight job with it."""
        for attempt in list(self._tests):
            self.reported(Finished(attempt, "lost"))

    def returned(self, node: str) -> bool:
        """Somebody says that a node that is out was repaired; returns whether it was out."""
        health = self._controller.scheduler.scheduler.health
        if health is None or node not in health.out():
            return False
        self._controller.scheduler.tell(events.NodeReturned(node))
        return True

    # -- what is decided -----------------------------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Takes what was decided, and writes down what is to hold for the next controller."""
        desk = self._controller.scheduler
        for name in list(self._leaving):
            self._gone(name)
        notices, desk.scheduler.notices = desk.scheduler.notices, []
        for text in notices:
            desk.note("node", "", text)
        orders, desk.orders = desk.orders, []
        for order in orders:
            if isinstance(order, Bind):
                self._test(order)
            elif isinstance(order, Scale):
                self._scale(order)
        if desk.scheduler.health is not None:
            self._write(now)

    def act(self) -> None:
        """Acts on what is committed."""
        engine = self._controller.engine
        if self._scalings:
            scalings, self._scalings = self._scalings, []
            engine.scale(scalings)
        if self._launches:
            launches, self._launches = self._launches, []
            engine.launch(launches)

    def _test(self, order: Bind) -> None:
        """Launches a preflight job on the node that it tests."""
        controller = self._controller
        health = controller.scheduler.scheduler.health
        app = controller.scheduler.scheduler.apps.get(order.job)
        if health is None or health.policy.preflight is None or app is None or not own(app.job):
            return
        preflight, (member,) = health.policy.preflight, order.members
        asked = {name: parse_quantity(name, value, "preflight") for name, value in preflight.resources.items()}
        self._number += 1
        attempt = f"{PREFLIGHT}{self._number}.{controller.epoch}"  # what is behind the dot fences out those before it
        self._tests[attempt] = order.job
        self._launches.append(
            Launch(
                attempt=attempt,
                entry=ENTRY,
                arguments={"config": Literal({"command": list(preflight.command), "gpus": len(member.devices)})},
                cpu_millis=asked.get(OURS["cpu"], 0),
                memory=asked.get(OURS["memory"], 0),
                timeout=preflight.timeout,
                grace=controller.settings.grace,
                task="preflight",
                nodes=(member.node,),
                devices=(member.devices,) if member.devices else (),
            )
        )

    def _scale(self, order: Scale) -> None:
        pool = next(each for each in self._controller.scheduler.scheduler.pools if each.name == order.pool)
        id = f"{self._controller.epoch}.{order.id}"
        self._scalings.append(
            Scaling(id, order.pool, order.add, capacity_of(pool), pool.start_seconds, order.remove)
        )  # fmt: skip

    def _write(self, now: float) -> None:
        controller = self._controller
        health = controller.scheduler.scheduler.health
        assert health is not None
        out = health.out()
        if out == self._out:
            return
        for name, (condition, why) in out.items():
            if self._out.get(name) != (condition, why):
                controller.ledger.add("condition_put", name, str(condition), why, now)
                controller.scheduler.note("node", name, f"{condition}: {why}")
        for name in self._out.keys() - out.keys():
            controller.ledger.add("condition_remove", name)
            controller.scheduler.note("node", name, f"it is {health.explain(name) or 'healthy'}")
        self._out = out


def capacity_of(pool: Pool) -> dict[str, int]:
    """Returns what a node of a pool offers, as `engine.base.Node` says it."""
    amounts = {name: parse_quantity(name, value, f"pool {pool.name!r}") for name, value in pool.capacity.items()}
    return {ours: amounts.get(theirs, 0) for ours, theirs in OURS.items()}
