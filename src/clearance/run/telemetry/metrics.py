"""What the leading controller counts, in memory: read by whoever asks (`Measure`), and zero again when another leads.

Names and dimensions are few: states, outcomes, sinks, nodes; never a run or a DAG. Durations are in seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clearance.store.outbox import Event
from clearance.types.states import RunState, TaskState

if TYPE_CHECKING:
    from clearance.run.controller import Controller

LATENCY = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 1800.0)
DURATION = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
_STATES = frozenset(map(str, TaskState))
_FINAL = frozenset(str(state) for state in RunState if state.finished)
_LIVE = frozenset({"queued", "running"})


class Histogram:
    """Counts of what is at most each bound, as Prometheus has them.

    Args:
        bounds: ascending.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counts a value; one below zero, after a clock was set back, counts as zero."""
        value = max(value, 0.0)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def plain(self) -> dict[str, Any]:
        """Returns bounds, cumulative counts (the last is of all) and the sum."""
        total, cumulative = 0, []
        for count in self.counts:
            total += count
            cumulative.append(total)
        return {"bounds": self.bounds, "counts": cumulative, "sum": self.sum}


class Metrics:
    """See the module.

    Args:
        controller: whose committed events are counted.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._latency = Histogram(LATENCY)
        self._durations: dict[str, Histogram] = {}
        self._tasks: dict[str, int] = {}
        self._runs: dict[str, int] = {}
        self._deliveries: dict[tuple[str, str], int] = {}
        self._asked: dict[tuple[int, int], float] = {}
        self._launched: dict[tuple[int, int], float] = {}
        controller.listeners.append(self._take)

    def told(self, sink: str, state: str) -> None:
        """Counts a delivery that was `delivered`, or `failed` for good."""
        self._deliveries[sink, state] = self._deliveries.get((sink, state), 0) + 1

    def snapshot(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        return {
            "epoch": self._controller.epoch,
            "latency": self._latency.plain(),
            "durations": {outcome: histogram.plain() for outcome, histogram in self._durations.items()},
            "tasks": self._tasks,
            "runs": self._runs,
            "deliveries": [[sink, state, count] for (sink, state), count in self._deliveries.items()],
            "queue": len(self._asked),
            "slots": self._controller.scheduler.usage(),
            "queues": self._controller.scheduler.queues(),
            "decisions": self._controller.scheduler.counts,
        }

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if event.instance < 0:
                if event.kind in _FINAL:
                    self._runs[event.kind] = self._runs.get(event.kind, 0) + 1
            elif event.kind in _STATES:
                self._count(event)

    def _count(self, event: Event) -> None:
        key, kind = (event.run, event.instance), event.kind
        self._tasks[kind] = self._tasks.get(kind, 0) + 1
        if event.payload.get("from") in _LIVE and kind != "running" and key in self._launched:
            began = self._launched.pop(key)
            outcome = kind if kind not in ("awaiting_clearance", "queued") else "preempted"
            self._durations.setdefault(outcome, Histogram(DURATION)).observe(event.at - began)
        if kind == "awaiting_clearance":
            self._asked[key] = event.at
        elif kind == "queued":
            self._latency.observe(event.at - self._asked.pop(key, event.at))
            self._launched[key] = event.at
        elif kind != "running":
            self._asked.pop(key, None)
