"""Deliveries: what happens is told to the outside by outbox, at least once.

Rules:

1. Which sinks are told of an event is decided when it is committed, and written with it. kill -9 loses nothing: whoever
   leads next finds the rows.
2. The threads of the sinks only read. How a try went is written by the controller, one writer, with its next turn.
3. A try that failed is repeated after 1, 2, 4, … seconds (at most 300), less up to half of it by chance, or after as
   long as the sink asks for; after `attempts` tries it is given up, and an event `delivery` says so.
4. Sinks are those of the settings of the process that leads. A row whose sink nobody has waits for one that has it.
"""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any

from clearance.errors import MissingExtra, UsageError, nearest
from clearance.run.telemetry.lifecycle import END, names, phases
from clearance.store.outbox import Event
from clearance.types.sink import Lineage, Otel, Sink
from clearance.types.states import RunState

if TYPE_CHECKING:
    from clearance.run.controller import Controller
    from clearance.run.telemetry.sender import Key, Outcome, Sender

LINGER = 2.0
LONGEST = 300.0
KEPT = 7 * 86400.0
PRUNED = 3600.0
GIVEN_UP = "delivery"


class Deliveries:
    """See the module.

    Args:
        controller: which leads; its settings, ledger, runs and clock are used.

    Raises:
        MissingExtra: a sink needs an extra that is not installed.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._sinks = {sink.name: sink for sink in controller.settings.notify}
        if any(isinstance(sink, Otel) for sink in self._sinks.values()):
            _check_otel()
        self._senders: dict[str, Sender] = {}
        self._pending: dict[str, int] = dict.fromkeys(self._sinks, 0)
        self._tried: dict[str, list[Key]] = {}
        self._fresh: set[str] = set()
        self._untried: set[tuple[str, int, int]] = set()
        self._dags: dict[int, str] = {}
        self._until = math.inf
        self._pruned = 0.0
        if self._sinks:
            controller.ledger.outgoing = self._rows
            for name, state, number in controller.database.rows("deliveries_summary"):
                if state == "pending" and name in self._sinks:
                    self._pending[name] = int(number)

    @property
    def pending(self) -> bool:
        """True while something is to be delivered to a sink that this process knows."""
        return any(self._pending.values())

    @property
    def due(self) -> float:
        """When something is due by itself, in seconds since 1970."""
        return self._until

    def connect(self, wake: int) -> None:
        """Starts sending; `wake` is written to when a turn is to be made."""
        for name, sink in self._sinks.items():
            from clearance.run.telemetry.sender import Sender

            sender = Sender(sink, self._controller.settings, wake, self._controller.clock)
            self._senders[name] = sender
            if self._pending[name]:
                sender.nudge()

    def close(self) -> None:
        """Ends the threads."""
        for sender in self._senders.values():
            sender.close()

    def finishing(self) -> bool:
        """True while first tries are under way, for `LINGER` seconds at most after it was first asked."""
        now = self._controller.clock()
        if self._until is math.inf:
            self._until = now + LINGER
        return bool(self._untried) and now < self._until

    def turn(self, now: float) -> None:
        """Takes what the threads report."""
        for sender in self._senders.values():
            while not sender.outcomes.empty():
                self._take(sender, sender.outcomes.get(), now)
        if self._senders and now - self._pruned > PRUNED:
            self._pruned = now
            self._controller.ledger.add("delivery_prune", now - KEPT)

    def committed(self) -> None:
        """What was reported and what is new is committed."""
        tried, fresh = self._tried, self._fresh
        if not tried and not fresh:
            return
        self._tried, self._fresh = {}, set()
        for name in {*tried, *fresh} & self._senders.keys():
            self._senders[name].nudge(tried.get(name, ()))

    def again(self, name: str) -> int:
        """Tries again what was given up; returns how many deliveries that are.

        Args:
            name: of the sink; empty for each.

        Raises:
            UsageError: the process that leads has no such sink.
        """
        if name and name not in self._sinks:
            raise UsageError(unknown(name, self._sinks))
        chosen = [name] if name else list(self._sinks)
        found = {sink: int(count) for sink, state, count in self._controller.database.rows("deliveries_summary")
                 if state == "failed" and sink in chosen}  # fmt: skip
        for sink, count in found.items():
            self._controller.ledger.add("delivery_again", self._controller.clock(), sink)
            self._pending[sink] += count
            self._fresh.add(sink)
        return sum(found.values())

    def _rows(self, events: list[Event]) -> list[tuple[Any, ...]]:
        """Returns a row for each of these events and each sink that is told of it."""
        found: list[tuple[Any, ...]] = []
        for event in events:
            if event.kind == GIVEN_UP:
                continue
            dag = self._dag(event)
            kind = names(event.instance, event.kind, event.payload)[-1]
            for sink in self._sinks.values():
                if wants(sink, dag, event):
                    found.append((sink.name, event.run, event.seq, kind, event.at, event.at))
                    self._pending[sink.name] += 1
                    self._fresh.add(sink.name)
                    self._untried.add((sink.name, event.run, event.seq))
            if event.instance < 0 and event.kind in _FINAL:
                self._dags.pop(event.run, None)
        return found

    def _dag(self, event: Event) -> str:
        if event.run not in self._dags:
            self._dags |= {run.number: run.graph.dag for run in self._controller.runs.values()}
        return self._dags.get(event.run, "")

    def _take(self, sender: Sender, outcome: Outcome, now: float) -> None:
        row, sink = outcome.delivery, sender.sink
        ledger = self._controller.ledger
        self._tried.setdefault(sink.name, []).append((row.run, row.seq))
        self._untried.discard((sink.name, row.run, row.seq))
        key = (sink.name, row.run, row.seq)
        attempts = row.attempts + 1
        if not outcome.error:
            state, due, finished = "delivered", row.due_at, now
        elif attempts >= sink.attempts:
            state, due, finished = "failed", row.due_at, now
            told = {"sink": sink.name, "of": row.seq, "kind": row.kind, "attempts": attempts, "message": outcome.error}
            ledger.tell(Event(now, row.run, -1, GIVEN_UP, told))
        else:
            due = now + self._delay(attempts, outcome.after)
            ledger.add("delivery_change", "pending", due, None, outcome.error, *key)
            return
        self._pending[sink.name] -= 1
        self._controller.metrics.told(sink.name, state)
        ledger.add("delivery_change", state, due, finished, outcome.error, *key)

    def _delay(self, attempts: int, after: float) -> float:
        seconds = min(2.0 ** (attempts - 1), LONGEST)
        return max(after, seconds * (0.5 + self._controller.rng.random() / 2))


_FINAL = frozenset(str(state) for state in RunState if state.finished)


def wants(sink: Sink, dag: str, event: Event) -> bool:
    """True where a sink is told of an event of this DAG."""
    if isinstance(sink, Lineage | Otel):
        found = phases(event.instance, event.kind, event.payload)
        if isinstance(sink, Otel):
            found = [phase for phase in found if phase.kind == END]
        return bool(found) and sink.wants_dag(dag)
    return sink.wants_event(names(event.instance, event.kind, event.payload)) and sink.wants_dag(dag)


def unknown(name: str, known: dict[str, Sink]) -> str:
    """Returns what is said of a sink that is not there."""
    listed = ", ".join(sorted(known)) or "none"
    return f"no sink {name!r} under [[notify]]{nearest(name, known)}; there are: {listed}"


def _check_otel() -> None:
    try:
        found = importlib.util.find_spec("opentelemetry.exporter.otlp.proto.common.trace_encoder")
        found = found and importlib.util.find_spec("opentelemetry.sdk.trace")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise MissingExtra("OpenTelemetry", "otel")
