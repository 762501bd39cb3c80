"""A test message to a sink, sent at once by whoever asks; nothing of it is remembered."""

from __future__ import annotations

import secrets
import time

from clearance.run.telemetry import openlineage as spec
from clearance.run.telemetry.notice import Notice
from clearance.run.telemetry.spans import Span
from clearance.run.telemetry.transport import lineage, mail, otel, slack, webhook
from clearance.types.sink import Lineage, Mail, Otel, Sink, Slack, Webhook

TEXT = "This is a test of a sink of Clearance; nothing has happened."


def send(sink: Sink) -> None:
    """Sends it.

    Raises:
        Undelivered: it was not taken.
        UsageError: a secret is missing.
        MissingExtra: OpenTelemetry is not installed.
    """
    now = time.time()
    name = f"test-{secrets.token_hex(6)}"
    told = Notice(
        id=f"{name}-{sink.name}", type="test", time=spec.time_of(now), title="test: it works",
        fields=[("Event", "test"), ("Sink", sink.name)], detail=TEXT, data={"event": "test", "message": TEXT},
    )  # fmt: skip
    if isinstance(sink, Webhook):
        webhook.send(sink, told, now)
    elif isinstance(sink, Slack):
        slack.send(sink, told)
    elif isinstance(sink, Mail):
        mail.send(sink, told, now)
    elif isinstance(sink, Lineage):
        run, job = spec.run_of(spec.run_id(now, name)), spec.job_of(sink.namespace, "test", "TASK")
        lineage.write(sink, [spec.run_event(kind, now, run, job) for kind in ("START", "COMPLETE")])
    elif isinstance(sink, Otel):
        span = Span(
            name="test", trace=secrets.token_hex(16), id=secrets.token_hex(8), parent="", start=now, end=now,
            attributes={"clearance.test": TEXT},
        )  # fmt: skip
        otel.write(sink, [span])
