"""Flows with real processes, on both databases: no step that has ended is done twice, whoever is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.runs import Home, wait_for

PIPELINE = """
import os, pathlib, threading, time
from clearance import Defer, Retry, StepFailed, context, dag, flow, task

MARKS = pathlib.Path(os.environ["MARKS"])


def mark(name):
    with open(MARKS / "done", "a") as file:
        file.write(f"{name}\\n")


@task
def add(a: int, b: int) -> int:
    mark(f"add {a} {b}")
    return a + b


@task(isolation="process")
def far(a: int) -> int:
    mark(f"far {a}")
    while (MARKS / "hold").exists():
        time.sleep(0.01)
    if (MARKS / "fail").exists():
        raise ValueError("asked to fail")
    return a * 10


@task(retries=Retry(2, delay=0.01, on=(OSError,)))
def flaky(kind: str) -> str:
    mark(f"flaky {kind}")
    if kind == "os":
        raise OSError("again")
    raise ValueError("once")


@task
def store(n: int) -> list[int]:
    return list(range(n))


@flow
def refine(x: int) -> int:
    return add(x, 1)


@flow
def sums(n: int = 3) -> int:
    total = 0
    for number in store(n):
        total = add(total, number)
    total = refine(total)
    total = far(total)
    total += sum(far.map(a=[1, 2], concurrency=1))
    late = [far.submit(number) for number in range(3)]
    return total + sum(each.result() for each in late) + sum(add.product(a=[1, 2], b=[10, 20]))


@flow(retries=Retry(5, delay=0.01))
def long(n: int = 300) -> int:
    total = 0
    for number in range(n):
        total = add(total, number)
        if number == 50:
            (MARKS / "begun").touch()
        time.sleep(0.002)
    return total


@flow
def failing() -> str:
    try:
        flaky("os")
    except StepFailed as error:
        first = f"{error.step} {error.kind}"
    try:
        flaky("value")
    except StepFailed as error:
        return f"{first}; {error.step} {error.kind}"


@flow(retries=1)
def changing(n: int = 1) -> int:
    total = add(n, 1)
    if not (MARKS / "second").exists():
        (MARKS / "second").touch()
        raise RuntimeError("try again")
    return add(total, 1) if n == 1 else add(n, 7)


@flow(retries=1)
def drifting() -> int:
    again = (MARKS / "again").exists()
    total = add(5, 6) if again else add(1, 2)
    (MARKS / "again").touch()
    raise RuntimeError("try again")


@flow
def threads() -> int:
    found = []
    def call():
        try:
            add(1, 2)
        except Exception as error:
            found.append(str(error))
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    raise RuntimeError(found[0])


@task
def soon() -> int:
    raise Defer(seconds=0.1)


@task(isolation="process")
def later(key: str) -> str:
    if context.resumed is None:
        raise Defer(seconds=0.1)
    return key + context.resumed.kind


@flow
def waiting() -> str:
    return later("a ")


@flow
def defers() -> int:
    return soon()


@flow
def unknown() -> int:
    return add.named("other")(1, 2)
"""


class Pipeline:
    """The file above in a home, and what its tasks did."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.home = home
        self.file = folder / "flows.py"
        self.file.write_text(PIPELINE)
        self.marks = folder / "marks"
        self.marks.mkdir()
        home.environment["MARKS"] = str(self.marks)

    def run(self, flow: str, *arguments: str, expect: int = 0) -> str:
        return self.home.command("run", f"{self.file}:{flow}", *arguments, expect=expect)

    def result(self, run: str, task: str) -> object:
        return json.loads(self.home.command("artifact", "get", run, task))

    def steps(self, run: str) -> list[dict[str, object]]:
        return json.loads(self.home.command("flow", "steps", run, "--json", "--limit", "1000"))

    @property
    def done(self) -> list[str]:
        found = self.marks / "done"
        return found.read_text().splitlines() if found.exists() else []


@pytest.fixture
def pipeline(tmp_path: Path, database_url: str) -> Iterator[Pipeline]:
    home = Home(tmp_path / "home", database_url if database_url.startswith("postgresql") else "")
    yield Pipeline(home, tmp_path)
    home.kill_all()


def test_every_call_is_a_step_by_its_place(pipeline: Pipeline) -> None:
    pipeline.run("sums")
    assert pipeline.result("sums/1", "sums") == 40 + 30 + 30 + 66
    steps = pipeline.steps("sums/1")
    assert [step["path"] + step["step"] for step in steps] == [
        "store[0]", "add[0]", "add[1]", "add[2]", "refine[0]/add[3]", "far[0]", "far[1]", "far[2]",
        "far[3]", "far[4]", "far[5]", "add[4]", "add[5]", "add[6]", "add[7]",
    ]  # fmt: skip
    assert {step["state"] for step in steps} == {"success"}
    assert pipeline.result("sums/1", "far[0]") == 40
    states = pipeline.home.states("sums/1")
    assert states["far"] == states["add"] == "success"
    assert states["flaky"] == "skipped"  # the flow may call it, and did not
    checks = pipeline.home.command("artifact", "verify", "sums/1", "add[3]")
    assert "FAIL" not in checks
    assert "ok   provenance" in checks
    again = pipeline.home.command("flow", "steps", "sums/1", "--after", "13", "--limit", "1")
    assert "add[6]" in again
    assert "add[7]" not in again


def test_a_step_that_fails_is_an_error_that_the_flow_may_catch(pipeline: Pipeline) -> None:
    pipeline.run("failing")
    assert pipeline.result("failing/1", "failing") == "flaky[0] builtins.OSError; flaky[1] builtins.ValueError"
    assert pipeline.done == ["flaky os"] * 3 + ["flaky value"]
    assert [step["attempts"] for step in pipeline.steps("failing/1")] == [3, 1]
    assert pipeline.steps("failing/1")[0]["failure"]["message"] == "again"


def test_a_retry_goes_on_before_the_last_step_that_failed(pipeline: Pipeline) -> None:
    (pipeline.marks / "fail").touch()
    printed = pipeline.run("sums", expect=1)
    assert "step far[0] failed: ValueError: asked to fail" in printed
    before = pipeline.done
    assert before[-1] == "far 4"
    (pipeline.marks / "fail").unlink()
    pipeline.home.command("retry", "sums/1")
    assert pipeline.result("sums/1", "sums") == 166
    assert pipeline.done[len(before) :][0] == "far 4"
    assert len(pipeline.done) == len(before) + 6 + 4
    assert [step["step"] for step in pipeline.steps("sums/1")][5:7] == ["far[0]", "far[1]"]


def test_a_flow_goes_on_behind_its_steps_in_a_retry_of_its_own(pipeline: Pipeline) -> None:
    pipeline.run("changing")
    assert pipeline.done == ["add 1 1", "add 2 1"]
    assert pipeline.result("changing/1", "changing") == 3


def test_another_call_than_the_recorded_one_is_an_error(pipeline: Pipeline) -> None:
    printed = pipeline.run("drifting", expect=1)
    assert "step 0, add[0]: the arguments differ from what is recorded" in printed
    assert pipeline.done == ["add 1 2"]


@pytest.mark.parametrize(
    ("flow", "problem"),
    [
        ("threads", "is called in another thread than its flow's: use add.submit"),
        ("defers", "waits without a process, which a step of the flow's own process cannot"),
        ("unknown", "is not known to the flow: give it a name at the top level"),
    ],
)
def test_what_a_flow_cannot_call(pipeline: Pipeline, flow: str, problem: str) -> None:
    assert problem in pipeline.run(flow, expect=1)


def test_a_step_of_its_own_process_may_wait(pipeline: Pipeline) -> None:
    pipeline.run("waiting")
    assert pipeline.result("waiting/1", "waiting") == "a time"


def test_no_step_is_done_twice_when_the_flow_is_killed(pipeline: Pipeline) -> None:
    process = pipeline.home.start("run", f"{pipeline.file}:long")
    rng = random.Random(7)
    for _ in range(3):
        wait_for(pipeline.marks / "begun")
        time.sleep(rng.random() / 10)
        os.kill(attempt_of(pipeline.home, "long"), signal.SIGKILL)
        time.sleep(0.1)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    assert pipeline.result("long/1", "long") == sum(range(300))
    # A step is done once it is on disk; one a kill may have been cut off between its body and that.
    assert len(set(pipeline.done)) == 300
    assert len(pipeline.done) <= 303


def test_a_flow_goes_on_while_nobody_leads_and_is_taken_over(pipeline: Pipeline) -> None:
    process = pipeline.home.start("run", f"{pipeline.file}:long")
    wait_for(pipeline.marks / "begun")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    flow = attempt_of(pipeline.home, "long")
    pipeline.home.command("resume", "long/1")
    assert pipeline.result("long/1", "long") == sum(range(300))
    assert len(pipeline.done) == 300
    assert len(pipeline.steps("long/1")) == 300
    assert pipeline.home.show("long/1")["tasks"][0]["attempts"] == 1, f"{flow} was not left alone"


def test_there_is_nothing_to_resume_when_a_flow_has_succeeded(pipeline: Pipeline) -> None:
    pipeline.run("failing")
    pipeline.home.command("resume", "failing/1")
    assert "nothing to retry" in pipeline.home.command("retry", "failing/1", expect=2)
    assert pipeline.home.states("failing/1")["far"] == "skipped"
    assert len(pipeline.done) == 4


def test_a_call_is_answered_by_the_next_controller(pipeline: Pipeline) -> None:
    (pipeline.marks / "hold").touch()
    process = pipeline.home.start("run", f"{pipeline.file}:sums")
    deadline = time.monotonic() + 30
    while "far 4" not in pipeline.done:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (pipeline.marks / "hold").unlink()
    pipeline.home.command("resume", "sums/1")
    assert pipeline.result("sums/1", "sums") == 166
    assert pipeline.done.count("far 4") == 1


def test_nothing_that_ended_is_lost_when_everything_is_killed(pipeline: Pipeline) -> None:
    process = pipeline.home.start("run", f"{pipeline.file}:long")
    wait_for(pipeline.marks / "begun")
    time.sleep(0.1)
    pipeline.home.kill_all()
    process.wait()
    pipeline.home.command("resume", "long/1")
    assert pipeline.result("long/1", "long") == sum(range(300))
    assert len(set(pipeline.done)) == 300
    # While they die one after the other, whoever is left may begin the flow anew; each attempt is cut off in one step.
    assert len(pipeline.done) <= 300 + 10


def test_a_fork_goes_on_from_a_step(pipeline: Pipeline) -> None:
    pipeline.run("sums", "-p", "n=2")
    before = len(pipeline.done)
    printed = pipeline.home.command("flow", "fork", "sums/1", "--from", "far[1]", "--run-id", "forked")
    assert "run forked success" in printed
    assert pipeline.result("forked", "sums") == pipeline.result("sums/1", "sums")
    assert pipeline.done[before:][0] == "far 1"
    assert len(pipeline.done) == before + 5 + 4
    assert "FAIL" not in pipeline.home.command("artifact", "verify", "forked", "add[0]")
    refused = pipeline.home.command("flow", "fork", "sums/1", "--from", "far[17]", expect=2)
    assert "has no step 'far[17]'" in refused
    assert "no run 'other'" in pipeline.home.command("flow", "fork", "other", "--from", "far[1]", expect=2)


def attempt_of(home: Home, flow: str) -> int:
    """Returns the process of the flow's attempt: the one that holds the file of its steps open."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for pid in home.processes():
            try:
                held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            except OSError:
                continue
            if any(path.endswith(".flow") for path in held):
                return pid
        time.sleep(0.01)
    raise AssertionError(f"no process of {flow}")
