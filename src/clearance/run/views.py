"""What people and pages look at: read-only answers from the database, as plain data."""

from __future__ import annotations

from typing import Any

import msgspec

from clearance.errors import UsageError, nearest
from clearance.run import looking, recovery, rows
from clearance.run.causes import cause_of
from clearance.run.clearance import decode
from clearance.run.deferral import describe
from clearance.store.database import Database
from clearance.types.artifact import Artifact


def runs(database: Database, dag: str = "", limit: int = 50) -> list[dict[str, Any]]:
    """Returns the newest runs first: id, dag, state, times, and how many tasks are in each state."""
    found = database.rows("runs_list_dag", dag, limit) if dag else database.rows("runs_list", limit)
    listed = [rows.RunRow(*row) for row in found]
    counts: dict[int, dict[str, int]] = {}
    if listed:
        for number, state, count in database.rows("instances_summary", listed[-1].number, listed[0].number):
            counts.setdefault(number, {})[state] = count
    return [_run(row) | {"tasks": counts.get(row.number, {})} for row in listed]


def run(database: Database, id: str) -> dict[str, Any]:
    """Returns one run with each of its task instances.

    Raises:
        UsageError: there is no such run.
    """
    row = recovery.known(database, id)
    attempts: dict[int, list[rows.AttemptRow]] = {}
    for attempt in rows.attempt_rows(database, row.number):
        attempts.setdefault(attempt.number, []).append(attempt)
    results = rows.artifacts(database, row.number)
    tasks = [
        _instance(each, attempts.get(each.number, []), results.get(each.number))
        for each in sorted(rows.instance_rows(database, row.number), key=lambda each: (each.node, each.position))
    ]
    why_started = looking.cause(cause_of(database, row.number))
    return _run(row) | {"parameters": msgspec.json.decode(row.parameters), "cause": why_started, "tasks": tasks}


def find(database: Database, id: str, label: str) -> tuple[rows.RunRow, rows.InstanceRow]:
    """Returns the run and the instance that people write as `task` or `task[3]`.

    Raises:
        UsageError: there is no such run or task; the message names the nearest.
    """
    row = recovery.known(database, id)
    instances = rows.instance_rows(database, row.number)
    for instance in instances:
        if instance.label == label:
            return row, instance
    near = nearest(label, [instance.label for instance in instances])
    raise UsageError(f"run {id!r} has no task {label!r}{near}; `clearance runs show {id}` lists them")


def why(database: Database, id: str, label: str = "") -> list[dict[str, Any]]:
    """Returns the stored decision on each instance of a run, or on one: both desks' verdicts and reasons."""
    row = recovery.known(database, id)
    if label:
        chosen = [find(database, id, label)[1]]
    else:
        chosen = rows.instance_rows(database, row.number)
    deferrals = rows.deferrals(database, row.number)
    return [_decision(row, each, deferrals.get(each.number)) for each in chosen]


def epochs(database: Database, run: rows.RunRow, instance: rows.InstanceRow) -> list[int]:
    """Returns the epochs of every attempt of an instance, oldest first; one just launched is among them."""
    found = {row.epoch for row in rows.attempt_rows(database, run.number) if row.number == instance.number}
    return sorted(found | ({instance.epoch} if instance.epoch else set()))


def denied(database: Database, id: str) -> bool:
    """True when a desk denied an instance of this run."""
    row = recovery.known(database, id)
    records = (decode(each.clearance) for each in rows.instance_rows(database, row.number))
    return any(record is not None and record.verdict == "denied" for record in records)


def artifact(database: Database, id: str, label: str) -> tuple[rows.RunRow, rows.InstanceRow, Artifact]:
    """Returns what an instance returned.

    Raises:
        UsageError: no such run or task, or it has returned nothing.
    """
    row, instance = find(database, id, label)
    found = rows.artifacts(database, row.number).get(instance.number)
    if found is None:
        raise UsageError(f"{id} {label} is {instance.state} and has no result")
    return row, instance, found


def _run(row: rows.RunRow) -> dict[str, Any]:
    return {
        "id": row.id, "dag": row.dag, "state": row.state, "version": row.version, "principal": row.principal,
        "created_at": row.created_at, "finished_at": row.finished_at,
    }  # fmt: skip


def _instance(row: rows.InstanceRow, attempts: list[rows.AttemptRow], result: Artifact | None) -> dict[str, Any]:
    last = attempts[-1] if attempts else None
    failure = msgspec.json.decode(last.failure) if last and last.failure else None
    return {
        "task": row.label, "state": row.state, "attempts": row.attempts,
        "started_at": last.started_at if last else None, "finished_at": last.finished_at if last else None,
        "failure": failure, "result": result.digest if result else None,
        "cpu_seconds": sum(attempt.cpu_seconds for attempt in attempts),
        "peak_memory": max((attempt.peak_memory for attempt in attempts), default=0),
    }  # fmt: skip


def _decision(row: rows.RunRow, instance: rows.InstanceRow, deferral: rows.DeferralRow | None) -> dict[str, Any]:
    told: dict[str, Any] = {"run": row.id, "task": instance.label, "state": instance.state}
    if deferral is not None and deferral.waiting and instance.state == "deferred":
        told["waits"] = {
            "kind": deferral.kind, "key": deferral.key, "until": deferral.due_at, "deadline": deferral.deadline,
            "since": deferral.since, "times": deferral.times, "details": msgspec.json.decode(deferral.details),
        }  # fmt: skip
        told["reason"] = describe(deferral)
    record = decode(instance.clearance)
    if record is None:
        waits = f"waits for {instance.pending} tasks before it" if instance.pending else "has not asked"
        return told | {"verdict": "not asked", "reason": waits if instance.state == "scheduled" else instance.state}
    told |= {"verdict": record.verdict, "at": record.at}
    for name, verdict in (("capacity", record.capacity), ("trust", record.trust)):
        if verdict is not None:
            told[name] = msgspec.to_builtins(verdict)
    return told
