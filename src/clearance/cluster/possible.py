"""What can never be: a unit that exceeds a maximum by itself, or that does not fit into the empty cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearance.cluster.application import Application
from clearance.cluster.quantities import format_amounts
from clearance.cluster.shape import NEVER, Shape
from clearance.cluster.space import DEVICE, GPU_AT
from clearance.cluster.unit import Part, Unit

if TYPE_CHECKING:
    from clearance.cluster.nodes import Nodes
    from clearance.cluster.state import State


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
        if level or part.apart or part.shape.picky or not nodes.plain:
            most = _most_by_node(nodes, part)
        else:
            most = sum(count * _empty_room(part.shape, kind) for kind, count in nodes.kinds().items())
        if most < part.count:
            asked = format_amounts(scheduler.space.named(part.shape.usage))
            within = f"one {level}" if level else "the whole cluster"
            many = "no node is" if not most and part.count == 1 else f"room for {most} of {part.count} is all that"
            there = "large enough" if not most and part.count == 1 else f"{within} has when it is empty"
            return f"each member asks for {asked}, and {many} {there}: ask for less, or add nodes"
    return ""


def _most_by_node(nodes: Nodes, part: Part) -> int:
    """Returns for how many members the best domain has room when it is empty."""
    level = part.topology.required
    domain = nodes.domain(level) if level else None
    apart = nodes.domain(part.apart) if part.apart else None
    rooms: dict[int, int] = {}
    seen: set[int] = set()
    for state in nodes.named.values():
        if part.shape.bias(state.node) == NEVER:
            continue
        room = _empty_room(part.shape, tuple(state.capacity))
        if apart is not None and room:
            room = int(apart[state.index] not in seen or apart[state.index] < 0)
            seen.add(apart[state.index])
        where = domain[state.index] if domain is not None else 0
        if where >= 0:
            rooms[where] = rooms.get(where, 0) + room
    return max(rooms.values(), default=0)


def _empty_room(shape: Shape, capacity: tuple[int, ...]) -> int:
    most = min(
        (capacity[position] // amount for position, amount in shape.usage if position != GPU_AT),
        default=1 << 30,
    )  # fmt: skip
    devices = capacity[GPU_AT] // DEVICE
    if shape.gpus:
        most = min(most, devices // shape.gpus)
    elif shape.share:
        most = min(most, devices * (DEVICE // shape.share))
    return min(most, 1) if shape.whole else most
