"""Victims: whose members may be asked to leave for somebody else, and which of them are, with the least harm.

Rules (YuniKorn, "Preemption Design", the laws of preemption; their numbers there in brackets):

1. No queue comes under its guarantee in anything that a victim uses (2), so that a victim's queue is over it (5). Of a
   queue above both, what the asker adds counts too.
2. On the way from the asker up to where the victim's way joins it, some queue guarantees something that is asked for,
   and none that guarantees it has as much already (4).
3. A victim has no higher priority than the asker (6), each as it counts where their ways join, is of another
   application (3), below the first fence above the asker (7), and in no queue whose policy is `disabled`.
4. A group keeps its minimum, or its whole job is ended; what that costs is counted for the whole job.
5. The least harm: the lowest priority, then the least work lost, then the youngest. Who is not needed is let off, so
   that of those who remain none could stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from clearance.cluster.application import Application, Request
from clearance.cluster.gang import place
from clearance.cluster.nodestate import Held, NodeState
from clearance.cluster.queues import QueueState
from clearance.cluster.shape import NEVER, Shape
from clearance.cluster.space import DEVICE
from clearance.cluster.unit import Part

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler

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


class Ledger:
    """What queues will use, once those have left who were asked to and those have started who were promised room."""

    def __init__(self) -> None:
        self._change: dict[QueueState, dict[int, int]] = {}

    def used(self, queue: QueueState, position: int) -> int:
        """Returns what a queue will use of a resource, in its unit."""
        change = self._change.get(queue)
        return queue.used[position] + (change.get(position, 0) if change else 0)

    def count(self, leaf: QueueState, usage: Iterable[tuple[int, int]], sign: int) -> None:
        """Counts usage that comes to a leaf (1) or leaves it (-1)."""
        usage = list(usage)
        for queue in leaf.above:
            change = self._change.setdefault(queue, {})
            for position, amount in usage:
                change[position] = change.get(position, 0) + sign * amount

    def copy(self) -> Ledger:
        """Returns a copy that changes on its own."""
        other = Ledger()
        other._change = {queue: dict(change) for queue, change in self._change.items()}
        return other

    def deficit(self, queue: QueueState) -> int:
        """Returns how much a queue will lack of its guarantee, summed over resources in their units."""
        return sum(max(each - self.used(queue, position), 0) for position, each in enumerate(queue.guaranteed) if each)


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


def by_surplus(app: Application, here: Iterable[Held], without: Iterable[str], now: float) -> list[Victim]:
    """Returns those of some members of an application that may leave by themselves, and last all of it.

    Args:
        app: whose they are.
        here: of its members.
        without: ids of members that leave already.
        now: seconds of the driver's clock.
    """
    without = set(without)
    staying = [held for held in app.held.values() if held.id not in without]
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


class Search:
    """Looks for victims for one request. The nodes are as before when it returns.

    Args:
        scheduler: of all.
        request: for whom.
        ledger: what queues will use without it.
        leaving: ids of members that leave already.
    """

    def __init__(self, scheduler: Scheduler, request: Request, ledger: Ledger, leaving: Iterable[str]) -> None:
        self._scheduler = scheduler
        self._nodes = scheduler.nodes
        self._request = request
        self._app = request.app
        self._before = ledger
        self._ledger = ledger.copy()
        self._ledger.count(self._app.queue, request.unit.usage, 1)
        self._path = self._app.queue.above
        self._leaving = set(leaving)
        self._within = next((queue for queue in self._path if _policy(queue) == "fence"), self._path[-1])
        self._joins: dict[QueueState, QueueState | None] = {}
        self._chosen: list[Victim] = []
        self._gone: set[str] = set()

    def possible(self) -> bool:
        """Whether there is a leaf whose members could be victims at all."""
        queues = self._scheduler.tree.queues.values()
        return any(queue.allocated and not queue.children and self._join(queue) is not None for queue in queues)

    def run(self) -> tuple[list[Victim], list[tuple[int, Shape]]] | None:
        """Returns the victims, and where the members go that get their room, node and shape; None: there are none."""
        unit, app = self._request.unit, self._app
        for counter in app.limits:
            if not app.counted and counter.applications >= counter.max_applications:
                return None
            if not isinstance(counter, QueueState) and counter.over(unit.usage) >= 0:
                return None
        leaving = [self._scheduler.members[id][1] for id in sorted(self._leaving)]
        for held in leaving:
            self._nodes.give(held)
        try:
            if not self._within_maxima() or not any(self._fill(within) for within in self._domains()):
                return None
            self._let_off()
            places = self._place()
            assert places is not None
            return list(self._chosen), places
        finally:
            for one in reversed(self._chosen):
                for held in one.members:
                    self._nodes.put(held)
            for held in reversed(leaving):
                self._nodes.put(held)

    # -- the laws ------------------------------------------------------------------------------------------------------

    def _join(self, leaf: QueueState) -> QueueState | None:
        """Returns where the ways of the asker and of a leaf join; None where nobody in the leaf may be a victim."""
        if leaf not in self._joins:
            self._joins[leaf] = self._find_join(leaf)
        return self._joins[leaf]

    def _find_join(self, leaf: QueueState) -> QueueState | None:
        if self._within not in leaf.above or leaf is self._app.queue or _policy(leaf) == "disabled":
            return None
        above = set(leaf.above)
        join = next(queue for queue in self._path if queue in above)
        below = self._path[: self._path.index(join)]
        for position, _ in self._request.unit.usage:
            guaranteeing = [queue for queue in below if queue.guaranteed[position]]
            under = [self._before.used(queue, position) < queue.guaranteed[position] for queue in guaranteeing]
            if under and all(under):
                return join
        return None

    def _may_be(self, app: Application) -> bool:
        """Whether an application may lose members to the asker, whatever its queue has."""
        if app is self._app or not app.job.preemptible:
            return False
        join = self._join(app.queue)
        return join is not None and _priority(app, join) <= _priority(self._app, join)

    def _allowed(self, one: Victim) -> bool:
        """Whether no queue comes under its guarantee when a victim leaves too."""
        usage = usage_of(one)
        for queue in one.app.queue.above:
            for position, amount in usage.items():
                if least := queue.guaranteed[position]:
                    if queue in self._path:
                        least = min(least, self._before.used(queue, position))
                    if self._ledger.used(queue, position) - amount < least:
                        return False
        return True

    # -- choosing ------------------------------------------------------------------------------------------------------

    def _within_maxima(self) -> bool:
        """Chooses victims until the asker is within the maxima of its queues; returns whether it can be."""
        for queue in self._path:
            for position, _ in self._request.unit.usage:
                while self._ledger.used(queue, position) > queue.max[position]:
                    found = [
                        one for one in self._everywhere(queue)
                        if any(at == position for at, _ in one.members[0].shape.usage) and self._allowed(one)
                    ]  # fmt: skip
                    if not found:
                        return False
                    self._choose([min(found, key=lambda one: one.harm)])
        return True

    def _everywhere(self, below: QueueState) -> list[Victim]:
        """Returns every victim below a queue, lone members before whole jobs of the same application."""
        scheduler = self._scheduler
        found = []
        for app in list(scheduler.apps.values()):
            if app.held and below in app.queue.above and self._may_be(app):
                victims = by_surplus(app, app.held.values(), self._gone | self._leaving, scheduler.now)
                found += victims[:1]
        return found

    def _domains(self) -> list[set[int] | None]:
        """Returns the sets of nodes that must be looked at by themselves: the roomiest domain first."""
        level = next((part.topology.required for part in self._request.unit.parts if part.topology.required), "")
        if not level:
            return [None]
        found: dict[int, set[int]] = {}
        room: dict[int, int] = {}
        where = self._nodes.domain(level)
        shape = self._request.unit.parts[0].shape
        for state in self._nodes.named.values():
            if (domain := where[state.index]) >= 0:
                found.setdefault(domain, set()).add(state.index)
                room[domain] = room.get(domain, 0) + self._nodes.room(shape, state)
        return [found[domain] for domain in sorted(found, key=lambda each: (-room[each], each))]

    def _fill(self, within: set[int] | None) -> bool:
        """Chooses victims on nodes until the whole unit fits; where it cannot, all that it chose is let off."""
        begun = len(self._chosen)
        while self._place() is None:
            part, lack, without = self._lacking(within)
            options = []
            for state in self._nodes.named.values():
                if (within is not None and state.index not in within) or state.index in without or state.closed:
                    continue
                if part.shape.bias(state.node) > NEVER and (found := self._clear(state, part)) is not None:
                    options.append((_harm(found), state.index, found))
            progress = False
            for _, _, found in sorted(options, key=lambda option: option[:2]):
                fresh = all(held.id not in self._gone for one in found for held in one.members)
                if fresh and self._choose_where_allowed(found):
                    progress = True
                    lack -= 1
                    if lack <= 0:
                        break
            if not progress:
                while len(self._chosen) > begun:
                    self._spare(self._chosen[-1])
                return False
        return True

    def _lacking(self, within: set[int] | None) -> tuple[Part, int, set[int]]:
        """Returns the part that lacks room, for how many members, and the nodes that it must not use."""
        parts = self._request.unit.parts
        for part in parts:
            without = self._scheduler.unwanted(self._request, part)
            rooms = self._nodes.rooms(part.shape)
            room = sum(
                min(each, 1) if part.apart else each
                for index, each in rooms.items()
                if index not in without and (within is None or index in within)
            )
            if room < part.count:
                return part, part.count - room, without
        return parts[-1], 1, self._scheduler.unwanted(self._request, parts[-1])

    def _clear(self, state: NodeState, part: Part) -> list[Victim] | None:
        """Returns the victims that make room for one member more on a node; None where nobody can."""
        shape = part.shape
        if any(amount > state.capacity[position] for position, amount in shape.usage):
            return None
        want = self._nodes.room(shape, state) + 1
        if part.apart and want > 1:
            return None
        by_app: dict[Application, list[Held]] = {}
        for held in state.held.values():
            app, known = self._scheduler.members[held.id]
            if known is held and self._may_be(app):
                by_app.setdefault(app, []).append(held)
        now, gone = self._scheduler.now, self._gone | self._leaving
        options = [one for app, here in by_app.items() for one in by_surplus(app, here, gone, now)]
        chosen: list[Victim] = []
        copy = state.copy()
        for one in sorted(options, key=lambda one: one.harm):
            if any(other.whole and other.app is one.app for other in chosen):
                continue
            replaced = [other for other in chosen if one.whole and other.app is one.app]
            for other in replaced:
                self._ledger.count(other.app.queue, usage_of(other).items(), 1)
            if self._allowed(one):
                chosen = [other for other in chosen if other not in replaced] + [one]
                self._ledger.count(one.app.queue, usage_of(one).items(), -1)
                for held in one.members:
                    if held.id in copy.held and held.node == state.index:
                        remove(copy, held)
                if self._nodes.room(shape, copy) >= want:
                    break
            else:
                for other in replaced:
                    self._ledger.count(other.app.queue, usage_of(other).items(), -1)
        for one in chosen:
            self._ledger.count(one.app.queue, usage_of(one).items(), 1)
        if self._nodes.room(shape, copy) < want:
            return None
        for one in () if len(chosen) == 1 else sorted(chosen, key=lambda one: one.harm, reverse=True):
            rest = [other for other in chosen if other is not one]
            if self._room_without(state, shape, rest) >= want:
                chosen = rest
        return chosen

    def _room_without(self, state: NodeState, shape: Shape, victims: Iterable[Victim]) -> int:
        """Returns how many members a node has room for when victims have left it."""
        copy = state.copy()
        for held in (held for one in victims for held in one.members if held.node == state.index):
            remove(copy, held)
        return self._nodes.room(shape, copy)

    def _choose_where_allowed(self, victims: Iterable[Victim]) -> bool:
        begun = len(self._chosen)
        for one in victims:
            if not self._allowed(one):
                while len(self._chosen) > begun:
                    self._spare(self._chosen[-1])
                return False
            self._choose([one])
        return True

    def _choose(self, victims: Iterable[Victim]) -> None:
        for one in victims:
            if one.whole:  # it takes the place of members of the same application that were to leave by themselves
                for other in [other for other in self._chosen if other.app is one.app]:
                    self._spare(other)
                members = [held for held in one.app.held.values() if held.id not in self._leaving]
                one = victim(one.app, members, True, self._scheduler.now)
            self._chosen.append(one)
            self._ledger.count(one.app.queue, usage_of(one).items(), -1)
            for held in one.members:
                self._nodes.give(held)
                self._gone.add(held.id)

    def _spare(self, one: Victim) -> None:
        self._chosen.remove(one)
        self._ledger.count(one.app.queue, usage_of(one).items(), 1)
        for held in one.members:
            self._nodes.put(held)
            self._gone.discard(held.id)

    def _let_off(self) -> None:
        """Lets off those who are not needed, the worst harm first."""
        usage = self._request.unit.usage
        for one in sorted(self._chosen, key=lambda one: one.harm, reverse=True):
            self._spare(one)
            over = any(
                self._ledger.used(queue, position) > queue.max[position]
                for queue in self._path for position, _ in usage
            )  # fmt: skip
            if over or self._place() is None:
                self._choose([one])

    def _place(self) -> list[tuple[int, Shape]] | None:
        """Returns where the unit would go now; None where it does not fit."""
        scheduler, request = self._scheduler, self._request
        short, why = request.unit.short, request.unit.why
        found = place(
            self._nodes, request.unit, lambda part, number: f"?/{part}/{number}",
            lambda part: scheduler.unwanted(request, part), lambda part: scheduler.caps(request, part),
        )  # fmt: skip
        request.unit.short, request.unit.why = short, why
        if found is None:
            return None
        members = [held for each in found for held in each]
        for held in members:
            self._nodes.give(held)
        return [(held.node, held.shape) for held in members]


def remove(state: NodeState, held: Held) -> None:
    """Gives back to a copy of a node what a member has of it."""
    for position, amount in held.shape.usage:
        state.used[position] -= amount
    for number in held.devices:
        if number < len(state.devices):
            state.devices[number] += held.shape.share or DEVICE
    state.whole -= held.shape.whole
    del state.held[held.id]


def _harm(victims: list[Victim]) -> tuple[int, float, int, float]:
    """Returns how much harm several victims are together; see rule 5."""
    harms = [one.harm for one in victims]
    return max(harms)[0], sum(each[1] for each in harms), len(harms), min(each[2] for each in harms)


def _policy(queue: QueueState) -> str:
    return queue.config.properties.preemption_policy


def usage_of(one: Victim) -> dict[int, int]:
    """Returns what the members of a victim use together, by position."""
    usage: dict[int, int] = {}
    for held in one.members:
        for position, amount in held.shape.usage:
            usage[position] = usage.get(position, 0) + amount
    return usage


def _priority(app: Application, join: QueueState) -> int:
    """Returns the priority of an application as it counts in a queue above it."""
    priority = app.job.priority
    for queue in app.queue.above:
        if queue is join:
            break
        properties = queue.config.properties
        offset = properties.priority_offset
        priority = offset if properties.priority_policy == "fence" else priority + offset
    return priority
