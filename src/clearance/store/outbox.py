"""The outbox: what happened, written in the transaction that made it happen, read by whoever follows.

An event that is not committed did not happen; one that is committed is found again after any crash, by its `seq`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from clearance.store.database import Batch, Database


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened.

    Attributes:
        at: seconds since 1970.
        run: number of the run; 0 for what belongs to none.
        instance: number of the instance in the run; -1 for the run itself.
        kind: a state (`running`, `success`, …) or another noun (`service`, `fenced`).
        payload: JSON-serialisable facts.
        seq: place in the log of its run, from 1.
    """

    at: float
    run: int
    instance: int
    kind: str
    payload: dict[str, Any]
    seq: int = 0


_encoder = msgspec.json.Encoder()


def append(batch: Batch, event: Event) -> None:
    """Adds the event to the transaction."""
    payload = _encoder.encode(event.payload).decode()
    batch.add("event_add", event.run, event.seq, event.at, event.instance, event.kind, payload)


def after(database: Database, run: int, seq: int) -> list[Event]:
    """Returns the events of a run beyond number `seq`, oldest first."""
    return [
        Event(at, number, instance, kind, msgspec.json.decode(payload), at_seq)
        for at_seq, at, number, instance, kind, payload in database.rows("events_after", run, seq)
    ]
