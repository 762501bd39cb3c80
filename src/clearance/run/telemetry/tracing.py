"""Trace and span ids, which follow from the run, so that a crash neither loses nor doubles a span.

Rules:

1. A run is a trace, or belongs to that of its caller: the `TRACEPARENT` (W3C Trace Context, level 1) that
   `clearance run` was started with. Each life of a run is a span in it, each launch a span in that.
2. A task finds its own span as `TRACEPARENT` where a sink takes spans; where none does, that of the caller.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from clearance.run.instance import ActiveRun, Instance
from clearance.store.database import Database
from clearance.types.sink import Otel, Sink

VARIABLE = "TRACEPARENT"
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")


def caller(environment: dict[str, str]) -> str:
    """Returns the trace that a command was started in; empty where there is none, or none of the right form."""
    text = environment.get(VARIABLE, "").strip()
    match = _FORM.match(text)
    return f"00-{match[1]}-{match[2]}-{match[3]}" if match else ""


def trace_of(key: str, traceparent: str) -> str:
    """Returns the trace id of a run, 32 hexadecimal digits."""
    return traceparent.split("-")[1] if traceparent else _digits(key, 32)


def parent_of(traceparent: str) -> str:
    """Returns the span id of the caller; empty where there is none."""
    return traceparent.split("-")[2] if traceparent else ""


def sampled(traceparent: str) -> bool:
    """False where the caller's trace is not recorded."""
    return not traceparent or bool(int(traceparent.split("-")[3], 16) & 1)


def span_of_run(key: str, life: int) -> str:
    """Returns the span id of a life of a run, 16 hexadecimal digits."""
    return _digits(f"{key}/{life}", 16)


def span_of_attempt(attempt: str) -> str:
    """Returns the span id of a launch by its key, 16 hexadecimal digits."""
    return _digits(attempt, 16)


def _digits(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


class Tracing:
    """What tasks are told of the trace they belong to.

    Args:
        database: where the callers of runs are remembered.
        sinks: of the settings.
    """

    def __init__(self, database: Database, sinks: Iterable[Sink]) -> None:
        self._database = database
        self._sinks = [sink for sink in sinks if isinstance(sink, Otel)]
        self._callers: dict[int, str] = {}

    def begin(self, run: ActiveRun, traceparent: str) -> None:
        """A run is made by a caller with this trace, or with none."""
        self._callers[run.number] = traceparent

    def end(self, run: ActiveRun) -> None:
        """Forgets a run that has ended."""
        self._callers.pop(run.number, None)

    def environment(self, instance: Instance) -> dict[str, str]:
        """Returns the variables of the newest launch of an instance."""
        run = instance.run
        traceparent = self._callers.get(run.number)
        if traceparent is None:
            found = self._database.rows("event_get", run.number, 1)
            told = msgspec.json.decode(found[0][4]) if found else {}
            traceparent = self._callers[run.number] = str(told.get("traceparent", ""))
        if self._sinks and any(sink.wants_dag(run.graph.dag) for sink in self._sinks):
            flags = "01" if sampled(traceparent) else "00"
            return {VARIABLE: f"00-{trace_of(run.key, traceparent)}-{span_of_attempt(instance.attempt)}-{flags}"}
        return {VARIABLE: traceparent} if traceparent else {}
