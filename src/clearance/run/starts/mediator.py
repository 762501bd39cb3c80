"""The mediator between DAGs: which events of assets start which runs. DAGs know assets, never each other.

Rules (data/flow/mediator_traces.json, `semantics`):

1. Events are numbered by commit order. An event is consumed at most once by a subscription, and waits until then.
2. `drain` fires when the condition holds over "has an event that waits", and consumes every event that waits.
3. `each` (one asset) fires once an event, oldest first.
4. `key` fires for a partition key for which the condition holds, and consumes the events that carry it; keys fire in
   the order of the event that completed them. Events without a key are ignored.
5. `rollup` takes the part of a key before its first `/` as the window, and fires for a window when `expect` distinct
   keys of every asset have arrived. A later event opens a window again and fires at once; what waits goes into one run.
   Windows fire in the order of the event that completed them, an open one by its oldest event.
6. `debounce` (drain only) puts the run off until so many seconds after the last event.
7. Nothing fires while `max_active` runs go on or the subscription is paused; its events wait. Events before a
   subscription began to exist do not count.
8. Subscriptions are looked at in the order of their names, each brought to rest before the next.

No I/O and no clock: `now` is a parameter. An event touches only the subscriptions that name its asset.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from clearance.errors import GraphError, UsageError, nearest
from clearance.graph.asset import normal
from clearance.graph.firing import check_mode

_DEEPEST = 32


class AllOf(msgspec.Struct, frozen=True):
    """Holds when every part holds."""

    parts: tuple[Condition, ...]


class AnyOf(msgspec.Struct, frozen=True):
    """Holds when one part holds."""

    parts: tuple[Condition, ...]


Condition = str | AllOf | AnyOf  # a name or URI of an asset, or what is made of them


def check_asset(asset: object) -> str:
    """Returns the one form of the URI, or bare name, of an asset.

    Raises:
        GraphError: it is none.
    """
    try:
        return normal(asset, bare=True)
    except GraphError as error:
        raise GraphError(f"asset {error}") from None


def parse_condition(data: object, deep: int = 0) -> Condition:
    """Returns the condition of plain data: an asset, `["all", …]` or `["any", …]`, nested.

    Raises:
        GraphError: neither, empty, or nested beyond 32 levels.
    """
    if not isinstance(data, list | tuple):
        return check_asset(data)
    if deep == _DEEPEST:
        raise GraphError(f"a condition is nested beyond {_DEEPEST} levels: flatten it")
    word = data[0] if data else None
    if word not in ("all", "any") or len(data) < 2:
        raise GraphError(f'a condition is an asset, ["all", …] or ["any", …], not {str(data)[:80]}')
    parts = tuple(parse_condition(part, deep + 1) for part in data[1:])
    return AllOf(parts) if word == "all" else AnyOf(parts)


def plain_condition(condition: Condition) -> Any:
    """Returns the plain data of which `parse_condition` makes the condition."""
    if isinstance(condition, str):
        return condition
    return ["all" if isinstance(condition, AllOf) else "any", *map(plain_condition, condition.parts)]


def assets_of(condition: Condition) -> list[str]:
    """Returns the assets that a condition names, each once, in the order in which it names them."""
    if isinstance(condition, str):
        return [condition]
    return list(dict.fromkeys(asset for part in condition.parts for asset in assets_of(part)))


def holds(condition: Condition, present: Collection[str]) -> bool:
    """Does the condition hold where these assets have something?"""
    if isinstance(condition, str):
        return condition in present
    quantifier: Callable[[Iterable[bool]], bool] = all if isinstance(condition, AllOf) else any
    return quantifier(holds(part, present) for part in condition.parts)


class AssetEvent(msgspec.Struct, frozen=True):
    """An asset was written: `number` by commit order from 1, `at` in seconds, `key` of the partition or None."""

    number: int
    asset: str
    at: float
    key: str | None = None


class RunRequest(msgspec.Struct, frozen=True):
    """A subscription starts a run: numbers of the events it consumes, ascending, and the key or window, else None."""

    subscription: str
    events: tuple[int, ...]
    key: str | None = None


@dataclass(frozen=True)
class Subscription:
    """What a DAG waits for.

    Attributes:
        name: of the DAG that is started.
        on: the condition over assets.
        mode: `drain`, `each`, `key` or `rollup`.
        expect: distinct keys of every asset that make a window whole; rollup only.
        max_active: how many of its runs go on at a time; None for any number.
        debounce: seconds without an event before a run; drain only.
        at: when it begins to exist, in seconds; events before do not count.
        after: number of an event; those up to it do not count.

    Raises:
        GraphError: a field is wrong.
    """

    name: str
    on: Condition
    mode: str = "drain"
    expect: int | None = None
    max_active: int | None = None
    debounce: float = 0.0
    at: float = -math.inf
    after: int = 0
    assets: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise GraphError(f"a subscription is named by the DAG it starts, not {self.name!r}")
        where = f"subscription {self.name!r}"
        object.__setattr__(self, "assets", tuple(assets_of(self.on)))
        check_mode(where, self.mode, self.assets, _names_any(self.on), self.expect, self.max_active, self.debounce)
        if not _seconds(self.at) or math.isnan(self.at):
            raise GraphError(f"{where}: at is {self.at!r}: use seconds since 1970")

    def part(self, event: AssetEvent) -> str | None:
        """Returns the part of the subscription for which an event counts; None where it counts for none.

        It is the key (key), the window (rollup), the event alone (each), or the only part, `""` (drain).
        """
        if event.asset not in self.assets or event.at < self.at or event.number <= self.after:
            return None
        match self.mode:
            case "drain":
                return ""
            case "each":
                return str(event.number)
            case "key":
                return event.key
            case _:
                window, slash, _ = (event.key or "").partition("/")
                return window if slash else None


def parse_subscription(data: Any) -> Subscription:
    """Returns the subscription of plain data: `{"name", "on", "mode", "max_active", "debounce", "at", "expect"}`.

    A rollup may also say `window`, what the part of a key before its `/` is called (`"day"`); it changes nothing.

    Raises:
        GraphError: a field is missing, wrong or unknown.
    """
    known = {"name", "on", "mode", "expect", "max_active", "debounce", "at"}
    if not isinstance(data, dict) or not {"name", "on"} <= data.keys():
        raise GraphError(f'a subscription is {{"name", "on", "mode", …}}, not {str(data)[:80]}')
    if data.get("mode") == "rollup":
        known.add("window")
    for name in data:
        if name not in known:
            raise GraphError(f"subscription {data['name']!r}: no field {name!r}{nearest(str(name), known)}")
    said = {name: value for name, value in data.items() if name != "window"}
    return Subscription(**{**said, "on": parse_condition(data["on"])})


def _names_any(condition: Condition) -> bool:
    if isinstance(condition, AllOf):
        return any(map(_names_any, condition.parts))
    return isinstance(condition, AnyOf)


def _seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Part:
    """What waits in one part of a subscription: its events, oldest first, and the keys of each asset."""

    __slots__ = ("events", "keys", "ready")

    def __init__(self) -> None:
        self.events: list[int] = []
        self.keys: dict[str, set[str | None]] = {}
        self.ready = False


class Inbox:
    """The events that one subscription has not consumed, and the runs they start.

    Args:
        subscription: whose.
        active: how many of its runs go on.
        paused: it does not fire.
        is_fired: has a run been started for this window before? Asked for rollup only.
    """

    def __init__(
        self,
        subscription: Subscription,
        active: int = 0,
        paused: bool = False,
        is_fired: Callable[[str], bool] | None = None,
    ) -> None:
        self.subscription = subscription
        self.active = active
        self.paused = paused
        self.due = -math.inf
        self._fired: set[str] = set()
        self._is_fired = is_fired or self._fired.__contains__
        self._parts: dict[str, _Part] = {}
        self._ready: list[tuple[int, str]] = []

    @property
    def room(self) -> float:
        """How many runs may be started: 0 when paused or full."""
        if self.paused:
            return 0
        most = self.subscription.max_active
        return math.inf if most is None else max(0, most - self.active)

    @property
    def waits(self) -> bool:
        """Is there an event that is not consumed?"""
        return bool(self._parts)

    def add(self, event: AssetEvent) -> bool:
        """Takes an event, in the order of numbers; returns whether it counts."""
        name = self.subscription.part(event)
        if name is None:
            return False
        part = self._parts.setdefault(name, _Part())
        part.events.append(event.number)
        part.keys.setdefault(event.asset, set()).add(event.key)
        if not part.ready and self._completes(name, part):
            part.ready = True
            heapq.heappush(self._ready, (event.number, name))
        if self.subscription.debounce:
            self.due = event.at + self.subscription.debounce
        return True

    def settle(self, now: float) -> list[RunRequest]:
        """Returns the runs that start now, until nothing more fires."""
        started: list[RunRequest] = []
        while self._ready and self.room and now >= self.due:
            _, name = heapq.heappop(self._ready)
            part = self._parts.pop(name)
            self.active += 1
            if self.subscription.mode == "rollup":
                self._fired.add(name)
            key = name if self.subscription.mode in ("key", "rollup") else None
            started.append(RunRequest(self.subscription.name, tuple(part.events), key))
        return started

    def _completes(self, name: str, part: _Part) -> bool:
        if self.subscription.mode != "rollup":
            return holds(self.subscription.on, part.keys)
        if name in self._fired or self._is_fired(name):
            return True
        expect = self.subscription.expect or 1
        return all(len(part.keys.get(asset, ())) >= expect for asset in self.subscription.assets)


class Mediator:
    """Every subscription in memory: for tests, what-if and simulation; the durable form is `starts.assets`.

    Args:
        subscriptions: in any order.

    Raises:
        GraphError: two of one name.
    """

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self._inboxes: dict[str, Inbox] = {}
        self._followers: dict[str, list[str]] = {}
        self._timers: list[tuple[float, str]] = []
        self._number = 0
        for subscription in sorted(subscriptions, key=lambda each: each.name):
            if subscription.name in self._inboxes:
                raise GraphError(f"two subscriptions are named {subscription.name!r}: a DAG has one, with any or all")
            self._inboxes[subscription.name] = Inbox(subscription)
            for asset in subscription.assets:
                self._followers.setdefault(asset, []).append(subscription.name)

    def emit(self, asset: str, now: float, key: str | None = None) -> list[RunRequest]:
        """An asset was written. Returns the runs that start."""
        self._number += 1
        event = AssetEvent(self._number, check_asset(asset), now, key)
        touched = set()
        for name in self._followers.get(event.asset, ()):
            inbox = self._inboxes[name]
            if inbox.add(event):
                touched.add(name)
                if inbox.due > now:
                    heapq.heappush(self._timers, (inbox.due, name))
        return self._settle(touched, now)

    def finish(self, name: str, now: float) -> list[RunRequest]:
        """A run of a subscription has ended, however. Returns the runs that start."""
        self._inbox(name).active -= 1
        return self._settle({name}, now)

    def pause(self, name: str, now: float) -> list[RunRequest]:
        """A subscription shall not fire; ignored before it exists. Returns the runs of others that are due."""
        inbox = self._inbox(name)
        inbox.paused = inbox.paused or now >= inbox.subscription.at
        return self._settle(set(), now)

    def resume(self, name: str, now: float) -> list[RunRequest]:
        """A subscription fires again. Returns the runs that start."""
        self._inbox(name).paused = False
        return self._settle({name}, now)

    def tick(self, now: float) -> list[RunRequest]:
        """Time has passed. Returns the runs that start."""
        return self._settle(set(), now)

    def _inbox(self, name: str) -> Inbox:
        try:
            return self._inboxes[name]
        except KeyError:
            raise UsageError(f"no subscription {name!r}{nearest(name, self._inboxes)}") from None

    def _settle(self, touched: set[str], now: float) -> list[RunRequest]:
        while self._timers and self._timers[0][0] <= now:
            touched.add(heapq.heappop(self._timers)[1])
        return [request for name in sorted(touched) for request in self._inboxes[name].settle(now)]
