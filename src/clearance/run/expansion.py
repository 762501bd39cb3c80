"""A mapped task or group as it unfolds: what it is mapped over, which copies are open, which come next.

Copies are opened a few at a time, as the work goes on, so that neither a turn nor the memory grows with their number.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clearance.run.shape import Path
from clearance.types.artifact import Argument


@dataclass(slots=True)
class Copy:
    """An open instance of a mapped task, or an open copy of a group.

    Attributes:
        unfinished: its rows that have not finished.
        started: whether anything in it was launched.
    """

    unfinished: int = 0
    started: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """The copies of a mapped task or group that a run has from one before.

    Attributes:
        opened: how many copies have rows.
        again: those among them that are to be done.
        counts: of each node that lies in it, how many rows are in which state; of a task its own.
    """

    opened: int
    again: tuple[int, ...]
    counts: Mapping[int, Counter[str]]


@dataclass(eq=False, slots=True)
class Expansion:
    """What became of one row of a mapped task or group.

    Attributes:
        node: index of the node; with `path`, the row that stands for all copies.
        elements: the mapped arguments of each copy.
        total: how many copies there are.
        opened: how many were opened ever; the next one is the copy of this index.
        again: copies that are opened once more, because a person cleared something in them.
        live: the open copies by index.
        waiting: rows in it that ask for clearance.
        fresh: open copies in which nothing was launched.
        arrival: its place in the order of arrival at the capacity desk, which all its rows share; 0 before they asked.
    """

    node: int
    path: Path
    elements: Sequence[dict[str, Argument]]
    total: int
    opened: int = 0
    again: deque[int] = field(default_factory=deque)
    live: dict[int, Copy] = field(default_factory=dict)
    waiting: int = 0
    fresh: int = 0
    arrival: int = 0

    @property
    def more(self) -> bool:
        """True while there are copies to open."""
        return bool(self.again) or self.opened < self.total

    @property
    def next(self) -> int:
        """Index of the copy that is opened next."""
        return self.again[0] if self.again else self.opened

    def open(self) -> tuple[int, bool]:
        """Opens the next copy; returns its index, and whether it was open before."""
        if self.again:
            position, old = self.again.popleft(), True
        else:
            position, old = self.opened, False
            self.opened += 1
        self.live[position] = Copy()
        self.fresh += 1
        return position, old

    def close(self, position: int) -> None:
        """A copy has ended."""
        if not self.live.pop(position).started:
            self.fresh -= 1

    def start(self, position: int) -> None:
        """Something in a copy is launched."""
        copy = self.live.get(position)
        if copy is not None and not copy.started:
            copy.started = True
            self.fresh -= 1
