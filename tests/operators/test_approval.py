"""A person decides, by command, while nothing runs."""

from __future__ import annotations

import time

import pytest

from clearance.errors import GraphError
from clearance.operators import approval
from clearance.types.principal import local_principal

PIPELINE = """
@task
def metrics() -> float:
    return 0.97

@task
def ship(decision: dict[str, str]) -> str:
    return f"shipped with {decision['note']}"

@dag
def main():
    ship(approval("release", message=metrics(), approvers=[APPROVER]))

skipping = dag("skipping", approval("release", on_reject="skip"))
timed = dag("timed", approval("release", timeout=0.2))
softly = dag("softly", approval("release", timeout=0.2, soft_fail=True))
"""


def waiting(bench, run: str):
    deadline = time.monotonic() + 30
    while "deferred" not in bench.home.start("why", run, "release").communicate()[0]:
        assert time.monotonic() < deadline


def start(bench, dag: str, approver: str = ""):
    file = bench.write(f"APPROVER = {approver or local_principal().name!r}\n{PIPELINE}")
    process = bench.home.start("run", f"{file}:{dag}")
    waiting(bench, f"{dag}/1")
    return process


def test_what_is_approved_goes_on_with_the_decision(bench):
    run = start(bench, "main")
    why = bench.home.command("why", "main/1", "release")
    assert f"waits for the decision of {local_principal().name}: 0.97" in why
    assert bench.home.command("approve", "main/1", "release", "--note", "a look") == (
        f"main/1 release is approved by {local_principal().name}\n"
    )
    assert run.wait(30) == 0
    assert "already" in bench.home.command("approve", "main/1", "release")
    assert "was approved by" in bench.home.command("reject", "main/1", "release", "--reason", "no", expect=2)
    assert bench.result("ship") == "shipped with a look"


def test_what_is_rejected_fails_with_the_reason_and_a_retry_asks_anew(bench):
    run = start(bench, "main")
    bench.home.command("reject", "main/1", "release", "--reason", "too slow")
    assert run.wait(30) == 1
    assert bench.states()["release"] == "failed"
    assert f"rejected by {local_principal().name}: too slow" in bench.log("release")
    again = bench.home.start("retry", "main/1")
    waiting(bench, "main/1")
    bench.home.command("approve", "main/1", "release", "--note", "now")
    assert again.wait(30) == 0
    assert bench.result("ship") == "shipped with now"


def test_somebody_else_is_refused_and_the_task_waits_on(bench):
    run = start(bench, "main", "nobody-of-this-name")
    refused = bench.home.command("approve", "main/1", "release", expect=3)
    assert "asks nobody-of-this-name, not" in refused
    waiting(bench, "main/1")
    bench.home.command("cancel", "main/1")
    assert run.wait(30) == 1


def test_a_rejection_may_skip_and_silence_ends_at_the_timeout(bench):
    run = start(bench, "skipping")
    bench.home.command("reject", "skipping/1", "release", "--reason", "not today")
    assert run.wait(30) == 0
    assert bench.states("skipping/1") == {"release": "skipped"}
    file = str(bench.folder / "pipeline.py")
    bench.home.command("run", f"{file}:timed", expect=1)
    bench.home.command("run", f"{file}:softly")
    assert bench.states("timed/1") == {"release": "failed"}
    assert bench.states("softly/1") == {"release": "skipped"}


def test_a_decision_needs_somebody_to_lead_only_for_a_moment(bench):
    run = start(bench, "main")
    bench.home.kill_all()
    run.wait(30)
    bench.home.command("approve", "main/1", "release", "--note", "alone")
    deadline = time.monotonic() + 30
    while bench.home.show("main/1")["state"] != "success":
        assert time.monotonic() < deadline
    assert bench.result("ship") == "shipped with alone"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"approvers": "mia"}, "a list of names"),
        ({"approvers": [1]}, "a list of names"),
        ({"on_reject": "stop"}, "use one of fail, skip"),
        ({"timeout": "soon"}, "timeout is 'soon'"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(options, says):
    with pytest.raises(GraphError, match=says):
        approval("x", **options)
