"""The scheduler: grants asks in order of priority, then of arrival.

Rules:

1. A node is never given more than it has.
2. A gang is granted whole or not at all; while it waits it holds nothing.
3. Nobody overtakes: while the first ask does not fit, those behind it wait, so a large gang always gets its turn.
4. An ask that could not fit into the empty nodes is denied at once, with what it would need.
5. An ask without resources (nothing but zeros) fits always.
6. An ask that waits for a limit (a pool, a concurrency) holds nothing and holds up nobody: see `cluster.limits`.
"""

from __future__ import annotations

import heapq
import itertools
from functools import lru_cache

from clearance.cluster.ask import Ask, Decision, Placement
from clearance.cluster.limits import Key, Limits
from clearance.errors import ClearanceError

_UNIT = {"cpu": 1000, "gpu": 1000}
_NAMED = 5


class Desk:
    """State of the nodes and of the asks; `submit`, `step`, `release` move it on."""

    def __init__(self) -> None:
        self._capacity: dict[str, dict[str, int]] = {}
        self._free: dict[str, dict[str, int]] = {}
        self._waiting: list[Key] = []
        self._keys: dict[str, Key] = {}
        self._asks: dict[str, Ask] = {}
        self._held: dict[str, Placement] = {}
        self._limits = Limits()
        self._arrivals = 0
        self._shapes: dict[tuple[object, ...], bool] = {}

    def add_node(self, name: str, capacity: dict[str, int]) -> None:
        """Adds a node, or changes the capacity of one; what it holds stays.

        Args:
            name: of the node.
            capacity: by resource name, in the units of `Ask.resources`.
        """
        self._shapes.clear()
        used = {key: amount - self._free[name][key] for key, amount in self._capacity.get(name, {}).items()}
        self._capacity[name] = dict(capacity)
        self._free[name] = {key: amount - used.get(key, 0) for key, amount in capacity.items()}

    def set_limit(self, name: str, size: int | None) -> None:
        """Says how much there is of a limit; None takes it away. Who holds more than there is keeps it."""
        self._queue(self._limits.set(name, size))

    def usage(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Returns of each node and resource how much is given out, and how much there is."""
        return {
            name: {key: (amount - self._free[name].get(key, 0), amount) for key, amount in capacity.items()}
            for name, capacity in self._capacity.items()
        }

    def used(self, name: str) -> int:
        """How much of a limit is in use."""
        return self._limits.used(name)

    def arrive(self) -> int:
        """Returns the next number in the order of arrival, for asks that share one."""
        self._arrivals += 1
        return self._arrivals

    def submit(self, ask: Ask) -> Decision | None:
        """Takes an ask into the queue.

        Returns:
            A denial when it can never fit, else None.

        Raises:
            ClearanceError: an ask of this id waits or holds already, or it asks for less than one member.
        """
        if ask.id in self._asks:
            raise ClearanceError(f"capacity was asked twice for {ask.id!r}: release the first ask before the second")
        if ask.members < 1:
            raise ClearanceError(f"{ask.label or ask.id}: a gang of {ask.members} members: ask for at least 1")
        if not self._possible(ask):
            return Decision(ask.id, "denied", self._impossible(ask))
        self._asks[ask.id] = ask
        arrival = self.arrive()
        key = self._keys[ask.id] = (-ask.priority, ask.order or (arrival,), arrival, ask.id)
        heapq.heappush(self._waiting, key)
        return None

    def restore(self, ask: Ask, placement: Placement) -> None:
        """Takes back an ask that was granted before this scheduler was made (recovery)."""
        self._asks[ask.id] = ask
        self._held[ask.id] = placement
        self._limits.take(ask)
        for node in placement.nodes:
            if node in self._free:
                _take(self._free[node], ask.resources)

    def release(self, id: str) -> None:
        """Gives back what an ask holds, or takes it out of the queue; an unknown id is ignored."""
        ask = self._asks.pop(id, None)
        self._keys.pop(id, None)
        placement = self._held.pop(id, None)
        if ask is not None and placement is not None:
            for node in placement.nodes:
                if node in self._free:
                    _give(self._free[node], ask.resources)
            if ask.limits:
                self._queue(self._limits.give(ask))
        elif ask is not None and ask.limits:
            self._queue(self._limits.forget(ask))

    def step(self, most: int | None = None) -> list[Decision]:
        """Grants what fits now, in order.

        Args:
            most: how many are granted at most; None for all that fit.

        Returns:
            The grants; who still waits is told by `explain`.
        """
        granted: list[Decision] = []
        while (head := self._head()) is not None and (most is None or len(granted) < most):
            ask = self._asks[head[3]]
            if ask.limits and (limit := self._limits.full(ask, head)) is not None:
                heapq.heappop(self._waiting)
                self._queue(self._limits.park(ask, limit, head))
                continue
            placement = _place(ask, self._free)
            if placement is None:
                break
            heapq.heappop(self._waiting)
            if ask.limits:
                self._limits.take(ask)
            self._held[ask.id] = placement
            granted.append(Decision(ask.id, "granted", self._fits(ask, placement), placement))
        return granted

    def explain(self, id: str) -> Decision | None:
        """Says where an ask stands now and why; None for an id that neither waits nor holds."""
        ask = self._asks.get(id)
        if ask is None:
            return None
        if id in self._held:
            return Decision(id, "granted", self._fits(ask, self._held[id]), self._held[id])
        if (limit := self._limits.waits_for(id)) is not None:
            size = self._limits.size(limit)
            reason = f"{limit.name} has {self._limits.used(limit.name)} of {size} in use"
            if limit.amount > size:
                return Decision(id, "held", f"{reason}, and {limit.amount} are asked for: enlarge it")
            blockers = tuple(itertools.islice(self._limits.users(limit.name), _NAMED))
            return Decision(id, "held", f"{reason}; held by {self._names(blockers)}", blockers=blockers)
        head = self._head()
        if head is not None and head[3] != id:
            first = self._asks[head[3]]
            before = len(self._asks) - len(self._held) - len(self._limits)
            reason = f"behind {first.label or first.id} ({self._short(first)}); {before} asks wait in all"
            return Decision(id, "held", reason, blockers=(first.id,))
        blockers = tuple(itertools.islice(self._held, _NAMED))
        more = f" and {len(self._held) - _NAMED} more" if len(self._held) > _NAMED else ""
        reason = f"{self._short(ask)}; held by {self._names(blockers)}{more}"
        return Decision(id, "held", reason, blockers=blockers)

    def label(self, id: str) -> str:
        """Returns how people know an ask that waits or holds; its id where there is none."""
        ask = self._asks.get(id)
        return ask.label or id if ask else id

    def _queue(self, keys: list[Key]) -> None:
        for key in keys:
            heapq.heappush(self._waiting, key)

    def _head(self) -> Key | None:
        """Returns the first in the queue, without those that have gone."""
        while self._waiting:
            key = self._waiting[0]
            if self._keys.get(key[3]) == key and key[3] not in self._held:
                return key
            heapq.heappop(self._waiting)
        return None

    def _names(self, ids: tuple[str, ...]) -> str:
        return ", ".join(map(self.label, ids)) or "nobody"

    def _possible(self, ask: Ask) -> bool:
        """True when the ask fits into the empty nodes."""
        shape = (ask.members, *ask.resources.items())
        known = self._shapes.get(shape)
        if known is None:
            empty = {name: dict(capacity) for name, capacity in self._capacity.items()}
            known = self._shapes[shape] = _place(ask, empty) is not None
        return known

    def _fits(self, ask: Ask, placement: Placement) -> str:
        nodes = placement.nodes
        where = nodes[0] if len(nodes) == 1 else ", ".join(dict.fromkeys(nodes))
        return f"{_show(ask)} on {where}" if where else _show(ask)

    def _short(self, ask: Ask) -> str:
        free = {key: sum(node.get(key, 0) for node in self._free.values()) for key in ask.resources}
        return f"asks {_show(ask)}; free {_amounts(free)}"

    def _impossible(self, ask: Ask) -> str:
        nodes = "; ".join(f"{name} has {_amounts(capacity)}" for name, capacity in self._capacity.items())
        return f"asks {_show(ask)}, which never fits: {nodes or 'there are no nodes'}: ask for less, or add workers"


def _place(ask: Ask, free: dict[str, dict[str, int]]) -> Placement | None:
    """First fit of every member; `free` is changed only when all fit."""
    asked = {key: amount for key, amount in ask.resources.items() if amount}
    taken: list[str] = []
    for name, room in free.items():
        while len(taken) < ask.members and all(room.get(key, 0) >= amount for key, amount in asked.items()):
            _take(room, asked)
            taken.append(name)
        if len(taken) == ask.members:
            return Placement(tuple(taken))
    for name in taken:
        _give(free[name], asked)
    return None


def _take(room: dict[str, int], asked: dict[str, int]) -> None:
    for key, amount in asked.items():
        room[key] = room.get(key, 0) - amount


def _give(room: dict[str, int], asked: dict[str, int]) -> None:
    for key, amount in asked.items():
        room[key] = room.get(key, 0) + amount


def _show(ask: Ask) -> str:
    each = _amounts(ask.resources)
    return each if ask.members == 1 else f"a gang of {ask.members} x {each}"


def _amounts(resources: dict[str, int]) -> str:
    return _shown(tuple(resources.items()))


@lru_cache(256)
def _shown(resources: tuple[tuple[str, int], ...]) -> str:
    shown = []
    for key, amount in resources:
        if key == "memory":
            shown.append(f"memory={amount / 2**30:.3g}Gi")
        else:
            shown.append(f"{key}={amount / _UNIT.get(key, 1):g}")
    return " ".join(shown) or "nothing"
