"""Rows of the database as values: what the controller recovers and what the command line shows."""

from __future__ import annotations

from typing import Any

import msgspec

from clearance.engine.base import Failure
from clearance.run.shape import Path, path_of, text
from clearance.store.database import Database
from clearance.types.artifact import Artifact

artifact_encoder = msgspec.msgpack.Encoder()
artifact_decoder = msgspec.msgpack.Decoder(Artifact)
_failures = msgspec.json.Decoder(Failure)


class RunRow(msgspec.Struct, frozen=True):
    """One run as it is stored; times in seconds since 1970, `parameters` as JSON text."""

    number: int
    key: str
    id: str
    dag: str
    version: str
    state: str
    parameters: str
    principal: str
    environment: str
    created_at: float
    finished_at: float | None


class InstanceRow(msgspec.Struct, frozen=True):
    """One task instance as it is stored; `clearance` is the last decision as JSON text."""

    number: int
    node: int
    task: str
    scope: str
    position: int
    state: str
    epoch: int
    attempts: int
    due_at: float
    changed_at: float
    clearance: str

    @property
    def path(self) -> Path:
        """Its indices in the mapped groups around it and in its own map."""
        return path_of(self.scope, self.position)

    @property
    def label(self) -> str:
        """`train`, `train[2]` when mapped, `train[3,1]` in a mapped group."""
        return label_of(self.task, self.scope, self.position)


class AttemptRow(msgspec.Struct):
    """One attempt as it is stored; `processes` and `failure` are JSON text, `outcome` is empty while it runs."""

    run: int
    number: int
    epoch: int
    outcome: str = ""
    node: str = ""
    processes: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    failure: str = ""
    cpu_seconds: float = 0.0
    peak_memory: int = 0


class DeferralRow(msgspec.Struct):
    """What an instance waits for, or waited for last, as it is stored.

    Attributes:
        kind: `time`, `approval`, `run` or `asset`; `key` says which.
        waiting: 1 until it is woken.
        due_at: when it goes on whatever happens; None for never.
        deadline: when it has waited too long; None for never. `soft`: 1 where it is then skipped.
        since: when the first attempt began; 0 where none has deferred since it was last cleared.
        times: how often it has deferred, ever.
        state: JSON text for the next attempt; `details`: of what is asked; `payload`: of what woke it, or empty.
    """

    kind: str = ""
    key: str = ""
    waiting: int = 0
    due_at: float | None = None
    deadline: float | None = None
    soft: int = 0
    since: float = 0.0
    times: int = 0
    state: str = "null"
    details: str = "{}"
    payload: str = ""


class ServiceRow(msgspec.Struct):
    """One desired service and what is known of it; the JSON texts are `spec`, `endpoint`, `info`.

    `epoch` counts its starts; `attempt` is the key of the replica that counts, empty before the first.
    """

    name: str
    run: int
    instance: int
    bundle: str
    spec: str
    endpoint: str
    desired: int
    state: str
    epoch: int
    failures: int
    due_at: float
    info: str
    message: str
    changed_at: float
    attempt: str = ""


def label_of(task: str, scope: str, position: int) -> str:
    """Returns how people write an instance: `train`, `train[2]` when mapped, `train[3,1]` in a mapped group."""
    return f"{task}[{text(path_of(scope, position))}]" if position >= 0 else task


def run_row(database: Database, id: str) -> RunRow | None:
    """Returns the run of this id."""
    found = database.rows("run_get", id)
    return RunRow(*found[0]) if found else None


def instance_rows(database: Database, run: int) -> list[InstanceRow]:
    """Returns the instances of a run in the order of their numbers."""
    return [InstanceRow(*row) for row in database.rows("instances", run)]


def instance_at(database: Database, run: int, node: int, path: Path) -> InstanceRow | None:
    """Returns the instance of a node at a path; the row of the node itself at the empty one."""
    if not path:
        found = database.rows("instances_numbered", run, node)
    else:
        found = database.rows("instances_at", run, node, text(path[:-1]), path[-1])
    return InstanceRow(*found[0]) if found else None


def deferrals(database: Database, run: int) -> dict[int, DeferralRow]:
    """Returns what the instances of a run wait for, or waited for last, by instance number."""
    return {number: DeferralRow(*row) for number, *row in database.rows("deferrals", run)}


def node_rows(database: Database, run: int) -> list[InstanceRow]:
    """Returns the row of each node of a run, which of a mapped one stands for all."""
    return [InstanceRow(*row) for row in database.rows("instances_outside", run)]


def attempt_rows(database: Database, run: int, number: int) -> list[AttemptRow]:
    """Returns every attempt of an instance, oldest first."""
    return [AttemptRow(*row) for row in database.rows("attempts_of", run, number)]


def attempts_begun(database: Database, run: int) -> list[AttemptRow]:
    """Returns the attempts of a run of which no end is known."""
    return [AttemptRow(*row) for row in database.rows("attempts_begun", run)]


def artifact_of(database: Database, run: int, number: int) -> Artifact | None:
    """Returns what an instance returned."""
    found = database.rows("artifact_get", run, number)
    return artifact_decoder.decode(bytes(found[0][0])) if found else None


def left_of(database: Database, run: int, number: int) -> Artifact | None:
    """Returns what the newest attempt of an instance has left, where it failed and has left anything."""
    attempts = attempt_rows(database, run, number)
    return failure_of(attempts[-1].failure).left if attempts and attempts[-1].failure else None


def failure_of(text: str) -> Failure:
    """Reads why an attempt did not succeed."""
    return _failures.decode(text)


def told_failure(text: str) -> dict[str, Any]:
    """Returns why an attempt did not succeed as it is shown: of what it has left type, size and digest, no bytes."""
    told: dict[str, Any] = msgspec.json.decode(text)
    if "left" in told:
        told["left"] = {name: told["left"][name] for name in ("type", "serializer", "size", "digest")}
    return told


def services(database: Database) -> list[ServiceRow]:
    """Returns every service, by name."""
    return [ServiceRow(*row) for row in database.rows("services")]


def json_text(value: Any) -> str:
    """Returns compact JSON."""
    return msgspec.json.encode(value).decode()


def address(row: ServiceRow) -> str:
    """Returns the URL at which a service was last reached; empty before it was ever healthy."""
    return str(msgspec.json.decode(row.info).get("url", "")) if row.info else ""
