"""Why a job waits: what is in its way, in the order in which it would have to be lifted.

Rules:

1. Blockers come in the order in which the scheduler asks: maxima of users and groups, of the queues from the leaf up,
   limits that lie on no node, whoever must go first, room on the nodes, room that is kept for somebody else.
2. The first blocker is sufficient: where it alone is lifted, the job starts, or another blocker is the first.
3. Nothing is remembered from earlier attempts: everything is looked at as it is now.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clearance.cluster.application import Application, AppState, Request
from clearance.cluster.blocker import (
    APPLICATIONS,
    BEHIND,
    KEPT,
    LIMIT,
    QUOTA,
    ROOM,
    TOPOLOGY,
    TURN,
    Blocker,
    Explanation,
)
from clearance.cluster.condition import Condition
from clearance.cluster.gang import place
from clearance.cluster.limits import first_before
from clearance.cluster.quantities import format_amounts
from clearance.cluster.queues import Counter

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler

SHOWN = 3  # nodes that are named with the reason why they are closed


def explain(scheduler: Scheduler, id: str) -> Explanation:
    """Says where a job stands and why.

    Raises:
        UsageError: there is no such job.
    """
    if id in scheduler.ended:
        state, reason = scheduler.ended[id]
        return Explanation(id, state, "", (), reason or f"it is {state.lower()}")
    app = scheduler.app(id)
    waiting = sorted(app.requests, key=lambda request: request.key)
    if not waiting:
        nodes = sorted({scheduler.nodes.at[held.node].name for held in app.held.values()})
        shown = ", ".join(nodes[:5]) + (f" and {len(nodes) - 5} more" if len(nodes) > 5 else "")
        return Explanation(id, app.state, app.queue.path, (), f"{len(app.held)} members run on {shown}")
    request = waiting[0]
    blockers = tuple(_blockers(scheduler, request))
    kept = next((each for each in scheduler.backfill.holding.values() if each.request is request), None)
    start = kept.start if kept is not None and kept.start < float("inf") else None
    text = blockers[0].text if blockers else "it starts with the next step"
    return Explanation(id, app.state if app.held else AppState.ACCEPTED, app.queue.path, blockers, text, start)


def first_blocker(scheduler: Scheduler, app: Application) -> Blocker:
    """Returns what a job that waits lacks first."""
    return next(_blockers(scheduler, min(app.requests, key=lambda request: request.key)))


def _blockers(scheduler: Scheduler, request: Request) -> Iterator[Blocker]:
    """Yields what is in the way of a request, in order; its turn, where nothing is."""
    app, none = request.app, True
    for blocker in _ahead(scheduler, request):
        none = False
        yield blocker
    room = _room(scheduler, request)
    for blocker in _kept(scheduler, request) if room is None else (room,):
        none = False
        yield blocker
    if none:
        yield Blocker(TURN, f"its turn in {app.queue.path} comes with the next step", app.queue.path)


def _ahead(scheduler: Scheduler, request: Request) -> Iterator[Blocker]:
    """Yields what is in the way of a request before anybody looks at the nodes."""
    app = request.app
    for counter in app.limits:
        yield from _over(scheduler, counter, app, request)
    if not app.counted:
        yield from _limits(request)
    stuck = app.queue.stuck
    if stuck is not None and stuck is not request and request.key > stuck.key:
        who = stuck.app.job.name
        many = "a member" if stuck.unit.members == 1 else f"{stuck.unit.members} members"
        text = f"behind {who}, which is first in {app.queue.path} and waits for room for {many}"
        yield Blocker(BEHIND, text, stuck.app.id)


def _limits(request: Request) -> Iterator[Blocker]:
    """Yields the limits that lie on no node of which there is not enough, or which somebody before waits for."""
    for share in request.app.shares:
        limit = share.limit
        used = f"{limit.name} has {limit.taken} of {share.size} in use"
        if (lack := limit.taken + share.amount - share.size) > 0:
            more = "" if share.possible else f", and {share.amount} are asked for: enlarge it"
            yield Blocker(LIMIT, used + more, limit.name, lack=lack)
        elif (first := first_before(share, request.key, request.lane)) is not None:
            text = f"behind {first.app.job.name}, which waits for {limit.name}"
            yield Blocker(BEHIND, text, first.app.id)


def _over(scheduler: Scheduler, counter: Counter, app: Application, request: Request) -> list[Blocker]:
    """Returns the maxima of one queue, user or group that a request would exceed."""
    found = []
    if not app.counted and counter.applications >= counter.max_applications:
        text = f"{counter.label} runs {counter.applications} of {counter.max_applications} applications"
        found.append(Blocker(APPLICATIONS, text, counter.label, lack=1))
    for position, amount in request.unit.usage:
        over = counter.used[position] + amount - counter.max[position]
        if over > 0:
            name = scheduler.space.names[position]
            used, most, asked = (
                format_amounts({name: each}) for each in (counter.used[position], counter.max[position], amount)
            )  # fmt: skip
            most, asked = most.partition("=")[2], asked.partition("=")[2]
            text = f"{counter.label} uses {used} of {most}, and {asked} more are asked for"
            found.append(Blocker(QUOTA, text, counter.label, name, over))
    return found


def _room(scheduler: Scheduler, request: Request) -> Blocker | None:
    """Returns what the nodes lack; None where there is room."""
    unit, nodes = request.unit, scheduler.nodes
    held = place(nodes, unit, lambda part, number: f"?/{part}/{number}", lambda part: scheduler.unwanted(request, part))
    if held is not None:
        for one in (one for group in held for one in group):
            nodes.give(one)
        return None
    for part in unit.parts:
        without = scheduler.unwanted(request, part)
        rooms = {index: room for index, room in nodes.rooms(part.shape).items() if index not in without}
        room = sum(min(each, 1) for each in rooms.values()) if part.apart else sum(rooms.values())
        asked = format_amounts(scheduler.space.named(part.shape.usage))
        if room >= part.count:
            continue
        closed, unusable, lack = nodes.lacking(part.shape)
        reasons = {name: count for name, count in (("closed", closed), ("not allowed", unusable)) if count}
        reasons |= {f"short of {name}": count for name, count in lack.items()}
        if without:
            reasons["kept away"] = len(without)
        shut = [f"{state.name}: {state.closed}" for state in nodes.named.values() if state.closed]
        tested = [
            f"{state.name} is under test" for state in nodes.named.values() if state.condition == Condition.TESTING
        ]
        who = f" ({_some(shut + tested)})" if shut or tested else ""
        coming = scheduler.autoscaler.coming if scheduler.autoscaler is not None else {}
        who += "".join(f"; {count} of {pool} are on their way" for pool, count in coming.items())
        shown = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "there are none"
        many = (
            f"a gang of {part.count} x {asked} is short by {part.count - room}"
            if part.count > 1
            else f"{asked} fits on no node"
        )
        return Blocker(
            ROOM, f"{many}; of {len(nodes.named)} nodes: {shown}{who}", lack=part.count - room, nodes=reasons
        )
    levels = [part.topology.required or part.apart for part in unit.parts if part.topology.required or part.apart]
    if levels:
        why = unit.why or f"members must be in {'one' if unit.parts[0].topology.required else 'different'} {levels[0]}"
        return Blocker(TOPOLOGY, f"{why}, though there is room in all", levels[0], lack=unit.short)
    return Blocker(ROOM, f"its {len(unit.parts)} groups do not fit side by side", lack=1)


def _some(names: list[str]) -> str:
    return "; ".join(names[:SHOWN]) + (f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _kept(scheduler: Scheduler, request: Request) -> list[Blocker]:
    """Returns for whom room is kept that a request would be in the way of."""
    found = []
    for kept in scheduler.backfill.holding.values():
        if kept.request is not request and any(scheduler.backfill.caps(request, part) for part in request.unit.parts):
            start = "when enough has ended" if kept.start == float("inf") else f"at {kept.start:g}"
            text = f"room is kept for {kept.request.app.id}, which starts {start}; this would still run then"
            found.append(Blocker(KEPT, text, kept.request.app.id))
    preemption, unit = scheduler.preemption, request.unit
    for promised in preemption.promises:
        if promised is not request and (
            any(cap < part.count for part in unit.parts for cap in preemption.caps(request, part).values())
            or preemption.in_the_way(request.app, unit) is not None
        ):
            text = f"room is kept for {promised.app.id} until those have left who were asked to"
            found.append(Blocker(KEPT, text, promised.app.id))
    return found
