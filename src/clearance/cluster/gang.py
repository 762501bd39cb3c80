"""Gangs: where all members of a unit go, or that they cannot go anywhere.

Rules:

1. Either every member has a place when this returns, or every node is as it was.
2. A required level: all members of a part are in one domain of it, the one with the least room that suffices. A
   preferred level: likewise where one domain suffices, else the domains with the most room first.
3. Ranks follow the domains: members of one domain have ranks that follow each other.
4. A node is filled before the next best is used, but under `fair`, where every node gets one before any gets two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from clearance.cluster.nodes import FAIR, Nodes
from clearance.cluster.nodestate import Held
from clearance.cluster.unit import CLOSE, Part, Unit

FEW, MANY = 8, 64
Name = Callable[[int, int], str]
Allowed = Callable[[Part], "set[int] | None"]


def place(
    nodes: Nodes,
    unit: Unit,
    name: Name,
    forbidden: Callable[[Part], Iterable[int]],
    most: Callable[[Part], Mapping[int, int]] = lambda part: {},
) -> list[list[Held]] | None:
    """Finds places for all members of a unit and takes them.

    Args:
        nodes: of the cluster.
        unit: what is to start.
        name: gives the id of a member from the number of its part and its number in the part.
        forbidden: gives the nodes that a part must not use.
        most: gives nodes that may take no more members of a part than so many.

    Returns:
        By part, in the order of the ranks; None where not all fit: then `unit.short` says how many at least lack a
        place, and `unit.why` why.
    """
    placed: list[list[Held]] = []
    for number, part in enumerate(unit.parts):
        caps = most(part)
        without = {*forbidden(part), *(index for index, cap in caps.items() if cap <= 0)}
        if (short := _lacking(nodes, part)) > 0:
            unit.short = short
            found: list[Held] = []
        elif part.count <= (FEW if nodes.policy == FAIR else MANY) and part.topology == CLOSE and not part.apart:
            found = _few(nodes, part, number, name, without, caps)
            unit.short = part.count - len(found)
        else:
            found = _many(nodes, part, number, name, without, caps, unit)
        if len(found) < part.count:
            nodes.give_all(held for group in (*placed, found) for held in group)
            return None
        placed.append(found)
    return placed


def _lacking(nodes: Nodes, part: Part) -> int:
    """Returns how many members lack a place at least, by all that is free in sum."""
    fit = part.count
    for position, amount in part.shape.usage:
        fit = min(fit, (nodes.total[position] - nodes.used[position]) // amount)
    return part.count - max(fit, 0)


def _few(nodes: Nodes, part: Part, number: int, name: Name, without: set[int], caps: Mapping[int, int]) -> list[Held]:
    """Takes the best node again and again."""
    found: list[Held] = []
    while len(found) < part.count:
        if without:
            index = nodes.columns.best_of(nodes.row(part.shape), without, None, 0)
        else:
            index = nodes.best(part.shape)
        if index < 0:
            break
        room = 1 if nodes.policy == FAIR else nodes.room(part.shape, nodes.at[index])
        if index in caps:
            room = min(room, caps[index])
            without.add(index)
        count = min(room, part.count - len(found))
        found += nodes.take([name(number, len(found) + more) for more in range(count)], part.shape, index)
    return found


def _many(
    nodes: Nodes, part: Part, number: int, name: Name, without: set[int], caps: Mapping[int, int], unit: Unit
) -> list[Held]:
    """Ranks the nodes once, chooses among domains, and fills."""
    rooms = nodes.rooms(part.shape)
    for index in without:
        rooms.pop(index, None)
    for index in caps.keys() & rooms.keys():
        rooms[index] = min(rooms[index], caps[index])
    if part.apart:
        rooms = _apart(rooms, nodes.domain(part.apart))
    order: Sequence[int] | None = list(rooms)
    if part.topology.required:
        order = _within(order or (), rooms, nodes.domain(part.topology.required), part.count)
        if order is None:
            level = part.topology.required
            unit.short = 1
            unit.why = f"no {level} has room for all {part.count}"
            return []
    if part.topology.preferred:
        order = _close(order or (), rooms, nodes.domain(part.topology.preferred), part.count)
    total = sum(rooms[index] for index in order or ())
    if total < part.count:
        unit.short = part.count - total
        return []
    shares = _spread(order or (), rooms, part.count) if nodes.policy == FAIR else _fill(order or (), rooms, part.count)
    found: list[Held] = []
    for index, count in shares:
        found += nodes.take([name(number, len(found) + more) for more in range(count)], part.shape, index)
    return found


def _apart(rooms: dict[int, int], domain: Sequence[int]) -> dict[int, int]:
    """Leaves the best node of each domain, with room for one."""
    seen: set[int] = set()
    left = {}
    for index in rooms:
        where = domain[index]
        if where < 0 or where not in seen:
            seen.add(where)
            left[index] = 1
    return left


def _totals(order: Iterable[int], rooms: dict[int, int], domain: Sequence[int]) -> dict[int, int]:
    totals: dict[int, int] = {}
    for index in order:
        if domain[index] >= 0:
            totals[domain[index]] = totals.get(domain[index], 0) + rooms[index]
    return totals


def _within(order: Sequence[int], rooms: dict[int, int], domain: Sequence[int], count: int) -> list[int] | None:
    """Returns the nodes of the tightest domain that suffices; None where none does."""
    totals = _totals(order, rooms, domain)
    enough = [(room, where) for where, room in totals.items() if room >= count]
    if not enough:
        return None
    wanted = min(enough)[1]
    return [index for index in order if domain[index] == wanted]


def _close(order: Sequence[int], rooms: dict[int, int], domain: Sequence[int], count: int) -> list[int]:
    """Returns the nodes of the tightest domain that suffices; else all, those of the roomiest domains first."""
    within = _within(order, rooms, domain, count)
    if within is not None:
        return within
    totals = _totals(order, rooms, domain)
    return sorted(order, key=lambda index: (-totals.get(domain[index], 0), domain[index]))


def _fill(order: Iterable[int], rooms: dict[int, int], count: int) -> list[tuple[int, int]]:
    found = []
    for index in order:
        here = min(rooms[index], count)
        if here:
            found.append((index, here))
            count -= here
        if not count:
            break
    return found


def _spread(order: Sequence[int], rooms: dict[int, int], count: int) -> list[tuple[int, int]]:
    shares = dict.fromkeys(order, 0)
    while count:
        for index in order:
            if count and shares[index] < rooms[index]:
                shares[index] += 1
                count -= 1
    return [(index, here) for index, here in shares.items() if here]
