"""The mediator's durable form: events of assets, what waits for them, and the runs they ask for, as rows.

Rules:

1. Nothing is held in memory from one call to the next: each reads what concerns it, lets `starts.mediator`
   decide, and writes event, run requests and `consumed` rows in one transaction under the lease.
2. `consumed (subscription, event)` is unique, and so are the numbers of events and requests: of two controllers that
   both believe they lead one writes, the other finds that it was late, reads again and decides again.
3. An event has a row in `asset_waiting` for each subscription for which it counts and that has not consumed it: there
   is no cursor that could run past it, and what was consumed long ago is never read again.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, partial
from typing import TypeVar

import msgspec

from clearance.errors import UsageError, nearest
from clearance.run.starts.mediator import (
    AssetEvent,
    Inbox,
    RunRequest,
    Subscription,
    check_asset,
    holds,
    parse_subscription,
    plain_condition,
)
from clearance.store.database import Batch, Database, Stale

T = TypeVar("T")

ORDER = (
    "asset_follower_clear", "asset_waiting_clear", "asset_subscription_clear", "asset_subscription_put",
    "asset_follower_add",
    "asset_event_add", "asset_run_finish", "asset_run_add", "consumed_add", "asset_waiting_take", "asset_waiting_add",
    "asset_waiting_settle", "asset_run_start", "asset_subscription_pause", "asset_subscription_due",
    "asset_subscription_rest",
)  # fmt: skip
_TRIES = 50
_PAUSE = 0.005  # seconds
_ALL = 2**62


class Requested(msgspec.Struct, frozen=True):
    """A run request as it is stored; `key` is the partition key or window, else None."""

    number: int
    subscription: str
    events: tuple[int, ...]
    key: str | None = None


class _Row(msgspec.Struct, frozen=True):
    """One row of `asset_subscription`."""

    name: str
    definition: str
    after: int
    paused: int
    due_at: float | None

    @property
    def subscription(self) -> Subscription:
        return _decode(self.definition, self.after)


class _Turn:
    """What one call decides: the writes, and the requests they hold."""

    def __init__(self, now: float, highest: int) -> None:
        self.now = now
        self.batch = Batch(ORDER)
        self.requested: list[Requested] = []
        self._highest = highest

    def start(self, request: RunRequest, new: AssetEvent | None) -> None:
        """Writes the request and what it consumes; `new` is the event that this call writes."""
        number = self._highest + len(self.requested) + 1
        self.batch.add("asset_run_add", number, request.subscription, request.key, self.now)
        for event in request.events:
            self.batch.add("consumed_add", request.subscription, event, number)
            if new is None or event != new.number:
                self.batch.guard("asset_waiting_take", request.subscription, event)
        self.requested.append(Requested(number, request.subscription, request.events, request.key))


class Assets:
    """The assets of a database, for the controller that leads.

    Every method that writes raises `LeaseLost` when another controller has taken over; nothing was written then.

    Args:
        database: where they are remembered.
        epoch: of the lease that the caller holds.
        joined: writes go into a transaction that the caller commits (`Database.enter`), not into one a call. Whoever
            loses a race then gets `Stale`, and must take the whole turn back.
        others: returns how many runs of a DAG go on that no event has started, and that count for `max_active`.
    """

    def __init__(
        self, database: Database, epoch: int, joined: bool = False, others: Callable[[str], int] = lambda _: 0
    ) -> None:
        self._database = database
        self._epoch = epoch
        self._joined = joined
        self._others = others

    def subscribe(self, subscription: Subscription) -> None:
        """Declares what a DAG waits for; the same again changes nothing.

        Without `at`, events up to now do not count. A changed definition keeps what waits, the pause and the beginning,
        as far as the new one names it; `recover` starts what it makes ready.
        """
        self._settled(lambda: self._subscribe(subscription))

    def unsubscribe(self, name: str) -> None:
        """The DAG waits for nothing any more; what it consumed stays known, its runs go on."""

        def write() -> None:
            self._row(name)
            batch = Batch(ORDER)
            batch.add("asset_follower_clear", name)
            batch.add("asset_waiting_clear", name)
            batch.add("asset_subscription_clear", name)
            self._apply(batch)

        self._settled(write)

    def emit(self, asset: str, now: float, *, key: str | None = None, source: str | None = None) -> list[Requested]:
        """An asset was written.

        Args:
            asset: its name or URI.
            now: seconds since 1970.
            key: of the partition.
            source: names what wrote it, once for ever: the same source again is the same event, and does nothing.

        Returns:
            The runs that it starts.

        Raises:
            GraphError: no name or URI of an asset.
        """
        asset = check_asset(asset)
        return self._settled(lambda: self._emit(asset, now, key, source))

    def finish(self, number: int, now: float) -> list[Requested]:
        """The run of a request has ended, however; again, it does nothing. Returns the runs that start."""

        def write() -> list[Requested]:
            found = self._database.rows("asset_run_get", number)
            if not found:
                raise UsageError(f"no run request {number}: it was never made")
            name, finished = found[0]
            turn = self._turn(now)
            if finished is None:
                turn.batch.guard("asset_run_finish", now, number)
            return self._look(turn, {name} if finished is None else (), ended=name if finished is None else "")

        return self._settled(write)

    def started(self, number: int, run: str) -> None:
        """Remembers the id of the run that was made of a request; it is set once."""
        batch = Batch(ORDER)
        batch.guard("asset_run_start", run, number)
        self._settled(lambda: self._apply(batch))

    def pause(self, name: str, now: float) -> list[Requested]:
        """A subscription shall not fire; ignored before it exists. Returns the runs of others that are due."""

        def write() -> list[Requested]:
            row, turn = self._row(name), self._turn(now)
            exists = now >= row.subscription.at
            if exists:
                turn.batch.add("asset_subscription_pause", 1, name)
            return self._look(turn, (), without=name if exists else "")

        return self._settled(write)

    def resume(self, name: str, now: float) -> list[Requested]:
        """A subscription fires again. Returns the runs that start."""

        def write() -> list[Requested]:
            self._row(name)
            turn = self._turn(now)
            turn.batch.add("asset_subscription_pause", 0, name)
            return self._look(turn, {name}, resumed=name)

        return self._settled(write)

    def look(self, name: str, now: float) -> list[Requested]:
        """There may be room for a run of this subscription. Returns the runs that start."""
        return self._settled(lambda: self._look(self._turn(now), {name}))

    def tick(self, now: float) -> list[Requested]:
        """Time has passed. Returns the runs of the subscriptions whose debounce has ended."""
        return self._settled(lambda: self._look(self._turn(now), ()))

    def recover(self, now: float) -> list[Requested]:
        """Looks at every subscription for which an event waits: what a controller does first when it leads."""

        def write() -> list[Requested]:
            names = {name for (name,) in self._database.rows("asset_subscriptions_waiting")}
            return self._look(self._turn(now), names)

        return self._settled(write)

    def due(self, now: float) -> float | None:
        """Returns when the next `tick` is due, later than now; None where nothing waits for a time."""
        found: float | None = self._database.rows("asset_next_due", now)[0][0]
        return found

    def wanted(self) -> list[Requested]:
        """Returns the requests of which no run was made yet, oldest first."""
        return [
            Requested(number, name, tuple(event for (event,) in self._database.rows("consumed_of", number)), key)
            for number, name, key in self._database.rows("asset_runs_wanted")
        ]

    def _settled(self, write: Callable[[], T]) -> T:
        """Reads, decides and writes; again, where another writer was first."""
        if self._joined:
            self._database.enter(self._epoch)
            return write()
        for left in reversed(range(_TRIES)):
            try:
                return write()
            except Stale:
                if not left:
                    raise
                time.sleep(random.random() * _PAUSE)  # noqa: S311  # so that two do not meet in step again
        raise AssertionError

    def _apply(self, batch: Batch) -> None:
        if batch and self._joined:
            self._database.put(batch)
        elif batch:
            self._database.apply(batch, epoch=self._epoch)

    def _turn(self, now: float) -> _Turn:
        return _Turn(now, self._database.rows("asset_run_highest")[0][0])

    def _row(self, name: str) -> _Row:
        found = self._database.rows("asset_subscription_get", name)
        if not found:
            known = [row[0] for row in self._database.rows("asset_subscription_names")]
            raise UsageError(f"no subscription {name!r}{nearest(name, known)}")
        return _Row(*found[0])

    def _subscribe(self, subscription: Subscription) -> None:
        name, definition = subscription.name, _encode(subscription)
        found = self._database.rows("asset_subscription_get", name)
        after, paused, due = subscription.after, 0, None
        batch = Batch(ORDER)
        if found:
            row = _Row(*found[0])
            if row.definition == definition:
                return
            batch.add("asset_follower_clear", name)
            batch.add("asset_waiting_clear", name)
            after, paused = row.after, row.paused
            changed = _decode(definition, after)
            for event in self._waiting(name):
                if (part := changed.part(event)) is not None:
                    batch.add("asset_waiting_add", name, event.number, part, event.asset, event.key, event.at)
                    due = event.at + changed.debounce if changed.debounce else None
            batch.add("asset_waiting_settle", name)
        elif math.isinf(subscription.at):
            after = max(after, self._database.rows("asset_event_highest")[0][0])
        batch.add("asset_subscription_put", name, definition, after, paused, due)
        for asset in subscription.assets:
            batch.add("asset_follower_add", asset, name)
        self._apply(batch)

    def _emit(self, asset: str, now: float, key: str | None, source: str | None) -> list[Requested]:
        if source is not None and self._database.rows("asset_event_of", source):
            return []
        event = AssetEvent(self._database.rows("asset_event_highest")[0][0] + 1, asset, now, key)
        turn = self._turn(now)
        turn.batch.add("asset_event_add", event.number, asset, key, now, source)
        followers = {name for (name,) in self._database.rows("asset_followers", asset)}
        return self._look(turn, followers, event)

    def _look(
        self,
        turn: _Turn,
        names: Iterable[str],
        event: AssetEvent | None = None,
        ended: str = "",
        resumed: str = "",
        without: str = "",
    ) -> list[Requested]:
        """Brings these subscriptions and those that are due to rest, in the order of their names, and writes it.

        Args:
            turn: what is written with it.
            names: of the subscriptions that the call touches.
            event: which this turn writes, for `names`.
            ended: a run of this subscription ends in this turn.
            resumed: this subscription is resumed in this turn.
            without: this subscription is paused in this turn.
        """
        touched = set(names)
        due = {name for (name,) in self._database.rows("asset_subscriptions_due", turn.now)}
        for name in sorted((touched | due) - {without}):
            found = self._database.rows("asset_subscription_get", name)
            if not found:
                continue  # it waits for nothing any more; this was the end of one of its runs
            row = _Row(*found[0])
            active = self._database.rows("asset_run_active", name)[0][0] - (name == ended) + self._others(name)
            paused = bool(row.paused) and name != resumed
            inbox = Inbox(row.subscription, active, paused, partial(self._fired, name))
            self._rest(turn, row, inbox, event if name in touched else None)
        self._apply(turn.batch)
        return turn.requested

    def _rest(self, turn: _Turn, row: _Row, inbox: Inbox, event: AssetEvent | None) -> None:
        """Brings one subscription to rest."""
        subscription, name = inbox.subscription, row.name
        part = subscription.part(event) if event is not None else None
        due = row.due_at is not None and row.due_at <= turn.now
        requests: list[RunRequest] = []
        if event is not None and part is not None:
            if inbox.room and not subscription.debounce and self._may_hold(subscription, part, event.asset):
                for each in self._waiting_in(name, part):
                    inbox.add(each)
                inbox.add(event)
                requests = inbox.settle(turn.now)
            if subscription.debounce:
                turn.batch.add("asset_subscription_due", event.at + subscription.debounce, name)
            if not requests:
                turn.batch.add("asset_waiting_add", name, event.number, part, event.asset, event.key, event.at)
        elif event is None or due:
            if inbox.room and (row.due_at is None or due):
                most = min(inbox.room, _ALL) if subscription.mode == "each" else _ALL
                for each in self._waiting(name, int(most)):
                    inbox.add(each)
                requests = inbox.settle(turn.now)
            if due and not inbox.paused:
                turn.batch.add("asset_subscription_rest", name, turn.now)
        for request in requests:
            turn.start(request, event)

    def _may_hold(self, subscription: Subscription, part: str, new: str) -> bool:
        """Spares reading what waits where an asset is still missing."""
        if subscription.mode != "drain":
            return True
        present = {new}
        for asset in subscription.assets:
            if self._database.rows("asset_waiting_has", subscription.name, part, asset):
                present.add(asset)
        return holds(subscription.on, present)

    def _waiting(self, name: str, most: int = _ALL) -> list[AssetEvent]:
        return [AssetEvent(*row) for row in self._database.rows("asset_waiting", name, most)]

    def _waiting_in(self, name: str, part: str) -> list[AssetEvent]:
        return [AssetEvent(*row) for row in self._database.rows("asset_waiting_in", name, name, part)]

    def _fired(self, name: str, window: str) -> bool:
        return bool(self._database.rows("asset_run_of_key", name, window))


def _encode(subscription: Subscription) -> str:
    """The definition as JSON text; `after` has a column of its own."""
    data = {"name": subscription.name, "on": plain_condition(subscription.on), "mode": subscription.mode}
    for option, default in (("expect", None), ("max_active", None), ("debounce", 0.0), ("at", -math.inf)):
        if (value := getattr(subscription, option)) != default:
            data[option] = value
    return msgspec.json.encode(data).decode()


@lru_cache(maxsize=1024)
def _decode(definition: str, after: int) -> Subscription:
    return replace(parse_subscription(msgspec.json.decode(definition)), after=after)
