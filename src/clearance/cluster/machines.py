"""The nodes come, change and go, and what the driver tells of them.

Rules:

1. What a node held that goes is lost, and asked for again.
2. A node is closed where the driver says so, where it is about to be removed, or where its health says so. What the
   driver tells later of it does not open it again.
"""

from __future__ import annotations

import math

from clearance.cluster import event as events
from clearance.cluster.application import Application
from clearance.cluster.node import Node
from clearance.cluster.nodestate import Held, NodeState
from clearance.cluster.reload import Reloading
from clearance.errors import UsageError


class Machines(Reloading):
    """See the module."""

    @property
    def due(self) -> float:
        """When something is decided even if nothing happens, in seconds of the driver's clock; infinity: never."""
        moments = list(self._timers.values())
        if self.health is not None:
            moments.append(self.health.due)
        if self.autoscaler is not None:
            moments.append(self.autoscaler.due)
        return min(moments, default=math.inf)

    def _node_added(self, event: events.NodeAdded) -> None:
        known = self.nodes.named.get(event.node.name)
        if known is not None:
            self._node_changed(events.NodeChanged(event.node))
            return
        state = self.nodes.add(event.node)
        self._resized(state)
        if self.autoscaler is not None:
            self.autoscaler.came(state)
        if self.health is not None:
            self.health.came(state)

    def _node_changed(self, event: events.NodeChanged) -> None:
        state, node = self._node(event.node.name), event.node
        if self.health is not None:
            node = self.health.equip(node)
        if node == state.node:
            return
        if self.autoscaler is not None and node.pool != state.node.pool:
            self.autoscaler.went(state)
            self.nodes.change(state, node)
            self.autoscaler.came(state)
        else:
            self.nodes.change(state, node)
        self._resized(state)

    def reequip(self, state: NodeState, node: Node) -> None:
        """Gives a node other taints, and closes or opens it as its health says."""
        self.nodes.change(state, node)
        self.shut(state)

    def shut(self, state: NodeState) -> None:
        """Closes a node that is to go or is not well, or opens it again."""
        why = self.autoscaler.why(state.name) if self.autoscaler is not None else ""
        if not why and self.health is not None:
            why = self.health.why(state.name)
        self.nodes.close(state, why)
        self._resized(state)

    def _signalled(self, event: events.NodeSignal) -> None:
        state = self._node(event.node)
        if self.health is not None:
            self.health.signalled(event, state)

    def _condition_restored(self, event: events.ConditionRestored) -> None:
        state = self._node(event.node)
        if self.health is not None:
            self.health.restored(event, state)

    def _returned(self, event: events.NodeReturned) -> None:
        state = self._node(event.node)
        if self.health is not None:
            self.health.returned(state)

    def _starting(self, event: events.PoolStarting) -> None:
        if self.autoscaler is None:
            raise UsageError(f"there is no pool {event.pool!r}: this scheduler has none")
        self.autoscaler.starting(event)

    def _node_removed(self, event: events.NodeRemoved) -> None:
        state = self._node(event.name)
        self.consolidation.without(state)
        lost: dict[Application, list[Held]] = {}
        for held in list(state.held.values()):
            app = self._member(held.id)[0]
            self._give(app, held)
            lost.setdefault(app, []).append(held)
        self._freed.pop(state.index, None)
        self.nodes.remove(state)
        self._resized(None)
        for app, gone in lost.items():
            self.ask_again(app, gone)
        if self.autoscaler is not None:
            self.autoscaler.went(state)
        if self.health is not None:
            self.health.went(state)

    def _resized(self, state: NodeState | None) -> None:
        self.tree.stale = True
        if state is not None:
            self._freed[state.index] = None
