"""Pools: groups of like nodes that can be rented and given back, with what they cost and how long they take to come.

Rules:

1. Every node of a pool is like its template, and carries the pool's name. The labels of the template are those of
   every node: a pool of one rack or one zone is one domain of that level. Without such a label its nodes are in no
   domain, and serve nobody who requires the level.
2. What a node that comes has is believed more than what is declared: where it has less, or is tainted, so is the pool
   from then on. Else nodes would be asked for again and again for a job that fits on none of them.
3. Room that is kept warm is a balloon: so many slots of a shape that are free in the plan. It holds nothing, so whoever
   comes has the room at once, and the plan asks for the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from clearance.cluster.node import Node, Taint
from clearance.cluster.quantities import format_amounts, parse_quantity
from clearance.errors import UsageError


class Headroom(msgspec.Struct, frozen=True):
    """Room that is kept warm in a pool.

    Attributes:
        slots: how many members would find room at once.
        resources: of each, by name, as a job asks for them.
    """

    slots: int
    resources: Mapping[str, int | str]


class Pool(msgspec.Struct, frozen=True):
    """See the module.

    Attributes:
        name: unique.
        capacity: of each node, by name.
        max_nodes: how many there may be, those included that are still starting.
        min_nodes: how many there are at least.
        price: of an hour of a node, in whatever currency all pools have.
        start_seconds: how long a node takes from when it is asked for.
        labels: of each node.
        taints: of each node.
        headroom: kept warm; None: nothing is.
    """

    name: str
    capacity: Mapping[str, int | str]
    max_nodes: int
    min_nodes: int = 0
    price: float = 1.0
    start_seconds: float = 120.0
    labels: Mapping[str, str] = {}
    taints: tuple[Taint, ...] = ()
    headroom: Headroom | None = None

    def node(self, name: str) -> Node:
        """Returns a node of this pool."""
        return Node(name, self.capacity, self.labels, self.taints, self.name)

    def learn(self, node: Node) -> Pool:
        """Returns the pool as one of its nodes shows it to be: with no more than the node has, and its taints too.

        Args:
            node: that has come, without the taints of its condition.

        Raises:
            UsageError: an unknown resource, or a bad amount.
        """
        where = f"node {node.name}"
        capacity = {}
        for name, declared in self.capacity.items():
            real = node.capacity.get(name, 0)
            less = parse_quantity(name, real, where) < parse_quantity(name, declared, f"pool {self.name!r}")
            capacity[name] = real if less else declared
        labels = {key: value for key, value in self.labels.items() if node.labels.get(key) == value}
        taints = (*self.taints, *(taint for taint in node.taints if taint not in self.taints))
        return msgspec.structs.replace(self, capacity=capacity, labels=labels, taints=taints)

    def check(self) -> None:
        """Looks whether it can be.

        Raises:
            UsageError: it cannot.
        """
        where = f"pool {self.name!r}"
        if not self.name:
            raise UsageError("a pool has no name: give it one")
        if not 0 <= self.min_nodes <= self.max_nodes or not self.max_nodes:
            raise UsageError(
                f"{where} has min_nodes {self.min_nodes} and max_nodes {self.max_nodes}: allow at least one node, and "
                "no fewer than the minimum"
            )
        check_number(where, "price", self.price)
        check_number(where, "start_seconds", self.start_seconds)
        have = {name: parse_quantity(name, value, f"{where}, capacity") for name, value in self.capacity.items()}
        if not any(have.values()):
            raise UsageError(f"{where} has no capacity: say what one of its nodes has, such as vcore: 96")
        if self.headroom is None:
            return
        if self.headroom.slots < 1:
            raise UsageError(f"{where}, headroom has {self.headroom.slots} slots: keep at least 1 free, or none at all")
        at = f"{where}, headroom"
        asked = {name: parse_quantity(name, value, at) for name, value in self.headroom.resources.items()}
        if not any(asked.values()) or any(amount > have.get(name, 0) for name, amount in asked.items()):
            raise UsageError(
                f"{at} asks for {format_amounts(asked)} a slot, and a node has {format_amounts(have)}: a slot asks for "
                "something, and fits on one node"
            )


class Autoscale(msgspec.Struct, frozen=True):
    """When nodes come and go. Times are in seconds.

    Attributes:
        pools: each with a name of its own; of two that cost the same the first is taken.
        interval: between two looks.
        idle_seconds: how long a node is empty before it goes.
        cooldown_seconds: how long after nodes were added to a pool none of it goes.
        patience: times its start-up time a node may take; then it is given up, and the other pools are tried first for
            as long again.
        largest_removal: the part of all nodes that may go within `removal_window`; one node may always.
        removal_window: see there.
    """

    pools: tuple[Pool, ...]
    interval: float = 10.0
    idle_seconds: float = 600.0
    cooldown_seconds: float = 600.0
    patience: float = 3.0
    largest_removal: float = 0.5
    removal_window: float = 600.0

    def check(self) -> None:
        """Looks whether it can be.

        Raises:
            UsageError: it cannot.
        """
        if not self.pools:
            raise UsageError("autoscaling has no pool: name at least one, or leave it away")
        names: set[str] = set()
        for pool in self.pools:
            pool.check()
            if pool.name in names:
                raise UsageError(f"pool {pool.name!r} stands twice: rename one")
            names.add(pool.name)
        for name in ("interval", "idle_seconds", "cooldown_seconds", "removal_window"):
            check_number("autoscaling", name, getattr(self, name))
        if not (math.isfinite(self.patience) and self.patience >= 1):
            raise UsageError(f"autoscaling has patience {self.patience}: a node may take its start-up time at least; 1")
        if not 0 < self.largest_removal <= 1:
            raise UsageError(f"autoscaling has largest_removal {self.largest_removal}: write a part, up to 1")


def check_number(where: str, name: str, value: float) -> None:
    """Looks whether a number is finite and not negative.

    Raises:
        UsageError: it is not.
    """
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"{where} has {name} {value}: write a number from 0")
