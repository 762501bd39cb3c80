"""The backing of `cluster.columns` for large clusters: numpy, and numba for shapes that are asked for once.

Shapes: `free` is (columns, nodes) int64, `base` (nodes,) float64, `rows` and `biases` (slots, nodes) float64, `needs`
(columns, slots) int64; all of them have room to grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clearance.cluster.columns import ENDLESS
from clearance.cluster.shape import NEVER, Shape
from clearance.cluster.space import EMPTY, MOST

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


_FEW = 8
_all, _less_equal, _where = np.logical_and.reduce, np.less_equal, np.where


class ArrayColumns:
    """See the module.

    Args:
        columns: how many a node has.
        compiled: whether numba looks through the nodes for shapes without a row.
    """

    def __init__(self, columns: int, compiled: bool = False) -> None:
        self._count = 0
        self._free: Ints = np.zeros((columns, 64), np.int64)
        self._base: Floats = np.full(64, NEVER)
        self._rows: Floats = np.full((8, 64), NEVER)
        self._biases: Floats = np.zeros((8, 64))
        self._biased = False
        self._needs: Ints = np.zeros((columns, 8), np.int64)
        self._column: Ints = np.zeros((columns, 1), np.int64)
        self._shapes: list[Shape | None] = []
        self._closed: list[int] = []
        self._compiled = compiled
        self._look: Callable[[Ints, Floats, Ints], int] | None = None
        if compiled:
            from clearance.cluster.compiled import best

            self._look = best
        self._late: dict[int, Sequence[int]] = {}
        self._light: list[tuple[Floats, tuple[tuple[int, int], ...]]] = []
        self._view()

    def _view(self) -> None:
        """Keeps views of what is in use, so that no call has to cut it out."""
        nodes, slots = self._count, len(self._shapes)
        self._now_free = self._free[:, :nodes]
        self._now_base = self._base[:nodes]
        self._now_rows = [self._rows[slot, :nodes] for slot in range(slots)]
        self._now_needs = self._needs[:, :slots]
        self._scores = self._rows[:slots]
        self._lighten()

    def _lighten(self) -> None:
        """Keeps what the rows ask for, where they are so few that looking at each is faster than numpy."""
        open = [(slot, shape) for slot, shape in enumerate(self._shapes) if shape is not None]
        self._light = [] if len(open) > _FEW or self._biased else [
            (self._now_rows[slot], tuple((column, need) for column, need in enumerate(shape.needs) if need))
            for slot, shape in open
        ]  # fmt: skip

    def _settle(self) -> None:
        """Writes down what nodes have free; it is put off until somebody looks, since rows are enough for most."""
        for at, free in self._late.items():
            self._free[:, at] = free
        self._late.clear()

    def __len__(self) -> int:
        return self._count

    def add(self, free: Sequence[int], base: float) -> int:
        index = self._count
        if index == len(self._base):
            more = index
            self._free = np.concatenate((self._free, np.zeros((len(self._free), more), np.int64)), axis=1)
            self._base = np.concatenate((self._base, np.full(more, NEVER)))
            self._rows = np.concatenate((self._rows, np.full((len(self._rows), more), NEVER)), axis=1)
            self._biases = np.concatenate((self._biases, np.zeros((len(self._biases), more))), axis=1)
        self._count += 1
        self._view()
        self.set(index, free, base)
        return index

    def set(self, index: int, free: Sequence[int], base: float) -> None:
        self._late[index] = free
        self._base[index] = base
        if self._light:
            for row, needs in self._light:
                for at, need in needs:
                    if free[at] < need:
                        row[index] = NEVER
                        break
                else:
                    row[index] = base
        elif self._shapes:
            self._column[:, 0] = free
            fit = _all(_less_equal(self._now_needs, self._column), 0)
            score: Any = base if not self._biased else base + self._biases[: len(fit), index]
            self._scores[:, index] = _where(fit, score, NEVER)

    def widen(self, columns: int) -> None:
        self._settle()
        more = columns - len(self._free)
        self._free = np.concatenate((self._free, np.zeros((more, self._free.shape[1]), np.int64)))
        self._needs = np.concatenate((self._needs, np.zeros((more, self._needs.shape[1]), np.int64)))
        self._column = np.zeros((columns, 1), np.int64)
        self._view()

    def open(self, shape: Shape, biases: Sequence[float] | None) -> int:
        self._settle()
        if self._closed:
            slot = self._closed.pop()
        else:
            slot = len(self._shapes)
            self._shapes.append(None)
            if slot == len(self._rows):
                self._rows = np.concatenate((self._rows, np.full_like(self._rows, NEVER)))
                self._biases = np.concatenate((self._biases, np.zeros_like(self._biases)))
                self._needs = np.concatenate((self._needs, np.zeros_like(self._needs)), axis=1)
            self._view()
        self._shapes[slot] = shape
        self._needs[:, slot] = shape.needs
        self._biases[slot] = 0.0
        if biases is not None:
            self._biases[slot, : self._count] = biases
            self._biased = True
        self._now_rows[slot][:] = self._row(shape, None if biases is None else self._biases[slot, : self._count])
        self._lighten()
        return slot

    def close(self, slot: int) -> None:
        self._shapes[slot] = None
        self._biases[slot] = 0.0
        self._needs[:, slot] = np.iinfo(np.int64).max
        self._closed.append(slot)
        self._lighten()

    def set_biases(self, index: int, biases: Iterable[tuple[int, float]]) -> None:
        slots, values = zip(*biases, strict=True)
        self._biases[list(slots), index] = values
        self._biased = True
        self._settle()
        self._lighten()
        self.set(index, self._free[:, index].tolist(), float(self._base[index]))

    def best(self, slot: int) -> int:
        row = self._now_rows[slot]
        index = int(row.argmax()) if self._count else -1
        return index if index >= 0 and row[index] > NEVER else -1

    def best_of(self, slot: int, without: Iterable[int], domain: Sequence[int] | None, wanted: int) -> int:
        if not self._count:
            return -1
        row = self._now_rows[slot].copy()
        if left := list(without):
            row[left] = NEVER
        if domain is not None:
            row[np.asarray(domain) != wanted] = NEVER
        index = int(row.argmax())
        return index if row[index] > NEVER else -1

    def once(self, shape: Shape, biases: Sequence[float] | None) -> int:
        if not self._count:
            return -1
        self._settle()
        if self._look is not None and biases is None:
            return int(self._look(self._now_free, self._now_base, np.array(shape.needs)))
        row = self._row(shape, None if biases is None else np.asarray(biases))
        index = int(row.argmax())
        return index if row[index] > NEVER else -1

    def fitting(self, index: int, slots: Sequence[int]) -> list[int]:
        column = self._rows[:, index].tolist()
        return [slot for slot in slots if column[slot] > NEVER]

    def ranked(self, slot: int) -> list[int]:
        row = self._now_rows[slot]
        (where,) = np.nonzero(row > NEVER)
        order: list[int] = where[np.argsort(-row[where], kind="stable")].tolist()
        return order

    def multiples(self, shape: Shape, indices: Sequence[int]) -> list[int]:
        self._settle()
        where = np.array(indices, np.intp)
        most = np.full(len(where), ENDLESS)
        for column, need in enumerate(shape.needs):
            if need and column not in (MOST, EMPTY):
                np.minimum(most, self._free[column, where] // need, out=most)
        found: list[int] = most.tolist()
        return found

    def empty(self) -> list[int]:
        self._settle()
        found: list[int] = np.nonzero(self._now_free[EMPTY])[0].tolist()
        return found

    def lacking(self, shape: Shape, biases: Sequence[float] | None) -> tuple[int, int, dict[int, int]]:
        self._settle()
        open = self._now_base > NEVER
        usable = open if biases is None else open & (np.asarray(biases) > NEVER)
        lack = {}
        for column, need in enumerate(shape.needs):
            if need and (count := int((usable & (self._now_free[column] < need)).sum())):
                lack[column] = count
        return int((~open).sum()), int(open.sum() - usable.sum()), lack

    def copy(self) -> ArrayColumns:
        self._settle()
        other = ArrayColumns(len(self._free), self._compiled)
        other._count = self._count
        other._free, other._base = self._free.copy(), self._base.copy()
        nodes = len(self._base)
        other._rows, other._biases = np.full((8, nodes), NEVER), np.zeros((8, nodes))
        other._view()
        return other

    def _row(self, shape: Shape, biases: Floats | None) -> Floats:
        fit = None
        for column, need in enumerate(shape.needs):
            if need:
                more = self._now_free[column] >= need
                fit = more if fit is None else np.logical_and(fit, more, out=fit)
        score = self._now_base if biases is None else self._now_base + biases
        return score.copy() if fit is None else np.where(fit, score, NEVER)
