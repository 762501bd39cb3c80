"""Which deliveries go together, and who sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearance.run.telemetry.facts import Facts
from clearance.run.telemetry.notice import notice
from clearance.types.sink import Lineage, Mail, Otel, Sink, Slack, Webhook

if TYPE_CHECKING:
    from clearance.run.telemetry.sender import Delivery


def parts(sink: Sink, due: list[Delivery]) -> list[list[Delivery]]:
    """Returns what is sent in one try: spans together, everything else by itself."""
    return [due] if isinstance(sink, Otel) else [[row] for row in due]


def send(sink: Sink, facts: Facts, part: list[Delivery], now: float, blobs: str) -> None:
    """Sends; returns when all of it was taken. `blobs` is where bytes lie.

    Raises:
        Undelivered: it was not taken.
        UsageError: a secret is missing.
        StoreError: the database cannot be read.
    """
    events = [event for row in part if (event := facts.event(row.run, row.seq)) is not None]
    if isinstance(sink, Otel):
        from clearance.run.telemetry.transport import otel

        otel.send(sink, facts, events)
        return
    for event in events:
        if isinstance(sink, Webhook):
            from clearance.run.telemetry.transport import webhook

            webhook.send(sink, notice(facts, event, sink.name), now)
        elif isinstance(sink, Slack):
            from clearance.run.telemetry.transport import slack

            slack.send(sink, notice(facts, event, sink.name))
        elif isinstance(sink, Mail):
            from clearance.run.telemetry.transport import mail

            mail.send(sink, notice(facts, event, sink.name), now)
        elif isinstance(sink, Lineage):
            from clearance.run.telemetry.transport import lineage

            lineage.send(sink, facts, event, blobs)
