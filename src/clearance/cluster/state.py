"""What one scheduler knows: its nodes, queues and jobs, and the decisions that it is making."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

from clearance.cluster.application import Application, AppState
from clearance.cluster.backfill import Backfill
from clearance.cluster.consolidate import Consolidation
from clearance.cluster.decision import Decision
from clearance.cluster.limits import Limits
from clearance.cluster.model import PartitionConfig
from clearance.cluster.nodes import Nodes
from clearance.cluster.nodestate import Held, NodeState
from clearance.cluster.pools import Pool
from clearance.cluster.preempt import Preemption
from clearance.cluster.queues import Counter, QueueState
from clearance.cluster.shape import Shape, Shapes
from clearance.cluster.space import Space
from clearance.cluster.tree import Tree
from clearance.cluster.unit import Unit, Units
from clearance.errors import ClearanceError, UsageError, nearest

if TYPE_CHECKING:
    from clearance.cluster.autoscale import Autoscaler
    from clearance.cluster.fork import Copies
    from clearance.cluster.health import Health


class State:
    """See the module; `Scheduler` has what it does.

    Attributes:
        partition: whose queues and nodes these are.
        policy: how nodes are chosen; None: as the partition says.
        now: the latest moment that it was told of, in seconds of the driver's clock.
        space: the resources that it knows.
        shapes: every request that was made.
        units: everything that starts at once.
        tree: the queues.
        limits: what lies on no node.
        nodes: the nodes.
        apps: jobs that wait or run, by id.
        ended: of jobs that have ended: how, and why.
        members: who is on a node, by id, with their job.
        notices: what could not be, for people.
        turn: counts what it was told and asked.
        autoscaler: None: no nodes are asked for.
        health: None: nodes are taken as they are.
        pools: from which nodes may come.
        origin: of what it is a fork, at which turn, and which copy stands for which original; None: of nothing.
    """

    backfill: Backfill
    consolidation: Consolidation
    preemption: Preemption

    def __init__(self, partition: PartitionConfig, policy: str | None, backing: str | None) -> None:
        self.partition = partition
        self.policy = policy
        self.now = 0.0
        self.space = Space()
        self.shapes = Shapes(self.space)
        self.units = Units()
        self.tree = Tree(partition.root, self.space)
        self.limits = Limits()
        self.nodes = Nodes(self.space, policy or partition.node_sort_policy, partition.resource_weights, backing)
        self.apps: dict[str, Application] = {}
        self.ended: dict[str, tuple[AppState, str]] = {}
        self.members: dict[str, tuple[Application, Held]] = {}
        self.numbers = itertools.count(1)
        self._ids = itertools.count(1)
        self._out: list[Decision] = []
        self._dirty: dict[QueueState, None] = {}
        self._freed: dict[int, None] = {}
        self._parked: dict[Shape, list[Unit]] = {}
        self._drawn: dict[Unit, None] = {}
        self._seats: dict[tuple[Any, ...], tuple[QueueState, tuple[Counter, ...]]] = {}
        self._timers: dict[str, float] = {}
        self._digest = hashlib.sha256()
        self.notices: list[str] = []
        self.turn = 0
        self.autoscaler: Autoscaler | None = None
        self.health: Health | None = None
        self.pools: tuple[Pool, ...] = ()
        self.origin: tuple[State, int, Copies] | None = None

    def arrive(self) -> int:
        """Returns the next number in the order of submission, for jobs that share one: see `Job.order`."""
        return next(self.numbers)

    def advance(self, now: float) -> None:
        """Lets time go on; it never goes back."""
        if now > self.now:
            self.tree.settle(self._dirty, now)
            if self.tree.decays:
                self._dirty.update(dict.fromkeys(self.tree.leaves()))
            self.now = now

    def next_id(self) -> int:
        """Returns the id of the next decision."""
        return next(self._ids)

    def decide(self, decision: Decision) -> None:
        """Adds a decision to those of this step."""
        self._out.append(decision)

    @property
    def digest(self) -> str:
        """Of every decision so far: equal where the same was decided, in the same order, for the same reasons."""
        return self._digest.hexdigest()

    def forget(self, job: str) -> None:
        """Forgets a job that has ended: nobody will ask of it any more."""
        if job not in self.apps:
            self.ended.pop(job, None)

    def app(self, id: str) -> Application:
        """Returns a job that waits or runs.

        Raises:
            UsageError: there is none of this id.
        """
        app = self.apps.get(id)
        if app is None:
            ended = " any more" if id in self.ended else nearest(id, self.apps)
            raise UsageError(f"there is no job {id!r}{ended}")
        if self.origin is not None and app.owner is not self:
            origin, turn, copies = self.origin
            if origin.turn != turn:
                raise ClearanceError("the scheduler of which this is a fork has gone on: ask a new one")
            from clearance.cluster.fork import adopt

            return adopt(self, app, copies)
        return app

    def _member(self, id: str) -> tuple[Application, Held]:
        found = self.members.get(id)
        if found is None:
            raise UsageError(f"there is no member {id!r}: it has ended, or never started")
        return self.app(found[0].id), found[1]

    def _node(self, name: str) -> NodeState:
        state = self.nodes.named.get(name)
        if state is None:
            raise UsageError(f"there is no node {name!r}{nearest(name, self.nodes.named)}")
        return state
