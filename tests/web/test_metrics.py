"""`/metrics` of the real server, read by Prometheus' own parser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from support.runs import Home
from support.serving_api import serve
from support.sinks import receiver

PIPELINE = """
from clearance import dag, task

@task
def works() -> int:
    return 1

@task(retries=1)
def fails() -> int:
    raise ValueError("no")

good = dag("good", works)
bad = dag("bad", fails)
"""


@pytest.fixture
def client(home: Home, tmp_path: Path) -> Iterator[httpx.Client]:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    home.environment["SCRAPE"] = "only-for-the-scraper"
    home.environment["CLEARANCE_METRICS_TOKEN"] = "env:SCRAPE"
    with receiver() as hook:
        home.environment["CLEARANCE_NOTIFY"] = json.dumps([{"name": "hook", "kind": "webhook", "url": hook.url}])
        with serve(home, "--workers", "2") as client:
            yield client


def samples(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Returns each value by its name and the values of its labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    found = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


def test_what_has_run_is_counted_and_parsed_by_prometheus(home: Home, client: httpx.Client, tmp_path: Path):
    home.command("run", f"{tmp_path / 'pipeline.py'}:good")
    home.command("run", f"{tmp_path / 'pipeline.py'}:bad", expect=1)
    deadline = time.monotonic() + 20
    while (found := samples(client)).get(("clearance_deliveries", "hook", "delivered")) != 1:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    assert found["clearance_controller_up",] == 1
    assert found["clearance_runs", "success"] == 1
    assert found["clearance_runs", "failed"] == 1
    assert found["clearance_runs_finished_total", "failed"] == 1
    assert found["clearance_task_transitions_total", "up_for_retry"] == 1
    assert found["clearance_task_transitions_total", "queued"] == 3
    assert found["clearance_tasks", "running"] == 0
    assert found["clearance_queue_depth",] == 0
    assert found["clearance_scheduling_latency_seconds_count",] == 3
    assert found["clearance_scheduling_latency_seconds_bucket", "+Inf"] == 3
    assert found["clearance_attempt_duration_seconds_count", "success"] == 1
    assert found["clearance_attempt_duration_seconds_count", "up_for_retry"] == 1
    assert found["clearance_attempt_duration_seconds_count", "failed"] == 1
    assert 0 < found["clearance_attempt_duration_seconds_sum", "success"] < 20
    assert found["clearance_deliveries_finished_total", "hook", "delivered"] == 1
    assert 0 < found["clearance_lease_remaining_seconds",] <= 15
    (capacity,) = [value for key, value in found.items() if key[0] == "clearance_engine_capacity" and key[2] == "cpu"]
    assert capacity == 2


def test_the_text_is_openmetrics_where_the_scraper_asks_for_it(client: httpx.Client):
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {"clearance_runs", "clearance_scheduling_latency_seconds"} <= {
        family.name for family in openmetrics.text_string_to_metric_families(answer.text)
    }


def test_the_token_of_the_scraper_reads_metrics_and_nothing_else(client: httpx.Client):
    scraper = {"Authorization": "Bearer only-for-the-scraper"}
    assert client.get("/metrics", headers=scraper).status_code == 200
    assert client.get("/api/v1/runs", headers=scraper).status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer no"}).status_code == 401
    assert client.get("/metrics", headers={"Authorization": ""}).status_code == 401


def test_no_label_names_a_run_or_a_task(home: Home, client: httpx.Client, tmp_path: Path):
    home.command("run", f"{tmp_path / 'pipeline.py'}:good")
    text = client.get("/metrics").text
    assert "good" not in text
    assert "works" not in text


def test_a_metrics_token_by_value_is_refused_without_repeating_it(home: Home):
    home.environment["CLEARANCE_METRICS_TOKEN"] = "my-own-scrape-token"
    printed = home.command("up", expect=2)
    assert "by reference" in printed
    assert "my-own" not in printed
