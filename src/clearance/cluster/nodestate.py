"""A node as the scheduler sees it, and a member on it."""

from __future__ import annotations

from clearance.cluster.condition import Condition
from clearance.cluster.node import Node
from clearance.cluster.shape import Shape


class Held:
    """A member on a node.

    Attributes:
        id: of the member.
        shape: what it takes.
        node: index of its node.
        devices: indices of its GPUs.
        bound: id of the decision that put it there; 0: none did.
    """

    __slots__ = ("bound", "devices", "id", "node", "shape")

    def __init__(self, id: str, shape: Shape, node: int, devices: tuple[int, ...]) -> None:
        self.id = id
        self.shape = shape
        self.node = node
        self.devices = devices
        self.bound = 0


class NodeState:
    """One node.

    Attributes:
        node: as the driver told of it.
        index: among the columns.
        capacity: by position of a quota.
        used: by position of a quota.
        devices: thousandths free of each GPU.
        held: members on it, by id.
        closed: why it takes nothing new; empty: it does.
        shut: the same, where it is the scheduler that has closed it.
        condition: how well it is.
        whole: how many members on it have it for themselves (0 or 1).
    """

    __slots__ = (
        "capacity", "closed", "condition", "devices", "held", "index", "node", "shut", "used", "weights", "whole",
    )  # fmt: skip

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index
        self.capacity: list[int] = []
        self.used: list[int] = []
        self.devices: list[int] = []
        self.held: dict[str, Held] = {}
        self.closed = self.shut = ""
        self.condition = Condition.HEALTHY
        self.whole = 0
        self.weights: list[tuple[int, float]] = []

    @property
    def name(self) -> str:
        return self.node.name

    def copy(self) -> NodeState:
        """Returns a copy that changes on its own."""
        other = NodeState.__new__(NodeState)
        other.node, other.index = self.node, self.index
        other.capacity, other.used, other.devices = self.capacity, list(self.used), list(self.devices)
        other.held, other.closed, other.whole, other.weights = dict(self.held), self.closed, self.whole, self.weights
        other.shut, other.condition = self.shut, self.condition
        return other
