"""Tasks that wait without a process: what wakes them, what outlives a crash, and what a person may do meanwhile."""

from __future__ import annotations

import datetime
import json
import math
import time
from pathlib import Path

import pytest

from clearance.engine.base import Defined, EngineLost, Failure, Finished, Launch, Node, Snapshot, Started
from clearance.errors import Defer, LeaseLost, Refused, UsageError
from clearance.graph import model
from clearance.run import approvals
from clearance.run.controller import Controller
from clearance.run.host import lease
from clearance.run.look import views
from clearance.run.submission import Submission
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.types.principal import Principal
from clearance.types.states import TaskState
from support.postgresql import database_url as database_url
from support.runs import Home

PIPELINE = """
import os, time
from pathlib import Path
from clearance import Defer, Retry, context, dag, task

HERE = Path(os.environ["TEST_FOLDER"])

@task
def poke(pokes: int = 3, seconds: float = 0.05) -> list[int]:
    done = context.resumed.state if context.resumed else 0
    if done < pokes:
        raise Defer(seconds=seconds, state=done + 1)
    return [done, context.number, context.resumed.times]

@task
def held() -> dict[str, str]:
    if context.resumed is None:
        raise Defer("approval", details={"message": "Ship it?"})
    return context.resumed.payload

@task
def other() -> str:
    while not (HERE / "waits").exists():
        time.sleep(0.01)
    (HERE / "ran").touch()
    return "ran while the other waited"

@task
def until_file() -> str:
    (HERE / "waits").touch()
    if not (HERE / "ran").exists():
        raise Defer(seconds=0.05)
    return "seen"

@task(retries=Retry(1, delay=0.01))
def stumbles() -> list[int]:
    if context.resumed is None:
        raise Defer(seconds=0, state="kept")
    if context.number == 1:
        raise OSError("once")
    return [context.number, len(context.resumed.state)]

@task
def never() -> None:
    raise Defer(seconds=0.05, timeout=0.3)

@task
def softly() -> None:
    raise Defer(seconds=600, timeout=0.2, soft=True)

@task
def last(x: int = 1) -> int:
    if x == 1 and not (HERE / "mended").exists():
        raise ValueError("child is broken")
    return x

@task
def starts(wait: bool = True) -> dict[str, str]:
    if context.resumed is None:
        raise Defer("run", "child-of-" + context.run.replace("/", "-"),
                    details={"dag": "child", "parameters": {"x": 5}, "wait": wait})
    return context.resumed.payload

@task
def lost_run() -> None:
    raise Defer("run", "no-such-run")

@task
def unknown_dag() -> None:
    raise Defer("run", "x", details={"dag": "chidl"})

@task
def itself() -> None:
    raise Defer("run", context.run)

class Odd(Defer):
    def __init__(self, data):
        Exception.__init__(self, "odd")
        self.data = data

@task
def odd(number: int) -> None:
    raise Odd([5, {1: 2}, {"kind": object()}, {"kind": "time", "seconds": float("inf")}][number])

@dag
def odds():
    odd.map(number=[0, 1, 2, 3])

poking = dag("poking", poke)
holding = dag("holding", held >> poke)
beside = dag("beside", [until_file, other])
stumbling = dag("stumbling", stumbles)
timing = dag("timing", [never, softly])
child = dag("child", last)
parent = dag("parent", starts)
bad = dag("bad", [lost_run, unknown_dag, itself])
"""


@pytest.fixture
def pipeline(home: Home, tmp_path: Path) -> str:
    home.environment["TEST_FOLDER"] = str(tmp_path)
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE)
    return str(file)


def result(home: Home, run: str, task: str):
    return json.loads(home.command("artifact", "get", run, task))


def wait_until(home: Home, run: str, task: str, state: str) -> None:
    deadline = time.monotonic() + 30
    while home.states(run)[task] != state:
        assert time.monotonic() < deadline, f"{run} {task} never becomes {state}"


def test_a_wait_hands_its_state_on_and_uses_no_retry(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:poking", "-p", "pokes=15")
    assert result(home, "poking/1", "poke") == [15, 1, 15]


def test_a_waiting_task_holds_no_worker(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:beside", "--workers", "1")
    assert result(home, "beside/1", "until_file") == "seen"
    assert result(home, "beside/1", "other") == "ran while the other waited"


def test_a_failure_after_a_wait_is_tried_again_with_the_same_state(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:stumbling")
    assert result(home, "stumbling/1", "stumbles") == [2, 4]


def test_a_deadline_counts_from_the_first_attempt(home: Home, pipeline: str):
    printed = home.command("run", f"{pipeline}:timing", expect=1)
    assert home.states("timing/1") == {"never": "failed", "softly": "skipped"}
    assert "its timeout of 0.3 s is over" in printed


def test_nothing_runs_while_a_task_waits_and_a_kill_loses_no_wait(home: Home, pipeline: str):
    run = home.start("run", f"{pipeline}:holding")
    wait_until_exists(home, "holding/1")
    wait_until(home, "holding/1", "held", "deferred")
    home.kill_all()
    run.wait(30)
    told = json.loads(home.command("why", "holding/1", "held", "--json"))[0]
    assert told["waits"]["kind"] == "approval"
    assert "waits for the decision of anybody: Ship it?" in told["reason"]
    assert "approved by" in home.command("approve", "holding/1", "held", "--note", "good")
    home.command("resume", "holding/1")
    assert result(home, "holding/1", "held")["note"] == "good"


def wait_until_exists(home: Home, run: str) -> None:
    deadline = time.monotonic() + 30
    while f'"{run}"' not in _listed(home):
        assert time.monotonic() < deadline


def _listed(home: Home) -> str:
    if not (home.path / "clearance.db").exists():
        return ""
    process = home.start("runs", "list", "--json")
    return process.communicate(timeout=30)[0]


def test_a_cancelled_wait_asks_anew_when_it_is_retried(home: Home, pipeline: str):
    run = home.start("run", f"{pipeline}:holding")
    wait_until_exists(home, "holding/1")
    wait_until(home, "holding/1", "held", "deferred")
    home.command("cancel", "holding/1")
    assert run.wait(30) == 1
    assert home.states("holding/1") == {"held": "cancelled", "poke": "cancelled"}
    assert "asks for no decision now: it is cancelled" in home.command("approve", "holding/1", "held", expect=2)
    again = home.start("resume", "holding/1")
    wait_until(home, "holding/1", "held", "deferred")
    home.command("approve", "holding/1", "held")
    assert again.wait(30) == 0


def test_a_task_starts_a_run_once_and_waits_for_its_end(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:child", "-p", "x=2")
    home.command("run", f"{pipeline}:parent")
    assert result(home, "parent/1", "starts") == {"state": "success"}
    assert result(home, "child-of-parent-1", "last") == 5
    assert [each["id"] for each in json.loads(home.command("runs", "list", "--dag", "child", "--json"))] == [
        "child-of-parent-1", "child/1",
    ]  # fmt: skip


def test_a_wait_that_can_never_end_fails_and_says_why(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:child", "-p", "x=2")
    printed = home.command("run", f"{pipeline}:bad", expect=1)
    assert "no run 'no-such-run'" in printed
    assert "no dag 'chidl' is known here; did you mean 'child'" in printed
    assert "cannot wait for itself" in printed
    assert set(home.states("bad/1").values()) == {"failed"}


def test_a_wait_of_the_users_own_making_fails_that_task_alone(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:odds", expect=1)
    assert set(home.states("odds/1").values()) == {"failed"}
    home.command("run", f"{pipeline}:stumbling")


# -- the controller alone, on both databases, with an engine that does what the test says ------------------------------


class Engine:
    """Stands for processes, of which there are none here: launches are kept, events are what the test appends."""

    cpu = 1000

    def __init__(self) -> None:
        self.launched: list[Launch] = []
        self.events: list = []
        self.defines: list[tuple] = []
        self.snapshot = Snapshot()

    due = math.inf

    def starting(self):
        return {}

    def nodes(self):
        return [Node("here", {"cpu": self.cpu})]

    def adopt(self, epoch):
        return self.snapshot

    def observe(self):
        events, self.events = self.events, []
        return events

    def launch(self, launches):
        self.launched += launches
        self.events += [Started(each.attempt, (1,), (1,), ("here",)) for each in launches]

    def define(self, *asked):
        self.defines.append(asked)

    def prepare(self, *_): ...
    def cancel(self, *_): ...
    def acknowledge(self, *_): ...


class House:
    """A database, its lease, and the controller that leads."""

    def __init__(self, url: str, folder: Path) -> None:
        self.settings = Settings(home=folder / "home", database_url=url)
        self.settings.make_home()
        self.url = url
        self.now = 1000.0
        self.lead()

    def lead(self, left: Snapshot | None = None) -> None:
        """Another controller takes over, as after kill -9: only the rows are left, and what the engine spooled."""
        self.database = Database(self.url)
        self.database.migrate()
        epoch = lease.take(self.database, "test", self.now, 0)
        while not isinstance(epoch, int):
            self.now += 60
            epoch = lease.take(self.database, "test", self.now, 0)
        self.engine = Engine()
        self.engine.snapshot = left or Snapshot()
        self.controller = Controller(self.settings, self.database, self.engine, epoch, clock=lambda: self.now)
        self.controller.recover()

    def submit(self, *ids: str, **options) -> str:
        nodes = tuple(model.Node(id=id, function=f"m:{id}", resources={"cpu": 1000}, **options) for id in ids)
        graph = model.encode(model.Graph(dag="d", nodes=nodes))
        run, _ = self.controller.submit(Submission(graph=graph, bundle="b", module="m"))
        self.turns()
        return run

    def turns(self) -> None:
        while not self.controller.turn():
            pass
        self.controller.turn()

    def defer(self, launch: Launch, *arguments, **options) -> Finished:
        error = Defer(*arguments, **options)
        failure = Failure("clearance.errors.Defer", "", ("clearance.errors.Defer",), data=error.data)
        ended = Finished(launch.attempt, "failure", failure=failure)
        self.engine.events.append(ended)
        self.turns()
        return ended

    def end(self, launch: Launch) -> None:
        self.engine.events.append(Finished(launch.attempt, "success"))
        self.turns()

    def state(self, run: str, label: str) -> TaskState:
        instance = self.controller.runs[run].find(label)
        return instance.state if instance else TaskState(views.find(self.database, run, label)[1].state)

    @property
    def last(self) -> Launch:
        return self.engine.launched[-1]


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> House:
    made = House(database_url, tmp_path)
    yield made
    made.database.close()


def test_a_due_time_and_its_state_are_read_back(house: House):
    run = house.submit("a")
    house.defer(house.last, seconds=100, state={"n": [1]}, timeout=1000)
    assert 0 < house.controller.turn() <= 100
    house.lead()
    assert house.engine.launched == []
    house.now = 1101
    house.turns()
    assert house.last.resumed.state == {"n": [1]}
    assert (house.last.resumed.since, house.last.resumed.times, house.last.number) == (1000.0, 1, 1)
    house.defer(house.last, seconds=5000, timeout=1000)
    assert house.state(run, "a") is TaskState.DEFERRED
    house.lead()
    house.now = 2001.0
    house.turns()
    assert run not in house.controller.runs
    assert house.database.rows("instances", 1)[0][5] == "failed"


def test_the_deadline_counts_from_the_first_attempt_even_if_that_failed(house: House):
    house.submit("a", retries=model.RetryPolicy(times=2, delay=50.0, jitter=False))
    house.engine.events.append(Finished(house.last.attempt, "failure", failure=Failure("builtins.OSError", "no")))
    house.turns()
    house.now = 1100.0
    house.turns()
    house.defer(house.last, seconds=500, timeout=200)
    assert house.controller.turn() == pytest.approx(10, abs=10)
    house.now = 1199.0
    house.turns()
    assert house.database.rows("instances", 1)[0][5] == "deferred"
    house.now = 1201.0
    house.turns()
    assert house.database.rows("instances", 1)[0][5] == "failed"


def test_the_slot_is_free_while_a_task_waits(house: House):
    house.submit("a", "b")
    assert [each.task for each in house.engine.launched] == ["a"]
    house.defer(house.last, "asset", "s3://bucket/x#2026")
    assert [each.task for each in house.engine.launched] == ["a", "b"]


def test_instances_of_a_map_wait_each_for_itself_and_the_node_for_all(house: House):
    run = house.submit("a", mapped={"x": model.Value([1, 2, 3])})
    for _ in range(3):
        house.defer(house.last, "approval", details={"message": "?"})
    assert {house.state(run, f"a[{index}]") for index in range(3)} == {TaskState.DEFERRED}
    with pytest.raises(UsageError, match="a asks for no decision now: it is deferred"):
        house.controller.approvals.decide(run, "a", "approved", Principal("mia"), "")
    house.lead()
    house.controller.approvals.decide(run, "a[1]", "approved", Principal("mia"), "")
    house.turns()
    assert (house.last.instance, house.last.resumed.payload["by"]) == (1, "mia")
    house.end(house.last)
    assert house.state(run, "a[1]") is TaskState.SUCCESS
    assert house.state(run, "a") is TaskState.DEFERRED
    house.controller.cancel(run)
    house.turns()
    assert run not in house.controller.runs


def test_waits_that_are_over_are_let_go(house: House):
    house.submit("a")
    for number in range(300):
        house.defer(house.last, "asset", "s3://lake/x", seconds=10_000 + number)
        house.controller.wake_deferred("asset", "s3://lake/x", {})
        house.turns()
    assert len(house.controller.deferrals._due) <= 130


def test_an_event_wakes_whoever_waits_for_that_key_alone_even_after_a_crash(house: House):
    house.submit("a")
    house.defer(house.last, "asset", "s3://lake/x#1")
    assert house.controller.wake_deferred("asset", "s3://lake/x#2", {}) == 0
    house.lead()
    assert house.controller.wake_deferred("asset", "s3://lake/x#1", {"event": 7}) == 1
    assert house.controller.wake_deferred("asset", "s3://lake/x#1", {"event": 8}) == 0
    house.turns()
    assert house.last.resumed.payload == {"event": 7}
    house.lead()  # the woken attempt is lost with its engine
    house.turns()
    assert house.last.resumed.payload == {"event": 7}


def test_what_happened_before_the_wait_began_is_not_lost(house: House):
    house.controller.deferrals.already["asset"] = lambda _, row: {"event": 3} if row.key == "early" else None
    house.submit("a")
    house.defer(house.last, "asset", "early")
    assert house.last.resumed.payload == {"event": 3}


def test_a_wait_that_was_evicted_often_is_not_taken_for_a_lost_task(house: House):
    run = house.submit("a")
    for _ in range(30):
        house.defer(house.last, seconds=0)
        house.turns()
    house.engine.events.append(Finished(house.last.attempt, "evicted"))
    house.turns()
    assert house.state(run, "a") in (TaskState.QUEUED, TaskState.RUNNING)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "tiem"},
        {"kind": "time"},
        {"kind": "asset"},
        {"kind": "time", "seconds": float("nan")},
        {"kind": "time", "seconds": "soon"},
        {"kind": "approval", "details": {"approvers": 5}},
        {"kind": "approval", "details": {"approvers": "mia"}},
        {"kind": "run", "key": "x", "details": {"dag": ["d"]}},
        {"kind": "run", "key": "../x", "details": {"dag": "d"}},
    ],
)
def test_nonsense_from_a_task_fails_that_task_and_not_the_controller(house: House, data):
    run = house.submit("a")
    failure = Failure("m.Own", "", ("m.Own", "clearance.errors.Defer"), data=data)
    house.engine.events.append(Finished(house.last.attempt, "failure", failure=failure))
    house.turns()
    if house.engine.defines:
        graph = model.encode(model.Graph(dag="d", nodes=(model.Node(id="z", function="m:z"),)))
        house.engine.events.append(Defined(house.engine.defines[0][0], graph))
        house.turns()
    assert run not in house.controller.runs
    assert house.database.rows("instances", 1)[0][5] == "failed"


def test_the_end_of_a_run_wakes_whoever_waits_for_it(house: House):
    first = house.submit("a")
    house.defer(house.last, "asset", "s3://lake/x")
    second = house.submit("b")
    house.defer(house.last, "run", first)
    assert house.state(second, "b") is TaskState.DEFERRED
    house.controller.wake_deferred("asset", "s3://lake/x", {})
    house.turns()
    house.end(house.last)
    assert first not in house.controller.runs
    assert house.last.task == "b"
    assert house.last.resumed.payload == {"state": "success"}


def test_a_run_that_has_ended_already_is_not_waited_for(house: House):
    first = house.submit("a")
    house.end(house.last)
    house.submit("b")
    house.defer(house.last, "run", first)
    assert house.last.resumed.payload == {"state": "success"}


WANTED = {"dag": "d", "parameters": {"x": 1}}
GRAPH = model.encode(model.Graph(dag="d", nodes=(model.Node(id="z", function="m:z"),)))


def test_a_run_that_a_task_asks_for_is_defined_again_after_a_crash_and_started_once(house: House):
    first = house.submit("a")
    house.end(house.last)
    second = house.submit("b")
    asks = house.defer(house.last, "run", "wanted", details=WANTED)
    assert len(house.engine.defines) == 1
    assert house.state(second, "b") is TaskState.RUNNING
    house.lead(Snapshot(finished=(asks,)))
    house.turns()
    ((token, bundle, target, parameters),) = house.engine.defines
    assert (bundle, target, parameters) == ("b", "m:d", {"x": 1})
    house.engine.events += [Defined(token, GRAPH), Defined(token, GRAPH)]
    house.turns()
    assert "wanted" in house.controller.runs
    house.lead()
    house.turns()
    assert house.engine.defines == []
    house.engine.events.append(Finished(house.controller.runs["wanted"].find("z").attempt, "success"))
    house.turns()
    house.turns()
    assert house.last.resumed.payload == {"state": "success"}
    assert {first, second, "wanted"} == {row[0] for row in house.database.rows("run_ids")}


def test_a_task_that_is_cancelled_while_its_run_is_defined_starts_none(house: House):
    run = house.submit("a")
    house.defer(house.last, "run", "wanted", details=WANTED)
    house.controller.cancel(run)
    house.engine.events.append(Defined(house.engine.defines[0][0], GRAPH))
    house.turns()
    assert house.database.rows("instances", 1)[0][5] == "cancelled"
    assert [row[0] for row in house.database.rows("run_ids")] == [run]


def test_an_engine_that_dies_while_a_run_is_defined_is_asked_again(house: House):
    run = house.submit("a")
    house.engine.snapshot = Snapshot(finished=(house.defer(house.last, "run", "wanted", details=WANTED),))
    house.engine.events.append(EngineLost("killed"))
    house.turns()
    first, second = house.engine.defines
    assert first == second
    assert house.state(run, "a") is TaskState.RUNNING
    house.engine.events.append(Defined(second[0], GRAPH))
    house.turns()
    assert house.state(run, "a") is TaskState.DEFERRED
    assert "wanted" in house.controller.runs


def test_two_tasks_that_ask_for_the_same_run_at_once_start_one(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Engine, "cpu", 2000)
    house.lead()
    run = house.submit("a", "b")
    for launch in list(house.engine.launched):
        house.defer(launch, "run", "wanted", details=WANTED)
    house.engine.events += [Defined(token, GRAPH) for token, *_ in house.engine.defines]
    house.turns()
    assert len(house.engine.defines) == 2
    assert {house.state(run, "a"), house.state(run, "b")} == {TaskState.DEFERRED}
    assert [row[0] for row in house.database.rows("run_ids")].count("wanted") == 1


def test_a_decision_is_a_row_an_event_and_a_result(house: House):
    run = house.submit("a")
    mia, leo = Principal("mia", ("leads",)), Principal("leo")
    decide = house.controller.approvals.decide
    with pytest.raises(UsageError, match="asks for no decision now"):
        decide(run, "a", "approved", mia, "")
    house.defer(house.last, "approval", details={"approvers": ["ana", "group:leads"], "message": "ship?"})
    with pytest.raises(Refused, match="asks ana or group:leads, not leo"):
        decide(run, "a", "approved", leo, "")
    with pytest.raises(UsageError, match="no task 'b'"):
        decide(run, "b", "approved", mia, "")
    told = decide(run, "a", "approved", mia, "fine")
    assert told["changed"]
    assert decide(run, "a", "approved", leo, "") == told | {"changed": False}
    with pytest.raises(UsageError, match="was approved by mia"):
        decide(run, "a", "rejected", mia, "")
    house.turns()
    assert house.last.resumed.payload["by"] == "mia"
    house.end(house.last)
    assert decide(run, "a", "approved", mia, "")["changed"] is False
    ((_, decision, principal, note, _),) = house.database.rows("approvals", 1, 0)
    assert (decision, principal, note) == ("approved", "mia", "fine")
    kinds = [event[4] for event in house.database.rows("events_after", 1, 0)]
    assert kinds.index("approved") > kinds.index("deferred")


def test_a_controller_that_was_replaced_decides_nothing(house: House):
    run = house.submit("a")
    house.defer(house.last, "approval")
    old, old_database = house.controller, house.database
    house.lead()
    old.approvals.decide(run, "a", "approved", Principal("mia"), "")
    with pytest.raises(LeaseLost):
        old.turn()
    old_database.close()
    assert house.database.rows("approvals", 1, 0) == []
    assert house.state(run, "a") is TaskState.DEFERRED


def test_approvers_are_names_or_groups():
    approvals.check("x", [], Principal("leo"))
    approvals.check("x", ["leo"], Principal("leo"))
    approvals.check("x", ["group:a"], Principal("leo", ("a",)))
    with pytest.raises(Refused):
        approvals.check("x", ["a"], Principal("leo", ("a",)))


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("tiem",), {"seconds": 1}, "did you mean 'time'"),
        (("time",), {}, "needs seconds"),
        (("run",), {}, "need a key"),
        (("approval", "x"), {}, "need a key, the others have none"),
        ((), {"seconds": -1}, "from 0 to 1e10"),
        ((), {"seconds": float("nan")}, "from 0 to 1e10"),
        ((), {"seconds": 1, "state": object()}, "what JSON can hold"),
        ((), {"seconds": 1, "state": "x" * 70_000}, "more than 65536"),
        ((), {"until": datetime.datetime(2030, 1, 1)}, "give it a time zone"),
    ],
)
def test_a_wait_that_is_none_is_refused_where_it_is_raised(arguments, options, says):
    with pytest.raises(UsageError, match=says):
        Defer(*arguments, **options)


def test_a_task_that_looks_often_keeps_the_rows_of_its_last_looks(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:poking", "-p", "pokes=25", "-p", "seconds=0.001")
    assert json.loads(home.command("artifact", "get", "poking/1", "poke")) == [25, 1, 25]
    with Database(f"sqlite:///{home.path}/clearance.db", read_only=True) as database:
        found = [(row[2], row[3]) for row in database.rows("attempts_of", 1, 0)]
    assert found == [*((epoch, "deferred") for epoch in range(16, 26)), (26, "success")]
    (task,) = home.show("poking/1")["tasks"]
    assert task["attempts"] == 1
