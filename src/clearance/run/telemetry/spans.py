"""The spans of what has ended: pure but for the rows it is given through `Facts`."""

from __future__ import annotations

import msgspec

from clearance.run.telemetry import tracing
from clearance.run.telemetry.facts import Facts, failure_of
from clearance.run.telemetry.lifecycle import END, phases
from clearance.store.outbox import Event
from clearance.types import masking
from clearance.types.states import RunState, TaskState

_BAD = frozenset({"failed", "up_for_retry", "cancelled"})


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span: ids in hexadecimal digits, times in seconds since 1970.

    Attributes:
        parent: span id of the parent; empty for none.
        remote: the parent is that of the caller, in another process.
        error: what went wrong; None where nothing did. `kind` of the exception, and its traceback.
    """

    name: str
    trace: str
    id: str
    parent: str
    remote: bool = False
    start: float
    end: float
    attributes: dict[str, str | int | float]
    error: str | None = None
    kind: str = ""
    traceback: str = ""


def spans(facts: Facts, event: Event) -> list[Span]:
    """Returns the spans that an event ends: of a launch, or of a life of the run; none where nobody records them."""
    run = facts.run(event.run)
    traceparent = facts.traceparent(event.run)
    if run is None or not tracing.sampled(traceparent):
        return []
    life = facts.life(run.number, event.seq)
    trace = tracing.trace_of(run.key, traceparent)
    whole = tracing.span_of_run(run.key, life)
    attributes: dict[str, str | int | float] = {"clearance.dag": run.dag, "clearance.run": run.id}
    made: list[Span] = []
    for phase in phases(event.instance, event.kind, event.payload):
        if phase.kind != END:
            continue
        if not phase.launch:
            began = run.created_at if life == 1 else _at(facts, run.number, life, event.at)
            failed = event.kind != RunState.SUCCESS
            made.append(
                Span(
                    name=run.dag, trace=trace, id=whole, parent=tracing.parent_of(traceparent),
                    remote=bool(traceparent), start=began, end=event.at,
                    attributes=attributes
                    | {"clearance.principal": run.principal, "clearance.version": run.version,
                       "clearance.state": event.kind},
                    error=f"the run {event.kind}" if failed else None,
                )
            )  # fmt: skip
            continue
        attempt = facts.attempt(run.number, event.instance, phase.launch)
        if attempt is None:
            continue
        end = attempt.finished_at or event.at
        failure = failure_of(attempt)
        ended_here = phase.launch == event.payload.get("launch")
        skipped = ended_here and event.kind == TaskState.SKIPPED
        bad = failure is not None or (ended_here and event.kind in _BAD)
        made.append(
            Span(
                name=str(event.payload["task"]), trace=trace,
                id=tracing.span_of_attempt(f"{run.key}.{event.instance}.{phase.launch}"), parent=whole,
                start=attempt.started_at or end, end=end,
                attributes=attributes
                | {"clearance.task": str(event.payload["task"]), "clearance.launch": phase.launch,
                   "clearance.outcome": "skipped" if skipped else attempt.outcome or event.kind,
                   "clearance.node": attempt.node, "clearance.cpu_seconds": attempt.cpu_seconds,
                   "clearance.peak_memory_bytes": attempt.peak_memory},
                error=(failure.message if failure else event.kind) if bad and not skipped else None,
                kind=failure.kind if failure and not skipped else "",
                traceback=failure.traceback if failure and not skipped else "",
            )
        )  # fmt: skip
    return [masking.masker.value(span) for span in made]


def _at(facts: Facts, run: int, seq: int, otherwise: float) -> float:
    event = facts.event(run, seq)
    return event.at if event else otherwise
