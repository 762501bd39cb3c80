"""What goes wrong with the nodes of a simulation, and what is done about it: `simulate.faults` carried out.

Rules:

1. A node that fails is gone at once, and what ran on it with it; it comes back as it was, and is tested where nodes
   that come are. A failure of a node that is not there, or its repair, does not happen, and is counted.
2. What is on a node that is drained leaves at once, as if it were preempted.
3. A preflight job takes the `seconds` of the policy, and ends as the faults say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from clearance.cluster.condition import USER, bare
from clearance.cluster.decision import Bind, Cordon, Drain
from clearance.cluster.event import Event, JobFinished, NodeAdded, NodeRemoved, NodeReturned, NodeSignal
from clearance.cluster.node import Node
from clearance.cluster.scheduler import Scheduler
from clearance.cluster.simulate.faults import Failure, Fault, PreflightResult, Returned, Signalled
from clearance.errors import UsageError, nearest


class Repaired(msgspec.Struct, frozen=True):
    """A node that had failed comes back."""

    node: Node


class PreflightOver(msgspec.Struct, frozen=True):
    """A preflight job is at its end."""

    job: str
    node: str


class Outages:
    """See the module.

    Args:
        scheduler: that decides.
        faults: in the order of time.

    Attributes:
        failed: how many nodes have failed.
        drained: how many were drained.
        cordoned: how many were cordoned.
        missed: how many faults were of nodes that were not there.
    """

    def __init__(self, scheduler: Scheduler, faults: Iterable[Fault]) -> None:
        self._scheduler = scheduler
        self._faults = tuple(faults)
        self._passes: dict[str, bool] = {}
        self.failed = self.drained = self.cordoned = self.missed = 0

    def begin(self, nodes: Iterable[Node]) -> Iterator[tuple[float, Fault]]:
        """Yields what goes wrong, and when.

        Args:
            nodes: that are there from the beginning.

        Raises:
            UsageError: a fault is of a node that there is not, or a signal of a kind about which no rule is.
        """
        health, known = self._scheduler.health, {node.name for node in nodes}
        for fault in self._faults:
            if fault.node not in known and not self._scheduler.pools:
                raise UsageError(
                    f"the faults tell of a node {fault.node!r}, and there is none{nearest(fault.node, known)}"
                )
            if isinstance(fault, Signalled) and health is not None:
                health.policy.known(fault.kind)
            yield fault.at, fault

    def happens(self, fault: Fault | Repaired | PreflightOver) -> tuple[list[Event], Repaired | None, float]:
        """Returns what the scheduler is told of a fault; and who comes back after it, and when."""
        named = self._scheduler.nodes.named
        if isinstance(fault, PreflightOver):
            gone = fault.job not in self._scheduler.apps
            return ([] if gone else [JobFinished(fault.job, not self._passes.get(fault.node, True))]), None, 0.0
        if isinstance(fault, Repaired):
            return [NodeAdded(fault.node)], None, 0.0
        if isinstance(fault, PreflightResult):
            self._passes[fault.node] = fault.passes
            return [], None, 0.0
        state = named.get(fault.node)
        if state is None:
            self.missed += 1
            return [], None, 0.0
        if isinstance(fault, Signalled):
            return [NodeSignal(fault.node, fault.kind, fault.value, fault.at)], None, 0.0
        if isinstance(fault, Returned):
            return ([NodeReturned(fault.node)] if state.closed else []), None, 0.0
        assert isinstance(fault, Failure)
        self.failed += 1
        back = None if fault.until is None else Repaired(bare(state.node))
        return [NodeRemoved(fault.node)], back, fault.until or 0.0

    def on(self, node: str) -> list[str]:
        """Returns the members of the trace's jobs on a node."""
        members = self._scheduler.members
        return [id for id in self._scheduler.nodes.named[node].held if members[id][0].job.user != USER]

    def test(self, decision: Bind) -> tuple[float, PreflightOver] | None:
        """Returns after how many seconds a preflight job is over; None for a job of the trace."""
        job, health = self._scheduler.apps[decision.job].job, self._scheduler.health
        if health is None or job.user != USER or health.policy.preflight is None:
            return None
        return health.policy.preflight.seconds, PreflightOver(decision.job, decision.members[0].node)

    def decided(self, decision: Drain | Cordon) -> list[str]:
        """Counts a decision; returns the members that are to leave."""
        if isinstance(decision, Drain):
            self.drained += 1
            return self.on(decision.node)
        self.cordoned += not decision.lifted
        return []
