"""One look through all nodes for a shape without a row, compiled by numba (extra `fast`)."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt


@numba.njit(cache=True)
def best(free: npt.NDArray[np.int64], base: npt.NDArray[np.float64], needs: npt.NDArray[np.int64]) -> int:
    """Returns the index of the first node with the largest base where no need exceeds what is free; -1: none.

    Args:
        free: (columns, nodes).
        base: (nodes,).
        needs: (columns,).
    """
    found, score = -1, -np.inf
    columns, nodes = free.shape
    for node in range(nodes):
        if base[node] > score:
            fit = True
            for column in range(columns):
                if needs[column] > free[column, node]:
                    fit = False
                    break
            if fit:
                found, score = node, base[node]
    return found
