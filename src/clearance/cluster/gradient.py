"""Fragmentation gradient descent: a member goes where it makes the least of the free GPUs useless.

Rules (FGD: Weng et al., "Beware of Fragmentation", USENIX ATC 2023):

1. The typical requests are those that were submitted, each with its part of all.
2. For one request the fragment of a node is every free thousandth of its GPUs, where the request does not fit; else
   what is free on devices with too little for it, a request for whole devices counting as one for 1000.
3. The fragmentation of a node is the mean of its fragments over the typical requests. A shape's score on a node is how
   much less fragmented the node gets by taking a member; a share tries every device.
4. Ours: to the fragmentation of a node counts what will be stranded: its free GPUs beyond those that its free vcore and
   memory carry, at the mean of the typical requests for GPUs. Rule 2 sees that only once a request does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clearance.cluster.shape import Shape
from clearance.cluster.space import DEVICE

Place = tuple[int, ...]
_ANEW = 1.25
_REMEMBERED = 200_000


class Gradient:
    """See the module.

    Attributes:
        version: changes when the typical requests do.
    """

    def __init__(self) -> None:
        self._counts: dict[Shape, int] = {}
        self._total = 0
        self._counted_at = 0
        self.version = 0
        self._memory: dict[tuple[Shape, Place], tuple[float, int]] = {}
        self._part: npt.NDArray[np.float64] = np.zeros(0)
        self._needed = np.zeros(2)  # vcore and memory of a thousandth of a GPU, at the mean
        self._cpu = self._ram = self._whole = self._share = self._least = self._kind = np.zeros(0, np.int64)

    def saw(self, shape: Shape, count: int) -> None:
        """A request of this shape was submitted."""
        self._counts[shape] = self._counts.get(shape, 0) + count
        self._total += count

    def learn(self) -> bool:
        """Takes what was submitted as typical, where that is much more than before; returns whether it did."""
        if self._total < self._counted_at * _ANEW or not self._total:
            return False
        self._counted_at = self._total
        self.version += 1
        self._memory.clear()
        shapes = list(self._counts)
        self._part = np.array([self._counts[shape] / self._total for shape in shapes])
        needs = np.array([[shape.needs[0], shape.needs[1], shape.gpus, shape.share] for shape in shapes], np.int64)
        self._cpu, self._ram, self._whole, self._share = needs.T
        gpus = np.dot(np.maximum(self._whole * DEVICE, self._share), self._part)
        asks = (self._whole > 0) | (self._share > 0)
        self._needed = np.array([np.dot(each * asks, self._part) / gpus if gpus else 0.0 for each in needs.T[:2]])
        least, self._kind = np.unique(np.where(self._whole > 0, DEVICE, self._share), return_inverse=True)
        self._least = least
        return True

    def deltas(self, free: Sequence[int], devices: Sequence[int], shapes: Sequence[Shape]) -> list[tuple[float, int]]:
        """Returns for each shape how much more fragmented a node gets, and what is free of the device for a share.

        Args:
            free: vcore and memory that the node has free.
            devices: thousandths free of each of its GPUs.
            shapes: that fit; for others the figures mean nothing.
        """
        place = (free[0], free[1], *sorted(devices))
        return self.of([(shape, place) for shape in shapes])

    def of(self, pairs: Sequence[tuple[Shape, Place]]) -> list[tuple[float, int]]:
        """As `deltas`, for pairs of a shape and what a node has free: vcore, memory, its devices in order."""
        memory = self._memory
        if len(memory) > _REMEMBERED:
            memory.clear()
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in memory]
        if missing:
            self._look(missing)
        return [memory[pair] for pair in pairs]

    def _look(self, pairs: Sequence[tuple[Shape, Place]]) -> None:
        """Works out what is not remembered."""
        before = {place: number for number, place in enumerate(dict.fromkeys(place for _, place in pairs))}
        after: list[Place] = list(before)
        choices: list[tuple[tuple[Shape, Place], int]] = []
        for pair in pairs:
            shape, place = pair
            devices = place[2:]
            rest = (place[0] - shape.needs[0], place[1] - shape.needs[1])
            shares = sorted({have for have in devices if have >= shape.share}) if shape.share else []
            for have in shares:
                at = devices.index(have)
                choices.append((pair, have))
                after.append((*rest, *devices[:at], have - shape.share, *devices[at + 1 :]))
            if not shares:
                whole = len(devices) - shape.gpus  # what is wholly free comes last
                choices.append((pair, -1))
                after.append((*rest, *devices[:whole], *(0,) * (len(devices) - whole)) if whole >= 0 else place)
        widest = max(map(len, after))
        places = np.array([(*place[:2], *(0,) * (widest - len(place)), *place[2:]) for place in after], np.int64)
        lost = self._fragmentation(places).tolist()
        for (pair, have), figure in zip(choices, lost[len(before) :], strict=True):
            delta = figure - lost[before[pair[1]]]
            known = self._memory.get(pair)
            if known is None or delta < known[0]:
                self._memory[pair] = (delta, have)

    def _fragmentation(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Returns the fragmentation of nodes.

        Args:
            places: (nodes, 2 + devices): vcore, memory and each device, as far as they are free.
        """
        devices = places[:, 2:]
        free = devices.sum(axis=1)
        if not devices.shape[1]:
            return np.asarray(free, np.float64)
        whole = (devices == DEVICE).sum(axis=1)
        most = devices.max(axis=1)
        fits = (
            (places[:, :1] >= self._cpu) & (places[:, 1:2] >= self._ram)
            & (whole[:, None] >= self._whole) & (most[:, None] >= self._share)
        )  # fmt: skip
        ordered = np.sort(devices, axis=1)
        sums = np.concatenate((np.zeros((len(places), 1), np.int64), np.cumsum(ordered, axis=1)), axis=1)
        # How much lies on devices with less than a request needs: the sum of so many of the smallest.
        small = (devices[:, :, None] < self._least).sum(axis=1)
        useless = np.take_along_axis(sums, small, axis=1)
        useless = np.where(self._least == 0, free[:, None], useless)
        fragments = np.where(fits, useless[:, self._kind], free[:, None])
        carried = np.divide(places[:, :2], self._needed, where=self._needed > 0, out=np.full((len(places), 2), np.inf))
        stranded = np.maximum(free - carried.min(axis=1), 0.0)
        return np.asarray(np.dot(fragments, self._part) + stranded, np.float64)
