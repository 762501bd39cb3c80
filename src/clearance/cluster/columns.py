"""The nodes as columns, and a row of scores over them for each shape that is asked for: the best node is one look away.

Rules:

1. A row holds `base + bias` where the shape fits, and minus infinity where it does not. `base` is the node's score
   under the policy, `bias` what the shape thinks of the node whatever is free there.
2. A node that changes refreshes its column in every open row, and nothing else.
3. Of equal scores the node that came first wins.
4. Both backings, plain lists and numpy, add the same numbers in the same order, so that they decide alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from clearance.cluster.shape import NEVER, Shape
from clearance.cluster.space import EMPTY, MOST

LISTS_UP_TO = 64
ENDLESS = 1 << 30


class Columns(Protocol):
    """One backing. Nodes are known by their index, rows by their slot."""

    def __len__(self) -> int:
        """How many nodes there are, those that have gone included."""

    def add(self, free: Sequence[int], base: float) -> int:
        """Adds a node without bias; returns its index."""

    def set(self, index: int, free: Sequence[int], base: float) -> None:
        """Says what a node has free now, and its score."""

    def widen(self, columns: int) -> None:
        """Makes room for more columns; they are 0 until they are set. All rows must be closed."""

    def open(self, shape: Shape, biases: Sequence[float] | None) -> int:
        """Opens a row; returns its slot. No biases: all 0."""

    def close(self, slot: int) -> None:
        """Closes a row."""

    def set_biases(self, index: int, biases: Iterable[tuple[int, float]]) -> None:
        """Says what open rows think of a node, by slot, and refreshes its column."""

    def best(self, slot: int) -> int:
        """Returns the index of the best node; -1 where the shape fits nowhere."""

    def best_of(self, slot: int, without: Iterable[int], domain: Sequence[int] | None, wanted: int) -> int:
        """As `best`, without some nodes, and only those whose domain is the wanted one."""

    def once(self, shape: Shape, biases: Sequence[float] | None) -> int:
        """As `best`, for a shape without a row."""

    def fitting(self, index: int, slots: Sequence[int]) -> list[int]:
        """Returns those of the slots whose shapes fit on a node."""

    def ranked(self, slot: int) -> list[int]:
        """Returns all nodes where the shape fits, the best first."""

    def multiples(self, shape: Shape, indices: Sequence[int]) -> list[int]:
        """Returns how many members each node has room for, by its columns alone: shares of devices do not count."""

    def empty(self) -> list[int]:
        """Returns the nodes that hold nothing."""

    def lacking(self, shape: Shape, biases: Sequence[float] | None) -> tuple[int, int, dict[int, int]]:
        """Returns how many nodes are closed, how many others the shape may not use, and how many lack each column."""

    def copy(self) -> Columns:
        """Returns a copy that changes on its own and has no rows."""


class ListColumns:
    """Plain lists: for one machine and small clusters, without numpy."""

    def __init__(self) -> None:
        self._free: list[Sequence[int]] = []
        self._base: list[float] = []
        self._rows: dict[int, tuple[Shape, list[float], list[float]]] = {}

    def __len__(self) -> int:
        return len(self._base)

    def add(self, free: Sequence[int], base: float) -> int:
        self._free.append(())
        self._base.append(NEVER)
        for _, row, biases in self._rows.values():
            row.append(NEVER)
            biases.append(0.0)
        self.set(len(self._base) - 1, free, base)
        return len(self._base) - 1

    def set(self, index: int, free: Sequence[int], base: float) -> None:
        self._free[index] = tuple(free)
        self._base[index] = base
        for shape, row, biases in self._rows.values():
            row[index] = base + biases[index] if _fit(shape.needs, free) else NEVER

    def widen(self, columns: int) -> None:
        self._free = [tuple(free) + (0,) * (columns - len(free)) for free in self._free]

    def open(self, shape: Shape, biases: Sequence[float] | None) -> int:
        slot = next(slot for slot in range(len(self._rows) + 1) if slot not in self._rows)
        kept = [0.0] * len(self._base) if biases is None else list(biases)
        self._rows[slot] = (shape, self._row(shape, kept), kept)
        return slot

    def close(self, slot: int) -> None:
        del self._rows[slot]

    def set_biases(self, index: int, biases: Iterable[tuple[int, float]]) -> None:
        for slot, bias in biases:
            self._rows[slot][2][index] = bias
        self.set(index, self._free[index], self._base[index])

    def best(self, slot: int) -> int:
        return _largest(self._rows[slot][1])

    def best_of(self, slot: int, without: Iterable[int], domain: Sequence[int] | None, wanted: int) -> int:
        row = list(self._rows[slot][1])
        for index in without:
            row[index] = NEVER
        if domain is not None:
            row = [score if where == wanted else NEVER for score, where in zip(row, domain, strict=True)]
        return _largest(row)

    def once(self, shape: Shape, biases: Sequence[float] | None) -> int:
        return _largest(self._row(shape, [0.0] * len(self._base) if biases is None else biases))

    def fitting(self, index: int, slots: Sequence[int]) -> list[int]:
        return [slot for slot in slots if self._rows[slot][1][index] > NEVER]

    def ranked(self, slot: int) -> list[int]:
        row = self._rows[slot][1]
        return sorted((index for index, score in enumerate(row) if score > NEVER), key=lambda index: -row[index])

    def multiples(self, shape: Shape, indices: Sequence[int]) -> list[int]:
        needs = [(column, need) for column, need in enumerate(shape.needs) if need and column not in (MOST, EMPTY)]
        return [
            min((self._free[index][column] // need for column, need in needs), default=ENDLESS) for index in indices
        ]  # fmt: skip

    def empty(self) -> list[int]:
        return [index for index, free in enumerate(self._free) if free[EMPTY]]

    def lacking(self, shape: Shape, biases: Sequence[float] | None) -> tuple[int, int, dict[int, int]]:
        closed = unusable = 0
        lack: dict[int, int] = {}
        for index, base in enumerate(self._base):
            if base == NEVER:
                closed += 1
            elif biases is not None and biases[index] == NEVER:
                unusable += 1
            else:
                for column, need in enumerate(shape.needs):
                    if need > self._free[index][column]:
                        lack[column] = lack.get(column, 0) + 1
        return closed, unusable, lack

    def copy(self) -> ListColumns:
        other = ListColumns()
        other._free, other._base = list(self._free), list(self._base)
        return other

    def _row(self, shape: Shape, biases: Sequence[float]) -> list[float]:
        needs = shape.needs
        return [
            base + bias if _fit(needs, free) else NEVER
            for free, base, bias in zip(self._free, self._base, biases, strict=True)
        ]


def _fit(needs: Sequence[int], free: Sequence[int]) -> bool:
    return all(need <= have for need, have in zip(needs, free, strict=True))


def _largest(row: Sequence[float]) -> int:
    if not row:
        return -1
    best = max(row)
    return row.index(best) if best > NEVER else -1
