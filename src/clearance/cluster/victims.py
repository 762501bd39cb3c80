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

import heapq
from collections.abc import Iterable
from typing import TYPE_CHECKING

from clearance.cluster.application import Application, Request
from clearance.cluster.candidates import MOST, Bound, Candidates
from clearance.cluster.gang import place
from clearance.cluster.ledger import Ledger
from clearance.cluster.nodestate import Held, NodeState
from clearance.cluster.queues import QueueState
from clearance.cluster.shape import NEVER, Shape
from clearance.cluster.unit import Part
from clearance.cluster.victim import Harm, Victim, by_surplus, remove, usage_of, victim

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler


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
                least = self._least(queue, position)
                if least and self._ledger.used(queue, position) - amount < least:
                    return False
        return True

    def _least(self, queue: QueueState, position: int) -> int:
        """Returns what a queue must be left of a resource; see rule 1."""
        least = queue.guaranteed[position]
        return min(least, self._before.used(queue, position)) if least and queue in self._path else least

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
        candidates: Candidates | None = None
        while self._place() is None:
            if candidates is None:
                candidates = self._candidates(within)
            if not self._make_room(candidates, *self._lacking(within)):
                while len(self._chosen) > begun:
                    self._spare(self._chosen[-1])
                return False
        return True

    def _candidates(self, within: set[int] | None) -> Candidates:
        """Returns the nodes on which somebody could be asked to leave."""
        leaves = [queue for queue in self._scheduler.tree.queues.values() if queue.allocated and not queue.children]
        spent = {leaf: self._spent(leaf) for leaf in leaves if self._join(leaf) is not None}
        gone, now = self._gone | self._leaving, self._scheduler.now

        useless: dict[tuple[QueueState, Shape], bool] = {}

        def may_give(app: Application) -> bool:
            without = spent[app.queue]
            for group in app.groups if without else ():
                key = app.queue, group.shape
                if key not in useless:
                    useless[key] = any(position in without for position, _ in group.shape.usage)
            return not without or not all(useless[app.queue, group.shape] for group in app.groups)

        def least(app: Application) -> Harm | None:
            if not may_give(app) or not self._may_be(app):
                return None
            options = by_surplus(app, app.held.values(), gone, now)
            return min((one.harm for one in options if self._allowed(one)), default=None)

        return Candidates(spent, least, within, now)

    def _spent(self, leaf: QueueState) -> set[int]:
        """Returns the positions of which nobody in a leaf may give anything back."""
        return {
            position
            for queue in leaf.above for position, least in enumerate(queue.guaranteed)
            if least and self._ledger.used(queue, position) <= self._least(queue, position)
        }  # fmt: skip

    def _make_room(self, candidates: Candidates, part: Part, lack: int, without: set[int]) -> bool:
        """Chooses victims, the least harm first, until so many members more of a part fit; returns whether any are."""
        begun, bounds = len(self._chosen), candidates.bounds
        known: dict[int, tuple[int, list[Victim]]] = {}  # by node, of how many victims chosen before, and whom else
        heap: list[tuple[Bound, int, int]] = [(bound, -1, index) for index, bound in bounds.items()]
        heapq.heapify(heap)
        while lack > 0:
            for index in candidates.before(heap[0][0] if heap else MOST):
                heapq.heappush(heap, (bounds[index], -1, index))
            if not heap:
                break
            _, when, index = heapq.heappop(heap)
            at, victims = known.get(index, (-1, []))
            if at < len(self._chosen):  # the harm is not known, or may have changed
                state = self._nodes.at[index]
                if index in without or state.closed or part.shape.bias(state.node) == NEVER:
                    continue
                found = self._clear(state, part)
                known[index] = len(self._chosen), found or []
                if found is not None:
                    heapq.heappush(heap, (_harm(found), len(self._chosen), index))
                continue
            if when < at:  # it is there once more, with its harm
                continue
            touched = {held.node for one in victims for held in (one.app.held.values() if one.whole else one.members)}
            touched -= without
            before = self._rooms(part, touched)
            self._choose(victims)
            lack -= self._rooms(part, touched) - before
            heapq.heappush(heap, (bounds[index], -1, index))
        return len(self._chosen) > begun

    def _rooms(self, part: Part, indices: Iterable[int]) -> int:
        rooms = (self._nodes.room(part.shape, self._nodes.at[index]) for index in indices)
        return sum(min(room, 1) for room in rooms) if part.apart else sum(rooms)

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


def _harm(victims: list[Victim]) -> Bound:
    """Returns how much harm several victims are together; see rule 5."""
    harms = [one.harm for one in victims]
    return max(harms)[0], sum(each[1] for each in harms), len(harms), min(each[2] for each in harms)


def _policy(queue: QueueState) -> str:
    return queue.config.properties.preemption_policy


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
