"""Limits that lie on no node: pools, concurrency. Who holds how much of each, and who waits for it.

Rules:

1. A limit is never given out beyond its size.
2. Whoever waits for a limit waits beside the queue: those behind it that do not ask for this limit go on.
3. Among those who ask for one limit nobody overtakes, but an ask for more than there is holds up nobody.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from clearance.cluster.ask import Ask, Limit

Key = tuple[int, tuple[int, ...], int, str]  # priority turned, order, arrival, id


class Limits:
    """The state of every limit that is in use or asked for."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._users: dict[str, dict[str, int]] = {}
        self._used: dict[str, int] = {}
        self._queues: dict[str, list[Key]] = {}
        self._never: dict[str, dict[str, Key]] = {}
        self._waits: dict[str, tuple[Key, Limit]] = {}

    def __len__(self) -> int:
        """How many asks wait for a limit."""
        return len(self._waits)

    def set(self, name: str, size: int | None) -> list[Key]:
        """Sets the size of a limit (None: there is none of this name); returns who may ask again."""
        if size is None:
            self._sizes.pop(name, None)
        else:
            self._sizes[name] = size
        woken = [*self._never.pop(name, {}).values(), *self._queues.pop(name, ())]
        woken = [key for key in woken if self._waits.get(key[3], (None,))[0] == key]
        for key in woken:
            del self._waits[key[3]]
        return woken

    def size(self, limit: Limit) -> int:
        """How much there is of a limit, as this ask sees it."""
        return self._sizes.get(limit.name, 0) if limit.size is None else limit.size

    def full(self, ask: Ask, key: Key) -> Limit | None:
        """Returns the first limit that this ask must wait for; None when it may take all of them."""
        for limit in ask.limits:
            if self._used.get(limit.name, 0) + limit.amount > self.size(limit):
                return limit
            first = self._first(limit.name)
            if first is not None and first < key:
                return limit
        return None

    def park(self, ask: Ask, limit: Limit, key: Key) -> list[Key]:
        """Lets an ask wait for a limit; returns who may ask again, since it has left its other queues."""
        self._waits[key[3]] = (key, limit)
        if limit.amount > self.size(limit):
            self._never.setdefault(limit.name, {})[key[3]] = key
        else:
            heapq.heappush(self._queues.setdefault(limit.name, []), key)
        return [woken for other in ask.limits if other.name != limit.name for woken in self._wake(other.name)]

    def take(self, ask: Ask) -> None:
        """Gives the ask its share of each limit."""
        for limit in ask.limits:
            self._users.setdefault(limit.name, {})[ask.id] = limit.amount
            self._used[limit.name] = self._used.get(limit.name, 0) + limit.amount

    def give(self, ask: Ask) -> list[Key]:
        """Takes back what an ask holds; returns who may ask again."""
        woken: list[Key] = []
        for limit in ask.limits:
            users = self._users.get(limit.name, {})
            amount = users.pop(ask.id, 0)
            if not users:
                self._users.pop(limit.name, None)
                self._used.pop(limit.name, None)
            elif amount:
                self._used[limit.name] -= amount
            woken += self._wake(limit.name)
        return woken

    def forget(self, ask: Ask) -> list[Key]:
        """Takes an ask out of the wait; returns who may ask again, since it may have stood before them."""
        found = self._waits.pop(ask.id, None)
        if found is not None:
            self._never.get(found[1].name, {}).pop(ask.id, None)
        return [woken for limit in ask.limits for woken in self._wake(limit.name)]

    def waits_for(self, id: str) -> Limit | None:
        """Returns the limit that an ask waits for."""
        found = self._waits.get(id)
        return found[1] if found else None

    def used(self, name: str) -> int:
        """How much of a limit is in use."""
        return self._used.get(name, 0)

    def users(self, name: str) -> Iterator[str]:
        """Yields the ids of the asks that hold some of a limit."""
        yield from self._users.get(name, ())

    def _wake(self, name: str) -> list[Key]:
        """Returns the first of those who wait, as many as there is room for."""
        woken: list[Key] = []
        promised = self._used.get(name, 0)
        while (first := self._first(name)) is not None:
            limit = self._waits[first[3]][1]
            promised += limit.amount
            if promised > self.size(limit):
                break
            heapq.heappop(self._queues[name])
            del self._waits[first[3]]
            woken.append(first)
        return woken

    def _first(self, name: str) -> Key | None:
        """Returns the first that waits for a limit, without those that have gone."""
        queue = self._queues.get(name)
        while queue:
            if self._waits.get(queue[0][3], (None,))[0] == queue[0]:
                return queue[0]
            heapq.heappop(queue)
        self._queues.pop(name, None)
        return None
