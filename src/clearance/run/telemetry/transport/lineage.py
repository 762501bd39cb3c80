"""OpenLineage's HTTP transport (a POST an event), and its file transport (a line an event)."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from clearance.run.telemetry.facts import Facts
from clearance.run.telemetry.runevents import run_events
from clearance.run.telemetry.transport.post import Undelivered, post
from clearance.store.outbox import Event
from clearance.types.secret import Secret
from clearance.types.sink import Lineage


def send(sink: Lineage, facts: Facts, event: Event, blobs: str) -> None:
    """Tells of an event.

    Raises:
        Undelivered: it was not taken.
        UsageError: the token is missing.
    """
    write(sink, run_events(facts, event, sink.namespace, blobs))


def write(sink: Lineage, made: list[dict[str, Any]]) -> None:
    """Sends run events; raises as `send` does."""
    if sink.file:
        _append(sink.file, b"".join(msgspec.json.encode(each) + b"\n" for each in made))
        return
    headers = {"Content-Type": "application/json", "User-Agent": "clearance"}
    if sink.token:
        headers["Authorization"] = f"Bearer {Secret.parse(sink.token).reveal()}"
    for each in made:
        post(sink.url, msgspec.json.encode(each), headers, sink.timeout, sink.authority)


def _append(file: str, data: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, data) != len(data):
                raise Undelivered(f"{file}: the disk is full")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Undelivered(f"{file}: {error.strerror}") from None
