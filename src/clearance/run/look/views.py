"""What people and pages look at: read-only answers from the database, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from clearance.errors import UsageError, nearest
from clearance.graph.model import decode as decode_graph
from clearance.run import recovery, rows
from clearance.run.clearance import decode
from clearance.run.deferral import describe
from clearance.run.look import automation
from clearance.run.shape import Shape, path_of
from clearance.run.starts.causes import cause_of
from clearance.run.tags import tags_of
from clearance.store.database import Database
from clearance.store.sql.searching import Where
from clearance.types.artifact import Artifact
from clearance.types.states import TaskState

LIMIT = 200


def runs(database: Database, wanted: Sequence[Where] = (), limit: int = 50) -> list[dict[str, Any]]:
    """Returns the newest runs first: id, dag, state, times, tags, and how many tasks are in each state.

    Args:
        database: where they are remembered.
        wanted: conditions that must all hold: see `clearance.run.look.search`.
        limit: how many at most.
    """
    listed = [rows.RunRow(*row) for row in database.search(wanted, limit)]
    counts: dict[int, dict[str, int]] = {}
    tags: dict[int, dict[str, str]] = {}
    if listed and not wanted:
        for number, state, count in database.rows("instances_summary", listed[-1].number, listed[0].number):
            counts.setdefault(number, {})[state] = count
        for number, name, value in database.rows("run_tags_between", listed[-1].number, listed[0].number):
            tags.setdefault(number, {})[name] = value
    elif listed:  # those found may lie far apart
        for row in listed:
            counts[row.number] = {
                state: count for _, state, count in database.rows("instances_summary", row.number, row.number)
            }
            tags[row.number] = tags_of(database, row.number)
    return [_run(row) | {"tags": tags.get(row.number, {}), "tasks": counts.get(row.number, {})} for row in listed]


def run(database: Database, id: str, state: str = "", limit: int = LIMIT) -> dict[str, Any]:
    """Returns one run with its tasks, and of mapped ones the first instances; of many, those that failed.

    Args:
        database: where it is remembered.
        id: of the run.
        state: only tasks and instances in this state.
        limit: how many mapped instances at most; `hidden` says how many more there are.

    Raises:
        UsageError: there is no such run, or no such state.
    """
    check_state(state)
    row = recovery.known(database, id)
    found = rows.node_rows(database, row.number)
    within = int(database.rows("instances_within", row.number, state, state)[0][0])
    chosen = state or ("" if within <= limit else "failed")
    page = [rows.InstanceRow(*each) for each in database.rows("instances_page", row.number, chosen, chosen, limit)]
    shown = sorted(
        [*(each for each in found if state in ("", each.state)), *page], key=lambda each: (each.node, each.path)
    )
    attempts: dict[int, list[rows.AttemptRow]] = {}
    last = found[-1].number if found else 0
    for attempt in (rows.AttemptRow(*each) for each in database.rows("attempts_outside", row.number, last)):
        attempts.setdefault(attempt.number, []).append(attempt)
    results = {
        number: rows.artifact_decoder.decode(bytes(data))
        for number, data in database.rows("artifacts_outside", row.number, last)
    }
    for each in page:
        attempts[each.number] = rows.attempt_rows(database, row.number, each.number)
        if (result := rows.artifact_of(database, row.number, each.number)) is not None:
            results[each.number] = result
    counts = _instances(database, row) if page or within else {}
    tasks = [_instance(each, attempts.get(each.number, []), results.get(each.number)) for each in shown]
    marks = {number: said for number, *said in database.rows("marks_in", row.number)}
    for each, task in zip(shown, tasks, strict=True):
        if (said := marks.get(each.number)) and said[0] == each.state:
            task["marked"] = {"reason": said[1], "by": said[2]}
        if each.position < 0 and (some := counts.get(each.node)):
            task["instances"] = some
    told = {
        "tags": tags_of(database, row.number), "parameters": msgspec.json.decode(row.parameters),
        "cause": automation.cause(cause_of(database, row.number)),
    }  # fmt: skip
    return _run(row) | told | {"tasks": tasks, "hidden": within - len(page)}


def check_state(state: str) -> None:
    """Checks the name of a task state; the empty one is every state.

    Raises:
        UsageError: another word.
    """
    if state and state not in {str(each) for each in TaskState}:
        known = [str(each) for each in TaskState]
        raise UsageError(f"state {state!r}{nearest(state, known)}: use one of {', '.join(known)}")


def _shape(database: Database, run: rows.RunRow) -> Shape:
    return Shape(decode_graph(bytes(database.rows("version_get", run.version)[0][3])))


def _instances(database: Database, run: rows.RunRow) -> dict[int, dict[str, int]]:
    """Returns how many of what really runs of a mapped node are in each state, by node."""
    shape = _shape(database, run)
    found: dict[int, dict[str, int]] = {}
    for node, scope, state, count in database.rows("instance_counts", run.number):
        if len(path_of(scope, 0)) < shape.levels(node):
            continue
        states = found.setdefault(node, {})
        states[state] = states.get(state, 0) + count
    return found


def find(database: Database, id: str, label: str) -> tuple[rows.RunRow, rows.InstanceRow]:
    """Returns the run and the instance that people write as `task`, `task[3]` or `task[3,1]`.

    Raises:
        UsageError: there is no such run or task; the message names the nearest.
    """
    row = recovery.known(database, id)
    name, bracket, rest = label.partition("[")
    nodes = [rows.InstanceRow(*each) for each in database.rows("instances_of_task", row.number, name)]
    if nodes and not bracket:
        return row, nodes[0]
    place = rest.removesuffix("]")
    if nodes and all(part.isdigit() for part in place.split(",")):
        path = tuple(map(int, place.split(",")))
        if (instance := rows.instance_at(database, row.number, nodes[0].node, path)) is not None:
            return row, instance
        if nodes[0].state == TaskState.DEFERRED:
            raise UsageError(f"run {id!r} has not come to {label!r} yet: instances are made as the work goes on")
    near = nearest(name, [each.task for each in rows.node_rows(database, row.number)]) if not nodes else ""
    raise UsageError(f"run {id!r} has no task {label!r}{near}; `clearance runs show {id}` lists them")


def why(database: Database, id: str, label: str = "") -> list[dict[str, Any]]:
    """Returns the stored decision on a task of a run, or on each and the first instances: both desks' verdicts."""
    row = recovery.known(database, id)
    if label:
        chosen = [find(database, id, label)[1]]
    else:
        page = [rows.InstanceRow(*each) for each in database.rows("instances_page", row.number, "", "", LIMIT)]
        chosen = [*rows.node_rows(database, row.number), *page]
    shape = _shape(database, row)
    deferrals = rows.deferrals(database, row.number)
    return [_decision(database, row, each, shape, deferrals.get(each.number)) for each in chosen]


def epochs(database: Database, run: rows.RunRow, instance: rows.InstanceRow) -> list[int]:
    """Returns the epochs of every attempt of an instance, oldest first; one just launched is among them."""
    found = {row.epoch for row in rows.attempt_rows(database, run.number, instance.number)}
    return sorted(found | ({instance.epoch} if instance.epoch else set()))


def denied(database: Database, id: str) -> bool:
    """True when a desk denied an instance of this run."""
    row = recovery.known(database, id)
    return bool(database.rows("instance_denied", row.number))


def artifact(database: Database, id: str, label: str) -> tuple[rows.RunRow, rows.InstanceRow, Artifact]:
    """Returns what an instance returned, or what its newest attempt has left where that failed.

    Raises:
        UsageError: no such run or task, or there is nothing of it.
    """
    row, instance = find(database, id, label)
    found = rows.artifact_of(database, row.number, instance.number)
    if found is None:
        found = rows.left_of(database, row.number, instance.number)
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
    failure = rows.told_failure(last.failure) if last and last.failure else None
    return {
        "task": row.label, "state": row.state, "attempts": row.attempts,
        "started_at": last.started_at if last else None, "finished_at": last.finished_at if last else None,
        "failure": failure, "reason": _reason(row), "result": result.digest if result else None,
        "cpu_seconds": sum(attempt.cpu_seconds for attempt in attempts),
        "peak_memory": max((attempt.peak_memory for attempt in attempts), default=0),
    }  # fmt: skip


def _reason(row: rows.InstanceRow) -> str:
    """Returns why an instance did not run, where a condition decided; else nothing."""
    record = decode(row.clearance)
    return record.reason if record is not None and record.verdict == row.state else ""


def _decision(
    database: Database, row: rows.RunRow, instance: rows.InstanceRow, shape: Shape, deferral: rows.DeferralRow | None
) -> dict[str, Any]:
    told: dict[str, Any] = {"run": row.id, "task": instance.label, "state": instance.state}
    if deferral is not None and deferral.waiting and instance.state == "deferred":
        told["waits"] = {
            "kind": deferral.kind, "key": deferral.key, "until": deferral.due_at, "deadline": deferral.deadline,
            "since": deferral.since, "times": deferral.times, "details": msgspec.json.decode(deferral.details),
        }  # fmt: skip
        told["reason"] = describe(deferral)
    record = decode(instance.clearance)
    if record is None:
        waits = (
            _waits(database, row.number, instance, shape) if instance.state == TaskState.SCHEDULED else instance.state
        )
        return told | {"verdict": "not asked", "reason": waits}
    told |= {"verdict": record.verdict, "at": record.at}
    if record.reason and instance.state == record.verdict:
        return told | {"verdict": "not asked", "reason": record.reason}
    for name, verdict in (("capacity", record.capacity), ("trust", record.trust)):
        if verdict is not None:
            told[name] = msgspec.to_builtins(verdict)
    return told


def _waits(database: Database, run: int, instance: rows.InstanceRow, shape: Shape) -> str:
    """Says for how many tasks an instance waits."""
    path = instance.path
    before = (
        list(dict.fromkeys([*shape.parents[instance.node], *shape.holds[instance.node]]))
        if len(path) == shape.depth(instance.node)
        else []
    )
    above = [rows.instance_at(database, run, node, path[:common]) for node, common in before]
    count = sum(each is not None and not TaskState(each.state).finished for each in above)
    return f"waits for {count} tasks before it" if count else "has not asked"


def steps(database: Database, id: str, after: int = 0, limit: int = 200) -> list[dict[str, Any]]:
    """Returns the steps of a flow in the order of its calls, from a position on: label, path, state, attempts, times.

    Raises:
        UsageError: there is no such run.
    """
    row = recovery.known(database, id)
    return [
        {
            "position": position, "step": f"{task}[{index}]", "path": path, "state": state, "attempts": attempts,
            "seconds": round(ended - begun, 6) if begun is not None and ended is not None else None,
            "result": rows.artifact_decoder.decode(bytes(data)).digest if data is not None else None,
            "failure": rows.told_failure(failure) if failure else None,
        }
        for position, _, path, task, index, _, _, state, attempts, data, failure, begun, ended in database.rows(
            "steps", row.number, after, limit
        )
    ]  # fmt: skip
