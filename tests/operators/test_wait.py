"""Tasks that wait for events of assets, with the real command."""

from __future__ import annotations

import json
import time

import pytest

from clearance.errors import GraphError
from clearance.graph.asset import asset
from clearance.operators import wait_for

PIPELINE = """
from clearance import asset
A = asset("s3://lake/a")

@task
def after(event: dict[str, Any]) -> str:
    return f"{event['asset']} {event['key']}"

@task
def quick() -> int:
    return 1

@task
def name() -> str:
    return "eu"

@task(outlets=[A])
def write() -> int:
    return 1

main = dag("main", wait_for(A) >> after)
keyed = dag("keyed", wait_for(A, "eu", timeout="30s") >> after)
short = dag("short", wait_for(A, "us", timeout=0.3) >> after)
soft = dag("soft", wait_for(A, "us", timeout=0.3, soft_fail=True))
other = dag("other", quick)
writing = dag("writing", write)

@dag
def bound():
    after(wait_for(A, name()))
"""
HEAD = "from typing import Any\n"


def deferred(bench, run: str) -> None:
    deadline = time.monotonic() + 30
    while "deferred" not in bench.home.start("runs", "list").communicate(timeout=30)[0]:
        assert time.monotonic() < deadline, run
        time.sleep(0.02)


def test_it_holds_no_worker_while_it_waits_and_goes_on_with_the_event(bench):
    file = bench.write(HEAD + PIPELINE)
    waiting = bench.home.start("run", f"{file}:main", "--workers", "1")
    deferred(bench, "main/1")
    assert "run other/1 success" in bench.home.command("run", f"{file}:other")
    assert "waits for an event of asset s3://lake/a" in bench.home.command("why", "main/1", "wait_for_a")
    bench.home.command("run", f"{file}:writing")
    assert waiting.wait(60) == 0
    assert bench.result("after") == "s3://lake/a None"
    assert bench.result("wait_for_a")["event"] == 1


def test_a_partition_that_was_written_before_ends_the_wait_at_once(bench):
    file = bench.write(HEAD + PIPELINE)
    bench.home.command("asset", "emit", "s3://lake/a", "--key", "us")
    bench.home.command("asset", "emit", "s3://lake/a", "--key", "eu")
    bench.home.command("run", f"{file}:keyed")
    assert bench.result("wait_for_a", "keyed/1")["event"] == 2
    bench.home.command("run", f"{file}:bound")
    assert bench.result("after", "bound/1") == "s3://lake/a eu"


def test_a_wait_outlives_kill_9_and_an_event_that_comes_while_nobody_leads(bench):
    file = bench.write(HEAD + PIPELINE)
    bench.home.start("run", f"{file}:main")
    deferred(bench, "main/1")
    bench.home.kill_all()
    assert "started nothing" in bench.home.command("asset", "emit", "s3://lake/a")
    bench.home.command("resume", "main/1")
    assert bench.result("after") == "s3://lake/a None"


def test_a_timeout_fails_the_task_or_skips_it(bench):
    file = bench.write(HEAD + PIPELINE)
    bench.home.command("run", f"{file}:short", expect=1)
    assert bench.states("short/1") == {"wait_for_a": "failed", "after": "upstream_failed"}
    bench.home.command("run", f"{file}:soft")
    assert bench.states("soft/1") == {"wait_for_a": "skipped"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("s3://x/a",), "write wait_for"), ((asset("s3://x/a"), ""), "the key is ''"), ((asset("s3://x/a"), 3), "is 3")],
)
def test_what_is_wrong_is_refused(arguments, told):
    with pytest.raises(GraphError, match=told):
        wait_for(*arguments)


def test_the_graph_shows_what_it_waits_for(bench):
    shown = json.loads(bench.home.command("dag", "show", f"{bench.write(HEAD + PIPELINE)}:keyed", "--json"))
    inputs = {name: each["value"] for name, each in shown["nodes"][0]["inputs"].items()}
    assert inputs == {"asset": "s3://lake/a", "key": "eu", "since": None, "timeout": 30.0, "soft": False}
