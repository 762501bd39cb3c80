"""Where the boxes and arrows of a DAG go: a small layered layout (Sugiyama, Tagawa, Toda 1981), from left to right.

Pure: sizes in, coordinates out, all in pixels. A node's column is the longest path to it; an arrow that crosses
columns passes through way-points; each column is ordered by the mean place of its neighbours; nothing overlaps.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GAP_X = 56.0
GAP_Y = 18.0
MARGIN = 16.0
_WAYPOINT = 6.0
_SWEEPS = 12
_MOST_WAYPOINTS = 20_000


@dataclass(frozen=True)
class Box:
    """A node's place: left, top, width and height in pixels, and its column from 0."""

    x: float
    y: float
    width: float
    height: float
    column: int


@dataclass(frozen=True)
class Layout:
    """Boxes by node, the points of each arrow by (from, to), and the size of the whole in pixels."""

    boxes: dict[str, Box]
    arrows: dict[tuple[str, str], tuple[tuple[float, float], ...]]
    width: float
    height: float


def columns(upstream: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Returns the column of each node: the length of the longest path to it.

    Args:
        upstream: ids of the upstreams by node, in topological order.
    """
    found: dict[str, int] = {}
    for name, before in upstream.items():
        found[name] = 1 + max((found[other] for other in before), default=-1)
    return found


def arrange(upstream: Mapping[str, Sequence[str]], sizes: Mapping[str, tuple[float, float]]) -> Layout:
    """Places every node and arrow.

    Args:
        upstream: ids of the upstreams by node, in topological order.
        sizes: width and height of each node's box.
    """
    column = columns(upstream)
    spans = sum(column[name] - column[other] - 1 for name, before in upstream.items() for other in before)
    routes: dict[tuple[str, str], list[str]] = {}
    height = {name: size[1] for name, size in sizes.items()}
    left: dict[str, list[str]] = {name: [] for name in upstream}
    right: dict[str, list[str]] = {name: [] for name in upstream}
    place = dict(column)
    for name, before in upstream.items():
        for other in before:
            route = [other]
            if spans <= _MOST_WAYPOINTS:
                for step in range(column[other] + 1, column[name]):
                    waypoint = f"{other}\0{name}\0{step}"
                    place[waypoint] = step
                    height[waypoint] = _WAYPOINT
                    left[waypoint], right[waypoint] = [], []
                    route.append(waypoint)
            route.append(name)
            for start, end in itertools.pairwise(route):
                right[start].append(end)
                left[end].append(start)
            routes[other, name] = route
    rows: list[list[str]] = [[] for _ in range(max(place.values(), default=-1) + 1)]
    for name, index in place.items():
        rows[index].append(name)
    _order(rows, left, right)
    middle = _heights(rows, left, right, height)
    return _measure(rows, column, sizes, middle, height, routes)


def _order(rows: list[list[str]], left: Mapping[str, Sequence[str]], right: Mapping[str, Sequence[str]]) -> None:
    rank = {name: float(index) for row in rows for index, name in enumerate(row)}
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        neighbours = left if forward else right
        for row in rows if forward else reversed(rows):
            wish = {name: _mean([rank[other] for other in neighbours[name]], rank[name]) for name in row}
            row.sort(key=wish.__getitem__)
            for index, name in enumerate(row):
                rank[name] = float(index)


def _heights(
    rows: list[list[str]],
    left: Mapping[str, Sequence[str]],
    right: Mapping[str, Sequence[str]],
    height: Mapping[str, float],
) -> dict[str, float]:
    middle: dict[str, float] = {}
    for row in rows:
        top = 0.0
        for name in row:
            middle[name] = top + height[name] / 2
            top += height[name] + GAP_Y
        for name in row:
            middle[name] -= (top - GAP_Y) / 2
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for row in rows if forward else reversed(rows):
            wish = {
                name: _mean([middle[other] for other in (left if forward else right)[name]], middle[name])
                for name in row
            }
            _settle(row, wish, height, middle)
    return middle


def _settle(row: list[str], wish: Mapping[str, float], height: Mapping[str, float], middle: dict[str, float]) -> None:
    """Places a column as near to its wishes as order and gaps allow: blocks that touch move together."""
    blocks: list[tuple[float, list[str], list[float]]] = []  # sum of wishes, names, offsets from the block's start
    for name in row:
        blocks.append((wish[name], [name], [0.0]))
        while len(blocks) > 1:
            total, names, offsets = blocks[-1]
            above_total, above_names, above_offsets = blocks[-2]
            reach = above_offsets[-1] + (height[above_names[-1]] + height[names[0]]) / 2 + GAP_Y
            if above_total / len(above_names) + reach <= total / len(names):
                break
            blocks[-2:] = [
                (
                    above_total + total - reach * len(names),
                    above_names + names,
                    above_offsets + [reach + offset for offset in offsets],
                )
            ]
    for total, names, offsets in blocks:
        start = total / len(names)
        for name, offset in zip(names, offsets, strict=True):
            middle[name] = start + offset


def _measure(
    rows: list[list[str]],
    column: Mapping[str, int],
    sizes: Mapping[str, tuple[float, float]],
    middle: Mapping[str, float],
    height: Mapping[str, float],
    routes: Mapping[tuple[str, str], Sequence[str]],
) -> Layout:
    widths = [max((sizes[name][0] for name in row if name in sizes), default=0.0) for row in rows]
    starts = [MARGIN + sum(widths[:index]) + GAP_X * index for index in range(len(rows))]
    top = min((middle[name] - height[name] / 2 for name in middle), default=0.0) - MARGIN
    bottom = max((middle[name] + height[name] / 2 for name in middle), default=0.0) + MARGIN
    boxes = {
        name: Box(starts[column[name]], middle[name] - size[1] / 2 - top, size[0], size[1], column[name])
        for name, size in sizes.items()
    }
    arrows = {}
    for (start, end), route in routes.items():
        points = [(boxes[start].x + boxes[start].width, boxes[start].y + boxes[start].height / 2)]
        for offset, waypoint in enumerate(route[1:-1], column[start] + 1):
            y = middle[waypoint] - top
            points += [(starts[offset], y), (starts[offset] + widths[offset], y)]
        points.append((boxes[end].x, boxes[end].y + boxes[end].height / 2))
        arrows[start, end] = tuple(points)
    width = (starts[-1] + widths[-1] if rows else 0.0) + MARGIN
    return Layout(boxes, arrows, width, bottom - top)


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
