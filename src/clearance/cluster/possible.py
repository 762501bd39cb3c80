"""What can never be: a unit that exceeds a maximum by itself, or that does not fit into the empty
cluster, with as many nodes as its pools may have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clearance.cluster.application import Application
from clearance.cluster.condition import bare
from clearance.cluster.node import Node
from clearance.cluster.pools import Pool
from clearance.cluster.quantities import format_amounts
from clearance.cluster.shape import NEVER, Shape
from clearance.cluster.space import DEVICE, GPU_AT
from clearance.cluster.unit import Part, Unit

if TYPE_CHECKING:
    from clearance.cluster.nodes import Nodes
    from clearance.cluster.state import State

OF_NODES = "node"


def impossible(scheduler: State, app: Application, unit: Unit) -> str | None:
    """Returns why a unit can never start, with what would be needed; None where it can.

    Of an application that runs, more members wait: what has been possible may be so again.
    """
    if app.held:
        return None
    space = scheduler.space
    for counter in app.limits:
        for position, amount in unit.usage:
            if amount > counter.max[position]:
                name = space.names[position]
                asked, most = format_amounts({name: amount}), format_amounts({name: counter.max[position]})
                may = f"{counter.label} may use {most}: ask for less, or raise the maximum"
                return f"it asks for {asked} at once, and {may}"
        if counter.max_applications < 1:
            return f"{counter.label} may run no application: raise its maximum"
    if unit.checked_at != scheduler.nodes.version:
        unit.checked_at = scheduler.nodes.version
        unit.never = _never(scheduler, unit)
    return unit.never or None


def _never(scheduler: State, unit: Unit) -> str:
    """Returns why a unit does not fit into the empty cluster; empty where it does, each part by itself."""
    nodes = scheduler.nodes
    for part in unit.parts:
        level = part.topology.required
        if scheduler.pools:
            most = _most_with_pools(scheduler, part)
        elif level or part.apart or part.shape.picky or not nodes.plain:
            most = _most_by_node(nodes, part)
        else:
            most = _most_by_kind(nodes, part)
        if most < part.count:
            asked = format_amounts(scheduler.space.named(part.shape.usage))
            within = f"one {level}" if level else "the whole cluster"
            many = "no node is" if not most and part.count == 1 else f"room for {most} of {part.count} is all that"
            there = "large enough" if not most and part.count == 1 else f"{within} has when it is empty"
            return f"each member asks for {asked}, and {many} {there}: ask for less, or add nodes"
    return ""


def _most_by_kind(nodes: Nodes, part: Part) -> int:
    """Returns for how many members the empty cluster has room, or, where it has enough, for as many as are wanted."""
    most = 0
    for kind, count in nodes.kinds().items():
        most += count * empty_room(part.shape, kind)
        if most >= part.count:
            break
    return most


def _most_by_node(nodes: Nodes, part: Part) -> int:
    """As `_most_by_kind`, in the best domain, and on nodes that the members may use."""
    level = part.topology.required
    domain = nodes.domain(level) if level else None
    apart = nodes.domain(part.apart) if part.apart else None
    rooms: dict[int, int] = {}
    of_kind: dict[tuple[int, ...], int] = {}
    seen: set[int] = set()
    for state in nodes.named.values():
        if part.shape.bias(bare(state.node)) == NEVER:
            continue
        kind = tuple(state.capacity)
        room = of_kind.get(kind)
        if room is None:
            room = of_kind[kind] = empty_room(part.shape, kind)
        if apart is not None and room:
            room = int(apart[state.index] not in seen or apart[state.index] < 0)
            seen.add(apart[state.index])
        where = domain[state.index] if domain is not None else 0
        if where >= 0:
            rooms[where] = rooms.get(where, 0) + room
            if rooms[where] >= part.count:
                break
    return max(rooms.values(), default=0)


def _most_with_pools(scheduler: State, part: Part) -> int:
    """As `_most_by_node`, with every pool full."""
    level, apart = part.topology.required, part.apart
    rooms: dict[str, int] = {}
    seen: set[str] = set()
    for node, count, room in _all(scheduler, part.shape):
        if apart and room:
            name = None if apart == OF_NODES else node.labels.get(apart)
            room, count = (1, count) if name is None else (int(name not in seen), 1)
            seen.add(name or "")
        if level == OF_NODES:
            rooms[node.name] = room
        elif (where := node.labels.get(level) if level else "") is not None:
            rooms[where] = rooms.get(where, 0) + room * count
    return max(rooms.values(), default=0)


def _all(scheduler: State, shape: Shape) -> Iterator[tuple[Node, int, int]]:
    """Yields each node that there is or may be, how many like it, and how many members one holds when it is empty."""
    pools = {pool.name: pool for pool in scheduler.pools}
    for state in scheduler.nodes.named.values():
        if state.node.pool not in pools and shape.bias(bare(state.node)) > NEVER:
            yield state.node, 1, empty_room(shape, tuple(state.capacity))
    for pool in pools.values():
        if shape.pinned and shape.pinned in scheduler.nodes.named:
            state = scheduler.nodes.named[shape.pinned]
            if state.node.pool == pool.name and shape.bias(bare(state.node)) > NEVER:
                yield state.node, 1, empty_room(shape, tuple(state.capacity))
        elif room := room_of(scheduler, pool, shape):
            yield pool.node(f"?/{pool.name}"), pool.max_nodes, room


def room_of(scheduler: State, pool: Pool, shape: Shape) -> int:
    """Returns how many members of a shape an empty node of a pool holds."""
    if shape.bias(pool.node("")) == NEVER:
        return 0
    capacity = [0] * len(scheduler.space.names)
    for position, amount in scheduler.space.parse(pool.capacity, f"pool {pool.name!r}"):
        if position < len(capacity):
            capacity[position] = amount
    return empty_room(shape, tuple(capacity))


def empty_room(shape: Shape, capacity: tuple[int, ...]) -> int:
    """Returns how many members of a shape an empty node of this capacity takes."""
    most = 1 if shape.whole else 1 << 30
    for position, amount in shape.usage:
        if position != GPU_AT:
            room = capacity[position] // amount
        elif shape.gpus:
            room = capacity[GPU_AT] // DEVICE // shape.gpus
        else:
            room = capacity[GPU_AT] // DEVICE * (DEVICE // shape.share)
        if room < most:
            most = room
    return most
