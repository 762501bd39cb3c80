"""One victim: members that would leave together for somebody else, and what harm that does."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from clearance.cluster.application import Application
from clearance.cluster.nodestate import Held, NodeState
from clearance.cluster.space import DEVICE

Harm = tuple[int, float, float, int]


class Victim(msgspec.Struct, frozen=True, eq=False):
    """Members that leave together.

    Attributes:
        app: whose they are.
        members: one, or all of the application.
        whole: whether the application ends with them.
        harm: priority, seconds of work lost, minus the second of the start, minus the number of the application.
    """

    app: Application
    members: tuple[Held, ...]
    whole: bool
    harm: Harm


def lost(app: Application, now: float) -> float:
    """Returns the seconds that one member of an application loses when it is ended now, its restart included."""
    ran = max(now - app.started, 0.0) if app.started is not None else 0.0
    interval = app.job.checkpoint_interval
    return (ran % interval if interval else ran) + app.job.restart_cost


def victim(app: Application, members: Iterable[Held], whole: bool, now: float) -> Victim:
    """Returns members of an application as a victim."""
    members = tuple(members)
    harm = (app.job.priority, len(members) * lost(app, now), -(app.started or 0.0), -app.number)
    return Victim(app, members, whole, harm)


def by_surplus(app: Application, here: Collection[Held], without: Collection[str], now: float) -> list[Victim]:
    """Returns those of some members of an application that may leave by themselves, and last all of it.

    Args:
        app: whose they are.
        here: of its members.
        without: ids of members that leave already.
        now: seconds of the driver's clock.
    """
    staying = [held for held in app.held.values() if held.id not in without]
    if len(app.groups) == 1 and len(staying) <= app.groups[0].group.min_member:
        return [victim(app, staying, True, now)] if any(held.id not in without for held in here) else []
    spare: dict[str, int] = {}
    for group in app.groups:
        name = group.group.name
        spare[name] = sum(held.id.rsplit("/", 2)[1] == name for held in staying) - group.group.min_member
    found = []
    rest = False
    for held in sorted(here, key=lambda held: -int(held.id.rsplit("/", 1)[1])):
        name = held.id.rsplit("/", 2)[1]
        if held.id in without:
            continue
        if spare[name] > 0:
            spare[name] -= 1
            found.append(victim(app, (held,), False, now))
        else:
            rest = True
    if rest:
        found.append(victim(app, staying, True, now))
    return found


def usage_of(one: Victim) -> dict[int, int]:
    """Returns what the members of a victim use together, by position."""
    usage: dict[int, int] = {}
    for held in one.members:
        for position, amount in held.shape.usage:
            usage[position] = usage.get(position, 0) + amount
    return usage


def remove(state: NodeState, held: Held) -> None:
    """Gives back to a copy of a node what a member has of it."""
    for position, amount in held.shape.usage:
        state.used[position] -= amount
    for number in held.devices:
        if number < len(state.devices):
            state.devices[number] += held.shape.share or DEVICE
    state.whole -= held.shape.whole
    del state.held[held.id]
