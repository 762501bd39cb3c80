"""Spans over OTLP/HTTP, as OpenTelemetry's own packages encode them (extra `otel`)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import clearance
from clearance.errors import MissingExtra
from clearance.run.telemetry.facts import Facts
from clearance.run.telemetry.spans import Span, spans
from clearance.run.telemetry.transport.post import post
from clearance.store.outbox import Event
from clearance.types.secret import Secret
from clearance.types.sink import Otel

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


def send(sink: Otel, facts: Facts, events: list[Event]) -> None:
    """Sends the spans that these events end.

    Raises:
        Undelivered: they were not taken.
        UsageError: the token is missing.
        MissingExtra: OpenTelemetry is not installed.
    """
    found = [span for event in events for span in spans(facts, event)]
    if found:
        write(sink, found)


def write(sink: Otel, found: list[Span]) -> None:
    """Sends spans; raises as `send` does."""
    headers = {"Content-Type": "application/x-protobuf", "User-Agent": "clearance"}
    if sink.token:
        headers["Authorization"] = f"Bearer {Secret.parse(sink.token).reveal()}"
    post(sink.url, encode(sink.service, found), headers, sink.timeout, sink.authority)


def encode(service: str, found: list[Span]) -> bytes:
    """Returns the protobuf of an `ExportTraceServiceRequest`.

    Raises:
        MissingExtra: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    except ImportError:
        raise MissingExtra("OpenTelemetry", "otel") from None
    return bytes(encode_spans([_readable(service, span) for span in found]).SerializeToString())


@cache
def _resource(service: str) -> Any:
    from opentelemetry.sdk.resources import Resource

    return Resource({"service.name": service, "service.version": clearance.__version__})


def _readable(service: str, span: Span) -> ReadableSpan:
    from opentelemetry.sdk.trace import Event as Noted
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

    trace, flags = int(span.trace, 16), TraceFlags(TraceFlags.SAMPLED)
    parent = SpanContext(trace, int(span.parent, 16), span.remote, flags) if span.parent else None
    attributes: dict[str, Any] = dict(span.attributes)
    noted = []
    if span.kind:
        attributes["error.type"] = span.kind
        about = {"exception.type": span.kind, "exception.message": span.error or ""}
        if span.traceback:
            about["exception.stacktrace"] = span.traceback
        noted.append(Noted("exception", about, _nanoseconds(span.end)))
    return ReadableSpan(
        name=span.name,
        context=SpanContext(trace, int(span.id, 16), False, flags),
        parent=parent,
        resource=_resource(service),
        attributes=attributes,
        events=noted,
        status=Status(StatusCode.ERROR, span.error) if span.error is not None else Status(StatusCode.OK),
        start_time=_nanoseconds(span.start),
        end_time=_nanoseconds(span.end),
        instrumentation_scope=InstrumentationScope("clearance", clearance.__version__),
    )


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e6) * 1000
