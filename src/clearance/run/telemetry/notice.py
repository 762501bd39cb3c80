"""An event as people are told of it: a title, a few facts, the reason, and what to do next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from clearance.run.look.automation import cause as shown
from clearance.run.telemetry.facts import Facts, failure_of
from clearance.run.telemetry.lifecycle import names
from clearance.store.outbox import Event
from clearance.types import masking
from clearance.types.states import TaskState


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What is told.

    Attributes:
        id: the same for each try, and for no other notice of this sink.
        type: name of the event: `run.failed`, `approval`, …
        time: ISO 8601, UTC.
        title: one line.
        fields: name and value, in order.
        detail: the reason, or the last lines of a traceback.
        next: a command.
        data: the same for programs.
    """

    id: str
    type: str
    time: str
    title: str
    fields: list[tuple[str, str]]
    detail: str = ""
    next: str = ""
    data: dict[str, Any] = {}


def notice(facts: Facts, event: Event, sink: str) -> Notice:
    """Returns what a sink is told of an event, with the secrets that this process knows masked."""
    run = facts.run(event.run)
    kind = names(event.instance, event.kind, event.payload)[-1]
    task, payload = str(event.payload.get("task", "")), event.payload
    attempt = facts.attempt(event.run, event.instance, int(payload.get("launch", 0))) if event.instance >= 0 else None
    failed = event.kind in (TaskState.FAILED, TaskState.UP_FOR_RETRY)
    failure = failure_of(attempt) if failed else None
    reason = str(payload.get("reason") or payload.get("message") or (failure.message if failure else ""))
    what = f"{run.id} {task}".strip() if run else event.kind
    cause = shown(facts.cause(run.number)) if run else None
    fields = [
        ("DAG", run.dag if run else ""), ("Run", run.id if run else ""), ("Task", task), ("Event", kind),
        ("At", _time(event.at)), ("Attempt", str(payload.get("attempt") or "")), ("By", run.principal if run else ""),
        ("Started by", str(cause["kind"]) if cause else ""),
    ]  # fmt: skip
    data = {
        "event": kind, "dag": run.dag if run else None, "run": run.id if run else None, "task": task or None,
        "seq": event.seq, "state": event.kind, "attempt": payload.get("attempt"), "reason": reason or None,
        "failure": {"kind": failure.kind, "message": failure.message} if failure else None, "cause": cause,
        "principal": run.principal if run else None, "payload": payload,
    }  # fmt: skip
    traceback = failure.traceback.strip() if failure else ""
    made = Notice(
        id=f"{run.key if run else int(event.at * 1000)}-{event.seq}-{sink}",
        type=kind,
        time=_time(event.at),
        title=f"{what}: {kind.rpartition('.')[2].replace('_', ' ')}",
        fields=[(name, value) for name, value in fields if value],
        detail=traceback[-2000:] or reason,
        next=_next(run.id, task, kind) if run else "",
        data=data,
    )
    return masking.masker.value(made)  # type: ignore[no-any-return]


def _next(run: str, task: str, kind: str) -> str:
    if kind == "approval":
        return f"clearance approve {run} {task}"
    if task:
        return f"clearance logs {run} {task}"
    return f"clearance runs show {run}" if kind != "run.failed" else f"clearance retry {run}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
