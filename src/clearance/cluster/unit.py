"""Units: what starts at once or not at all. A gang is one, and so is each member beyond the minimum.

Applications that ask for the same are of one unit, so that of a thousand of them one is tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from clearance.cluster.job import Topology
from clearance.cluster.shape import Shape

if TYPE_CHECKING:
    from clearance.cluster.queues import Lane

CLOSE = Topology()


class Part(msgspec.Struct, frozen=True, eq=False):
    """So many members of one shape.

    Attributes:
        shape: of each.
        count: how many.
        topology: how close together.
        apart: a level of which each domain holds at most one; empty: any number.
    """

    shape: Shape
    count: int
    topology: Topology
    apart: str


class Unit:
    """See the module.

    Attributes:
        parts: one for each group of the gang; a single one for a member beyond the minimum.
        members: in all.
        usage: pairs of quota position and amount, in all.
        simple: the shape, where the unit is one member that goes anywhere; else None.
        parked: whether it fits nowhere now.
        short: how many members lack a place, at least, since it was tried; a node that frees room for some lowers it.
        drawn: whether other jobs' members draw it to or keep it away from nodes.
        waiting: lanes of those that wait for room on nodes.
        why: why it does not fit.
        never: why it could not start in the empty cluster; empty: it could.
        checked_at: the version of the nodes for which that was found out.
        length: how long it takes, roughly, where that decides who may start; see `Units.of`.
    """

    __slots__ = (
        "checked_at", "drawn", "length", "members", "never", "parked", "parts", "short", "simple",
        "usage", "waiting", "why",
    )  # fmt: skip

    def __init__(self, parts: tuple[Part, ...], length: int = 0) -> None:
        self.parts = parts
        self.length = length
        self.members = sum(part.count for part in parts)
        usage: dict[int, int] = {}
        for part in parts:
            for position, amount in part.shape.usage:
                usage[position] = usage.get(position, 0) + amount * part.count
        self.usage = tuple(usage.items())
        only = parts[0] if len(parts) == 1 else None
        plain = only is not None and only.count == 1 and only.topology == CLOSE and not only.shape.affinity
        self.simple = only.shape if only is not None and plain and not only.apart else None
        self.drawn = any(part.shape.affinity for part in parts)
        self.parked = False
        self.short = 0
        self.waiting: dict[Lane, None] = {}
        self.never = ""
        self.checked_at = -1
        self.why = ""


class Units:
    """Every unit that somebody asked for."""

    def __init__(self) -> None:
        self._singles: dict[Shape, Unit] = {}
        self._known: dict[object, Unit] = {}

    def of(self, parts: tuple[Part, ...], length: int = 0) -> Unit:
        """Returns the unit of these parts.

        Args:
            parts: what starts at once.
            length: what else tells units apart: how long they take, roughly, where that decides who may start.
        """
        only = parts[0] if len(parts) == 1 else None
        if (
            only is not None and only.count == 1 and only.topology == CLOSE and not only.apart and not length
            and not only.shape.affinity
        ):  # fmt: skip
            found = self._singles.get(only.shape)
            if found is None:
                found = self._singles[only.shape] = Unit(parts)
            return found
        key = _key(parts, length)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Unit(parts, length)
        return found

    def know(self, unit: Unit) -> None:
        """Takes a unit that was made elsewhere."""
        if not unit.length and unit.simple is not None:
            self._singles[unit.parts[0].shape] = unit
        else:
            self._known[_key(unit.parts, unit.length)] = unit

    def forget(self, unit: Unit) -> None:
        """Forgets a unit of one job alone, which asks for it no more."""
        if unit.length < 0 and not unit.waiting:
            self._known.pop(_key(unit.parts, unit.length), None)


def _key(parts: tuple[Part, ...], length: int) -> object:
    return (length, *((part.shape, part.count, part.topology, part.apart) for part in parts))
