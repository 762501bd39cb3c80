"""Shapes: what identical members ask of a node. Equal requests are one shape, however many jobs ask for it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from clearance.cluster.job import Affinity, TaskGroup, Toleration
from clearance.cluster.node import NO_EXECUTE, NO_SCHEDULE, Node, Taint
from clearance.cluster.quantities import GPU
from clearance.cluster.space import DEVICE, EMPTY, GPU_AT, MOST, WHOLE, Space
from clearance.errors import UsageError

_REMEMBERED = 10_000
NEVER, AGAINST = float("-inf"), -1.0


class Shape:
    """See the module.

    Attributes:
        id: counts up.
        key: what `Shapes` finds it by.
        usage: pairs of quota position and amount of one member.
        needs: by column of a node; see `cluster.space`.
        takes: pairs of column and amount, devices apart.
        gpus: whole devices of one member.
        share: thousandths of one device; 0: none.
        whole: whether a member takes the node for itself.
        selector: labels that a node must have.
        tolerations: of taints.
        affinity: to and from other jobs.
        pinned: the one node; empty: any.
    """

    __slots__ = (
        "affinity", "gpus", "id", "key", "needs", "picky", "pinned", "selector", "share", "takes", "tolerations",
        "usage", "whole",
    )  # fmt: skip

    def __init__(self, id: int, key: object, space: Space, usage: list[tuple[int, int]], group: TaskGroup) -> None:
        self.id = id
        self.key = key
        self.usage = tuple(usage)
        gpu = _gpus(usage)
        self.gpus, self.share = (gpu // DEVICE, 0) if gpu >= DEVICE else (0, gpu)
        self.whole = group.whole_node
        self.selector: Mapping[str, str] = group.node_selector
        self.tolerations: tuple[Toleration, ...] = group.tolerations
        self.affinity: tuple[Affinity, ...] = group.affinity
        self.pinned = group.node
        self.picky = bool(self.selector or self.pinned)
        self.takes = tuple([(space.column(position), amount) for position, amount in usage if position != GPU_AT])
        self.needs: list[int] = []
        self.widen(space.columns)

    def widen(self, columns: int) -> None:
        """Gives the needs as many columns as nodes have."""
        needs = [0] * columns
        for column, amount in self.takes:
            needs[column] = amount
        needs[WHOLE], needs[MOST], needs[EMPTY] = self.gpus, self.share or (DEVICE if self.gpus else 0), int(self.whole)
        self.needs = needs

    def bias(self, node: Node) -> float:
        """Returns what is added to a node's score: `NEVER` where no member may go, less than 0 where none should."""
        if self.pinned and self.pinned != node.name:
            return NEVER
        if self.selector and any(node.labels.get(key) != value for key, value in self.selector.items()):
            return NEVER
        bias = 0.0
        for taint in node.taints:
            if not any(_tolerates(each, taint) for each in self.tolerations):
                if taint.effect in (NO_SCHEDULE, NO_EXECUTE):
                    return NEVER
                bias += AGAINST
        return bias


class Shapes:
    """Every shape that was asked for, found again by its request.

    Args:
        space: of the scheduler.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._known: dict[object, Shape] = {}  # by how it is written, so that most requests are not parsed
        self._exact: dict[object, Shape] = {}
        self._ids = itertools.count()

    def of(self, group: TaskGroup, where: str) -> Shape:
        """Returns the shape of a group's members.

        Raises:
            UsageError: an unknown resource, a bad amount, or a part of several GPUs.
        """
        where_to: tuple[object, ...] = ()
        if group.node_selector or group.tolerations or group.affinity or group.node or group.whole_node:
            where_to = (
                tuple(sorted(group.node_selector.items())), group.tolerations, group.affinity, group.node,
                group.whole_node,
            )  # fmt: skip
        key = (*group.resources.items(), where_to)
        found = self._known.get(key)
        if found is None:
            usage = self._space.parse(group.resources, where)
            gpu = _gpus(usage)
            if gpu > DEVICE and gpu % DEVICE:
                raise UsageError(
                    f"{where}.{GPU} is {group.resources[GPU]!r}: no member may straddle devices; ask for a share below "
                    "1, or for whole ones"
                )
            exact = (*sorted(usage), where_to)
            found = self._exact.get(exact)
            if found is None:
                found = self._exact[exact] = Shape(next(self._ids), exact, self._space, usage, group)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = found
        return found

    def widen(self) -> None:
        """Follows the space, which has come to know more resources."""
        for shape in self._exact.values():
            shape.widen(self._space.columns)

    def forget(self, shape: Shape) -> None:
        """Forgets a shape that nobody asks for and that no node holds."""
        if self._exact.get(shape.key) is shape:
            del self._exact[shape.key]


def _gpus(usage: Iterable[tuple[int, int]]) -> int:
    """Returns the thousandths of GPUs in some usage."""
    for position, amount in usage:
        if position == GPU_AT:
            return amount
    return 0


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    return (
        (not toleration.key or toleration.key == taint.key)
        and (not toleration.value or toleration.value == taint.value)
        and (not toleration.effect or toleration.effect == taint.effect)
    )
