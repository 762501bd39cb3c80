"""OpenTelemetry: a trace a run, a span a launch, received over OTLP/HTTP and decoded by the official protobuf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clearance.run.telemetry import tracing
from support.runs import Home, wait_for
from support.sinks import Recorder, receiver, until

PIPELINE = """
import os, time
from pathlib import Path
from clearance import dag, task
from clearance.operators import trigger_dag

@task
def seen() -> str:
    return os.environ.get("TRACEPARENT", "")

@task(isolation="worker")
def warm(before: str) -> str:
    return os.environ.get("TRACEPARENT", "")

@task(retries=1)
def fails(before: str) -> int:
    raise ValueError("no luck")

@task
def waits() -> str:
    here = Path(os.environ["TEST_FOLDER"])
    (here / "started").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
    return os.environ["TRACEPARENT"]

@dag
def one():
    found = seen()
    warm(found)
    fails(found)

slow = dag("slow", waits)
good = dag("good", seen)
asking = dag("asking", trigger_dag("kick", "good", wait=True))
"""
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def pipeline(home: Home, tmp_path: Path) -> str:
    home.environment["TEST_FOLDER"] = str(tmp_path)
    home.environment.pop("TRACEPARENT", None)
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return str(tmp_path / "pipeline.py")


@pytest.fixture
def collector(home: Home):
    with receiver() as server:
        configure(home, server)
        yield server


def configure(home: Home, server: Recorder, **more: Any) -> None:
    home.environment["CLEARANCE_NOTIFY"] = json.dumps(
        [{"name": "traces", "kind": "otel", "url": f"{server.url}/v1/traces", **more}]
    )


def spans(server: Recorder) -> list[Any]:
    """Returns every span that was received, with its resource's attributes."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for request in server.requests:
        assert request.path == "/v1/traces"
        assert request.headers["content-type"] == "application/x-protobuf"
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            assert attributes(resource.resource)["service.name"] == "clearance"
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def result(home: Home, run: str, task: str) -> str:
    return str(json.loads(home.command("artifact", "get", run, task)))


def test_a_run_is_a_trace_and_each_launch_a_span_which_the_task_knows(home, pipeline, collector):
    home.command("run", f"{pipeline}:one", expect=1)
    until(lambda: len(spans(collector)) == 5)
    found = spans(collector)
    assert len({span.trace_id for span in found}) == 1
    (root,) = [span for span in found if not span.parent_span_id]
    assert (root.name, root.status.code) == ("one", 2)
    launches = [span for span in found if span is not root]
    assert {span.parent_span_id for span in launches} == {root.span_id}
    assert sorted(span.name for span in launches) == ["fails", "fails", "seen", "warm"]
    for span in found:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert root.start_time_unix_nano <= span.start_time_unix_nano
        assert attributes(span)["clearance.run"] == "one/1"
    for name in ("seen", "warm"):
        (span,) = [each for each in launches if each.name == name]
        assert result(home, "one/1", name) == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
        assert span.status.code == 1
        assert attributes(span)["clearance.outcome"] == "success"
    failed = [span for span in launches if span.name == "fails"]
    assert {attributes(span)["clearance.launch"] for span in failed} == {1, 2}
    for span in failed:
        assert (span.status.code, span.status.message) == (2, "no luck")
        assert attributes(span)["error.type"] == "builtins.ValueError"
        (event,) = span.events
        assert event.name == "exception"
        assert "ValueError" in attributes(event)["exception.stacktrace"]


def test_a_run_that_a_task_asks_for_belongs_to_the_trace_of_that_task(home, pipeline, collector):
    home.command("dag", "register", f"{pipeline}:good")
    home.command("run", f"{pipeline}:asking")
    until(lambda: len(spans(collector)) == 5)
    found = spans(collector)
    (root,) = [span for span in found if not span.parent_span_id]
    (asked,) = [span for span in found if span.name == "good"]
    kicks = {span.span_id for span in found if span.name == "kick"}
    assert (root.name, len(kicks)) == ("asking", 2)
    assert asked.parent_span_id in kicks
    assert {span.trace_id for span in found} == {root.trace_id}


def test_the_trace_of_the_caller_is_gone_on_with_in_its_run_and_in_no_other(home, pipeline, collector):
    home.environment["TRACEPARENT"] = CALLER
    home.command("run", f"{pipeline}:good")
    until(lambda: len(spans(collector)) == 2)
    (root,) = [span for span in spans(collector) if span.name == "good"]
    assert root.trace_id.hex() == CALLER.split("-")[1]
    assert root.parent_span_id.hex() == CALLER.split("-")[2]
    assert result(home, "good/1", "seen").startswith(f"00-{CALLER.split('-')[1]}-")
    del home.environment["TRACEPARENT"]
    home.command("run", f"{pipeline}:good")
    until(lambda: len(spans(collector)) == 4)
    assert len({span.trace_id for span in spans(collector)}) == 2


def test_a_trace_that_the_caller_does_not_record_is_not_recorded(home, pipeline, collector):
    home.environment["TRACEPARENT"] = CALLER[:-1] + "0"
    home.command("run", f"{pipeline}:good")
    until(lambda: json.loads(home.command("notify", "list", "--json"))[0]["pending"] == 0)
    assert spans(collector) == []
    assert result(home, "good/1", "seen").endswith("-00")


def test_without_a_sink_a_task_finds_the_trace_of_the_caller_or_none(home, pipeline):
    home.environment["TRACEPARENT"] = CALLER
    home.command("run", f"{pipeline}:good")
    assert result(home, "good/1", "seen") == CALLER
    home.environment["TRACEPARENT"] = "nonsense"
    home.command("run", f"{pipeline}:good")
    assert result(home, "good/2", "seen") == ""


def test_kill_9_neither_loses_nor_doubles_a_span(home, pipeline, collector, tmp_path):
    home.environment["TRACEPARENT"] = CALLER
    home.start("run", f"{pipeline}:slow")
    wait_for(tmp_path / "started")
    collector.hold.set()
    home.kill_all()
    del home.environment["TRACEPARENT"]
    (tmp_path / "started").unlink()
    resumed = home.start("resume", "slow/1")
    wait_for(tmp_path / "started")
    (tmp_path / "go").touch()
    collector.wait(1)  # sent, and not answered: the next try sends the same
    until(lambda: "run.success" in home.command("notify", "deliveries"))
    home.kill_all()
    resumed.wait(20)
    collector.hold.clear()
    home.command("run", f"{pipeline}:good")
    until(lambda: json.loads(home.command("notify", "list", "--json"))[0]["pending"] == 0)
    all_spans = [span for span in spans(collector) if attributes(span)["clearance.run"] == "slow/1"]
    found = {(span.name, span.span_id.hex()) for span in all_spans}
    assert len(all_spans) > len(found)  # something was sent twice, under the same id
    assert sorted(name for name, _ in found) == ["slow", "waits", "waits"]
    told = result(home, "slow/1", "waits")
    assert told.split("-")[1] == CALLER.split("-")[1]
    assert told.split("-")[2] in {id for name, id in found if name == "waits"}


@pytest.mark.parametrize(
    "text",
    ["", "00", CALLER.upper(), "ff" + CALLER[2:], f"00-{'0' * 32}-00f067aa0ba902b7-01", CALLER.replace("-", "_"),
     f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", CALLER + "x"],
)  # fmt: skip
def test_a_traceparent_of_another_form_is_none(text: str):
    assert tracing.caller({"TRACEPARENT": text}) == ""


def test_a_traceparent_of_a_later_version_is_read_as_far_as_it_is_known():
    assert tracing.caller({"TRACEPARENT": f"01{CALLER[2:]}-more"}) == CALLER
