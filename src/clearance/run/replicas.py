"""A replica of a service: the key of its attempt, and what is launched.

Rules:

1. The keys of a service have one of two prefixes. One that starts again keeps the prefix: whatever is left of the one
   before it is fenced out by the engine. One that starts beside another has the other prefix, so that both may run.
2. All replicas of a service have the same checkpoint directory.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from clearance.cluster import Placement
from clearance.engine.base import Launch
from clearance.run.rows import ServiceRow
from clearance.types.artifact import Literal
from clearance.types.references import Service

_OTHER = "-b"


def attempt_key(row: ServiceRow) -> str:
    """Returns the key of the replica of a service that counts."""
    return row.attempt or f"{_base(row)}.{row.epoch}"


def key_after(row: ServiceRow, beside: bool = False) -> str:
    """Returns the key of a service's next replica, whose number is the `epoch` of the row.

    Args:
        row: of the service.
        beside: whether it starts while the one before it runs.
    """
    base, prefix = _base(row), row.attempt.rpartition(".")[0]
    other = (prefix == base + _OTHER) is not beside
    return f"{base}{_OTHER if other else ''}.{row.epoch}"


def service_of(row: ServiceRow) -> Service:
    """Returns what was asked for."""
    return msgspec.json.decode(row.spec, type=Service)


def launch_of(row: ServiceRow, key: str, placement: Placement | None, queue: str, grace: float) -> Launch:
    """Returns the launch of a replica; one that is not the row's own takes over from that.

    Args:
        row: of the service.
        key: of the replica.
        placement: where it was granted room.
        queue: of the grant.
        grace: seconds between notice and kill.
    """
    service = service_of(row)
    previous = msgspec.json.decode(row.info) if row.info else {}
    config: dict[str, Any] = {**service.config, "port": previous.get("port", 0)}
    if key != attempt_key(row):
        config["takeover"] = True
    return Launch(
        attempt=key,
        kind="service",
        bundle=row.bundle,
        entry=service.entry,
        arguments={"config": Literal(config)},
        cpu_millis=service.cpu_millis,
        memory=service.memory,
        grace=grace,
        task=row.name,
        number=row.epoch,
        checkpoint=_base(row),
        nodes=placement.nodes if placement is not None else (),
        devices=placement.devices if placement is not None else (),
        tenant=queue,
    )


def _base(row: ServiceRow) -> str:
    return f"svc-{hashlib.sha256(row.name.encode()).hexdigest()[:16]}"
