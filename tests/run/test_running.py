"""Whole runs with the real command, engine and database."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from support.runs import Home, wait_for

PIPELINE = """
import os, time
from pathlib import Path
from clearance import Retry, Skip, context, dag, task

HERE = Path(os.environ["TEST_FOLDER"])

def mark(name):
    with open(HERE / "log", "a") as file:
        file.write(name + "\\n")

@task
def one(x: int = 1) -> int:
    mark("one")
    print("said by one")
    return x

@task
def two(x: int) -> int:
    mark("two")
    return x + 1

plain = dag("plain", one >> two)

@task
def numbers(n: int) -> list[int]:
    return list(range(n))

@task
def square(x: int, plus: int = 0) -> int:
    return x * x + plus

@task
def total(xs: list[int]) -> int:
    return sum(xs)

@dag
def mapped(n: int = 4):
    total(square.map(x=numbers(n)))

@dag
def literal():
    total(square.partial(plus=1).map(x=[1, 2, 3]))

@task(retries=Retry(2, delay=0.01, on=(OSError,)))
def flaky() -> str:
    mark("flaky")
    if context.number < 3:
        raise FileNotFoundError("not yet")
    return f"attempt {context.number}"

again = dag("again", flaky)

@task
def broken() -> int:
    mark("broken")
    if not (HERE / "mended").exists():
        raise ValueError("it is broken")
    return 7

failing = dag("failing", one >> broken >> two)

@task(gang=2)
def pair() -> int:
    (HERE / f"rank{context.rank}").write_text(f"{context.size} {os.getpid()}")
    return context.rank + 40

gang = dag("gang", pair)

@task(gang=50)
def crowd() -> int:
    return 1

too_big = dag("too_big", crowd)

@task
def slow() -> int:
    (HERE / "writing").write_text(str(os.getpid()))
    (HERE / "writing").rename(HERE / "slow")
    while not (HERE / "go").exists():
        time.sleep(0.01)
    mark("slow")
    return 1

waiting = dag("waiting", slow >> two)

@task(timeout=0.3)
def late() -> int:
    time.sleep(60)

timed = dag("timed", late)

@task
def nothing() -> int:
    raise Skip("there is nothing to do")

@task(trigger_rule="one_failed")
def alarm() -> str:
    return "rang"

@task(trigger_rule="all_done")
def clean(x: int | None = None) -> str:
    return f"cleaned {x}"

skipping = dag("skipping", nothing >> two)
alarming = dag("alarming", broken >> alarm)
cleaning = dag("cleaning", broken >> clean)
"""


@pytest.fixture
def pipeline(home: Home, tmp_path: Path) -> str:
    home.environment["TEST_FOLDER"] = str(tmp_path)
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE)
    return str(file)


def result(home: Home, run: str, task: str):
    return json.loads(home.command("artifact", "get", run, task))


def marks(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().split()


def test_a_chain_passes_its_values_on(home: Home, pipeline: str):
    printed = home.command("run", f"{pipeline}:plain", "-p", "x=41")
    assert "run plain/1 success" in printed
    assert result(home, "plain/1", "two") == 42
    assert home.command("logs", "plain/1", "one") == "said by one\n"
    assert home.processes() == {}


def test_runs_are_numbered_by_dag(home: Home, pipeline: str):
    for number in (1, 2):
        assert f"run plain/{number} success" in home.command("run", f"{pipeline}:plain")


def test_mapping_over_a_result(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:mapped", "-p", "n=5")
    assert result(home, "mapped/1", "total") == 30
    assert home.states("mapped/1")["square[4]"] == "success"


def test_mapping_over_nothing_gives_an_empty_list(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:mapped", "-p", "n=0")
    assert result(home, "mapped/1", "total") == 0


def test_mapping_over_a_constant_with_a_fixed_argument(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:literal")
    assert result(home, "literal/1", "total") == 17


def test_a_failure_that_the_policy_names_is_tried_again(home: Home, pipeline: str, tmp_path: Path):
    home.command("run", f"{pipeline}:again")
    assert result(home, "again/1", "flaky") == "attempt 3"
    assert marks(tmp_path) == ["flaky"] * 3


def test_a_failed_run_exits_1_and_retry_does_only_what_failed(home: Home, pipeline: str, tmp_path: Path):
    printed = home.command("run", f"{pipeline}:failing", expect=1)
    assert "it is broken" in printed
    log = home.command("logs", "failing/1", "broken")
    assert log.splitlines()[-1] == "ValueError: it is broken"
    assert "pipeline.py" in log
    assert home.states("failing/1") == {"one": "success", "broken": "failed", "two": "upstream_failed"}
    (tmp_path / "mended").touch()
    home.command("retry", "failing/1")
    assert home.states("failing/1") == {"one": "success", "broken": "success", "two": "success"}
    assert marks(tmp_path) == ["one", "broken", "broken", "two"]
    assert "nothing to retry" in home.command("retry", "failing/1", expect=2)


def test_the_same_run_id_goes_on_and_other_parameters_are_refused(home: Home, pipeline: str, tmp_path: Path):
    home.command("run", f"{pipeline}:failing", "--run-id", "mine", expect=1)
    (tmp_path / "mended").touch()
    home.command("run", f"{pipeline}:failing", "--run-id", "mine")
    home.command("run", f"{pipeline}:failing", "--run-id", "mine")
    assert marks(tmp_path) == ["one", "broken", "broken", "two"]
    refused = home.command("run", f"{pipeline}:failing", "--run-id", "mine", "-p", "one.x=2", expect=2)
    assert "exists with other code or parameters" in refused


def test_a_gang_is_two_processes_that_know_their_rank(home: Home, pipeline: str, tmp_path: Path):
    home.command("run", f"{pipeline}:gang", "--workers", "2")
    ranks = [(tmp_path / f"rank{rank}").read_text().split() for rank in (0, 1)]
    assert [size for size, _ in ranks] == ["2", "2"]
    assert ranks[0][1] != ranks[1][1]
    assert result(home, "gang/1", "pair") == 40


def test_what_can_never_fit_is_refused_with_its_reason(home: Home, pipeline: str):
    printed = home.command("run", f"{pipeline}:too_big", "--workers", "2", expect=3)
    assert "is all that the whole cluster has" in printed
    why = home.command("why", "too_big/1", "crowd")
    assert "capacity: denied" in why
    assert "room for 2 of 50" in why


def test_a_task_that_skips_itself_skips_what_follows_and_the_run_succeeds(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:skipping")
    assert home.states("skipping/1") == {"nothing": "skipped", "two": "skipped"}


def test_trigger_rules_run_a_task_after_a_failure(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:alarming")
    assert result(home, "alarming/1", "alarm") == "rang"
    home.command("run", f"{pipeline}:cleaning")
    assert result(home, "cleaning/1", "clean") == "cleaned None"


def test_a_timeout_is_a_failure_with_its_name(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:timed", expect=1)
    (task,) = home.show("timed/1")["tasks"]
    assert task["failure"]["kind"] == "timeout"


def test_a_wrong_graph_runs_nothing_and_exits_2(home: Home, tmp_path: Path):
    file = tmp_path / "bad.py"
    file.write_text(
        "from clearance import dag, task\n@task\ndef a() -> int: ...\n@task\ndef b(x: str) -> int: ...\n"
        'bad = dag("bad", a >> b)\n'
    )
    printed = home.command("run", str(file), expect=2)
    assert "bad.py" in printed
    assert "int" in printed
    assert "str" in printed
    assert "Traceback" not in printed
    assert home.processes() == {}


def test_a_second_run_submits_to_the_one_that_leads(home: Home, pipeline: str, tmp_path: Path):
    first = home.start("run", f"{pipeline}:waiting", "--workers", "2")
    wait_for(tmp_path / "slow")
    assert "run plain/1 success" in home.command("run", f"{pipeline}:plain")
    (tmp_path / "go").touch()
    printed, _ = first.communicate(timeout=60)
    assert first.returncode == 0, printed


def test_a_waiting_task_says_who_holds_what_it_needs(home: Home, pipeline: str, tmp_path: Path):
    first = home.start("run", f"{pipeline}:waiting", "--workers", "1")
    wait_for(tmp_path / "slow")
    second = home.start("run", f"{pipeline}:plain")
    wait_for_state(home, "plain/1", "awaiting_clearance")
    why = home.command("why", "plain/1", "one")
    assert "held" in why
    assert "waiting/1 slow" in why
    (tmp_path / "go").touch()
    for process in (first, second):
        assert process.wait(60) == 0


def test_a_cancelled_run_ends_its_processes_and_can_be_resumed(home: Home, pipeline: str, tmp_path: Path):
    process = home.start("run", f"{pipeline}:waiting")
    wait_for(tmp_path / "slow")
    home.command("cancel", "waiting/1")
    assert process.wait(60) == 1
    assert home.show("waiting/1")["state"] == "cancelled"
    (tmp_path / "go").touch()
    home.command("resume", "waiting/1")
    assert home.states("waiting/1") == {"slow": "success", "two": "success"}


def test_ctrl_c_cancels_the_run_and_leaves_nothing(home: Home, pipeline: str, tmp_path: Path):
    process = home.start("run", f"{pipeline}:waiting")
    wait_for(tmp_path / "slow")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    assert home.show("waiting/1")["state"] == "cancelled"
    assert home.processes() == {}


def test_kill_9_of_the_controller_redoes_nothing(home: Home, pipeline: str, tmp_path: Path):
    process = home.start("run", f"{pipeline}:waiting")
    wait_for(tmp_path / "slow")
    pid = int((tmp_path / "slow").read_text())
    process.kill()
    process.wait()
    os.kill(pid, 0)
    resumed = home.start("resume", "waiting/1")
    (tmp_path / "go").touch()
    printed, _ = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, printed
    assert marks(tmp_path) == ["slow", "two"]


def test_a_result_that_came_while_nobody_led_is_taken(home: Home, pipeline: str, tmp_path: Path):
    process = home.start("run", f"{pipeline}:waiting")
    wait_for(tmp_path / "slow")
    process.kill()
    process.wait()
    (tmp_path / "go").touch()
    wait_for(tmp_path / "log")
    home.command("resume", "waiting/1")
    assert marks(tmp_path) == ["slow", "two"]


def test_kill_9_of_everything_redoes_only_what_ran(home: Home, pipeline: str, tmp_path: Path):
    home.start("run", f"{pipeline}:waiting")
    wait_for(tmp_path / "slow")
    home.kill_all()
    (tmp_path / "go").touch()
    home.command("resume", "waiting/1")
    assert marks(tmp_path) == ["slow", "two"]
    (slow, _) = home.show("waiting/1")["tasks"]
    assert slow["attempts"] == 1, "a lost attempt uses no retry"


def test_a_follower_takes_the_lead_when_the_leader_dies(home: Home, pipeline: str, tmp_path: Path):
    leader = home.start("run", f"{pipeline}:plain", "--run-id", "first")
    assert leader.wait(60) == 0
    leader = home.start("run", f"{pipeline}:waiting", "--workers", "1")
    wait_for(tmp_path / "slow")
    follower = home.start("run", f"{pipeline}:plain", "--run-id", "second")
    wait_for_state(home, "second", "awaiting_clearance")
    leader.kill()
    leader.wait()
    (tmp_path / "go").touch()
    assert follower.wait(60) == 0
    assert home.show("second")["state"] == "success"


def wait_for_state(home: Home, run: str, state: str) -> None:
    import sqlite3
    import time

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        connection = sqlite3.connect(f"file:{home.path / 'clearance.db'}?mode=ro", uri=True)
        found = connection.execute(
            "SELECT count(*) FROM instance JOIN run ON run.number = instance.run WHERE id = ? AND instance.state = ?",
            (run, state),
        ).fetchone()[0]
        connection.close()
        if found:
            return
        time.sleep(0.01)
    raise AssertionError(f"no task of {run} is {state}")
