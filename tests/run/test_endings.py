"""What runs when something has ended: teardowns, handlers, deadlines; and conditions, through the real controller.

On both databases. Attempts end as a function says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clearance.engine.base import Finished, Launch
from clearance.errors import UsageError
from clearance.graph.model import Ended, Graph, Node, Result, RetryPolicy, Value
from clearance.graph.predicate import Compare
from clearance.run import rows
from clearance.run.look import views
from clearance.store.database import Database
from clearance.types.artifact import Artifact, Literal
from clearance.types.digest import digest_of
from support.instant import InstantEngine, failed, lead, submit, succeeded, until_idle

OVER = Compare(Result("best", ("score",)), ">", Value(0.9))


@pytest.fixture
def database(database_url: str):
    with Database(database_url) as opened:
        opened.migrate()
        yield opened


def says(value: object, serializer: str = "json") -> Callable[[Launch], Finished]:
    data = json.dumps(value).encode()
    artifact = Artifact(digest_of(data), len(data), serializer, type(value).__name__, data)
    return lambda launch: Finished(launch.attempt, "success", artifact)


def ends(**how: Callable[[Launch], Finished]) -> Callable[[Launch], Finished]:
    return lambda launch: how.get(launch.task.replace(".", "_"), succeeded)(launch)


def states(database: Database, run: str) -> dict[str, str]:
    found = rows.run_row(database, run)
    assert found is not None
    return {each.label: each.state for each in rows.instance_rows(database, found.number)}


def node(id: str, *upstream: str, **more) -> Node:
    return Node(id=id, function=f"m:{id}", upstream=upstream, resources={"cpu": 1000}, **more)


GATED = Graph(
    dag="d", nodes=(node("best"), node("publish", conditions=(OVER,)), node("tell", "publish")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("result", "state", "reason"),
    [
        (says({"score": 0.95}), "success", None),
        (says({"score": 0.83}), "skipped", "condition best.score > 0.9 is false (0.83)"),
        (says({"score": "high"}), "failed",
         "condition best.score > 0.9: best.score is text, 'high', and on the right stands a float, 0.9: "
         "compare numbers with numbers, or text with text"),
        (says({"acc": 1}), "failed", "best has no 'score': it holds 'acc'"),
        (says([1]), "failed", "best is a list, [1], which has no part 'score'"),
        (says({"score": None}), "failed", "best.score is None, and on the right stands a float, 0.9"),
        (says("x" * 10, "npy"), "failed", "best is a str (npy), of which no condition can be made"),
        (succeeded, "failed", "best is None, which has no part 'score'"),
        (failed, "upstream_failed", None),
    ],
)  # fmt: skip
def test_a_condition_is_judged_by_the_stored_value_and_says_why(tmp_path, database, result, state, reason):
    controller = lead(tmp_path, database, InstantEngine(ends(best=result)))
    run = submit(controller, GATED)
    until_idle(controller)
    found = states(database, run)
    assert found["publish"] == state
    assert found["tell"] == {"failed": "upstream_failed"}.get(state, state)
    if reason is not None:
        (why,) = views.why(database, run, "publish")
        assert reason in why["reason"]
        assert why["verdict"] == "not asked"
        shown = next(each for each in views.run(database, run)["tasks"] if each["task"] == "publish")
        assert shown["reason"] == why["reason"]


def test_a_large_result_is_refused_by_a_condition(tmp_path, database):
    controller = lead(tmp_path, database, InstantEngine(ends(best=says({"score": 1, "pad": "x" * 5_000_000}))))
    run = submit(controller, GATED)
    until_idle(controller)
    assert "a condition reads at most 4,194,304" in views.why(database, run, "publish")[0]["reason"]


def test_a_retry_judges_the_condition_anew(tmp_path, database):
    result = [says({"score": "high"})]
    controller = lead(tmp_path, database, InstantEngine(lambda launch: result[0](launch)))
    graph = Graph(dag="d", nodes=(node("best"), node("publish", conditions=(OVER,))))
    run = submit(controller, graph)
    until_idle(controller)
    assert states(database, run) == {"best": "success", "publish": "failed"}
    assert controller.resume(run)
    until_idle(controller)
    assert states(database, run) == {"best": "success", "publish": "failed"}  # what it reads succeeded, and stays


def test_a_part_that_is_not_there_fails_the_task_and_not_the_controller(tmp_path, database):
    graph = Graph(dag="d", nodes=(node("best"), node("train", "best", inputs={"lr": Result("best", ("lr",))})))
    controller = lead(tmp_path, database, InstantEngine(succeeded))
    run = submit(controller, graph)
    until_idle(controller)
    assert states(database, run) == {"best": "success", "train": "failed"}


SCOPE = Graph(
    dag="d",
    nodes=(
        node("start"), node("work", "start"), node("more", "work"),
        node("stop", "start", setup="start", waits=("work", "more"),
             retries=RetryPolicy(times=1, delay=0, jitter=False)),
        node("after", "more"),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("how", "expected", "run_state"),
    [
        ({}, ["success"] * 5, "success"),
        ({"work": failed}, ["success", "failed", "upstream_failed", "success", "upstream_failed"], "failed"),
        ({"start": failed}, ["failed", *["upstream_failed"] * 4], "failed"),
        ({"stop": failed}, ["success", "success", "success", "failed", "success"], "success"),
    ],
)
def test_a_teardown_runs_if_its_setup_succeeded_whatever_came_between(tmp_path, database, how, expected, run_state):
    controller = lead(tmp_path, database, InstantEngine(ends(**how)))
    run = submit(controller, SCOPE)
    until_idle(controller)
    assert list(states(database, run).values()) == expected
    assert rows.run_row(database, run).state == run_state


def test_a_teardown_may_say_that_its_failure_is_that_of_the_run(tmp_path, database):
    nodes = tuple(
        node("stop", "start", setup="start", waits=("work",), fails_run=True) if each.id == "stop" else each
        for each in SCOPE.nodes
    )
    controller = lead(tmp_path, database, InstantEngine(ends(stop=failed)))
    run = submit(controller, Graph(dag="d", nodes=nodes))
    until_idle(controller)
    assert rows.run_row(database, run).state == "failed"


def test_a_cancelled_run_still_takes_down_what_was_set_up_also_after_a_kill(tmp_path, database):
    engine = InstantEngine(succeeded, keep=True)
    controller = lead(tmp_path, database, engine)
    run = submit(controller, SCOPE)
    controller.turn()
    engine.let()
    controller.turn()
    assert [each.task for each in engine.held] == ["work"]
    assert controller.cancel(run)
    for _ in range(3):
        controller.turn()
    assert [each.task for each in engine.held] == ["stop"]
    assert states(database, run)["work"] == states(database, run)["more"] == "cancelled"
    engine = InstantEngine(succeeded)
    controller = lead(tmp_path, database, engine)  # the old one is gone, and with it the attempt of `stop`
    until_idle(controller)
    assert states(database, run)["stop"] == "success"
    assert rows.run_row(database, run).state == "cancelled"


def test_a_run_that_is_cancelled_again_stops_its_teardowns_too(tmp_path, database):
    engine = InstantEngine(succeeded, keep=True)
    controller = lead(tmp_path, database, engine)
    run = submit(controller, SCOPE)
    controller.turn()
    engine.let()
    controller.turn()
    controller.cancel(run)
    for _ in range(3):
        controller.turn()
    controller.cancel(run)
    until_idle(controller)
    assert states(database, run)["stop"] == "cancelled"


def test_a_task_that_is_done_again_has_its_setup_and_teardown_done_again(tmp_path, database):
    how = {"more": failed}
    launched: list[str] = []

    def end(launch: Launch) -> Finished:
        launched.append(launch.task)
        return how.get(launch.task, succeeded)(launch)

    controller = lead(tmp_path, database, InstantEngine(end))
    run = submit(controller, SCOPE)
    until_idle(controller)
    assert sorted(launched) == ["more", "start", "stop", "work"]
    launched.clear()
    how.clear()
    assert controller.resume(run, ["more"])
    until_idle(controller)
    assert launched[:2] == ["start", "more"]
    assert sorted(launched[2:]) == ["after", "stop"]
    assert set(states(database, run).values()) == {"success"}


@pytest.mark.parametrize("again", [succeeded, failed])
def test_an_instance_that_is_done_again_waits_for_its_setup(tmp_path, database, again):
    how: dict[str, Callable[[Launch], Finished]] = {"work": failed}
    launched: list[str] = []

    def end(launch: Launch) -> Finished:
        launched.append(launch.task)
        return how.get(launch.task, succeeded)(launch)

    graph = Graph(
        dag="d",
        nodes=(
            node("start"), node("work", "start", mapped={"x": Value([1, 2])}),
            node("stop", "start", setup="start", waits=("work",)),
        ),
    )  # fmt: skip
    controller = lead(tmp_path, database, InstantEngine(end))
    run = submit(controller, graph)
    until_idle(controller)
    assert states(database, run)["work"] == "failed"
    launched.clear()
    how.update(work=succeeded, start=again)
    assert controller.resume(run)
    until_idle(controller)
    if again is succeeded:
        assert launched == ["start", "work", "work", "stop"]
        assert set(states(database, run).values()) == {"success"}
    else:
        assert launched == ["start"]
        assert set(states(database, run).values()) == {"failed", "upstream_failed"}


def test_a_setup_is_done_again_where_its_teardown_did_not_succeed_either(tmp_path, database):
    how = {"more": failed, "stop": failed}
    launched: list[str] = []

    def end(launch: Launch) -> Finished:
        launched.append(launch.task)
        return how.get(launch.task, succeeded)(launch)

    controller = lead(tmp_path, database, InstantEngine(end))
    run = submit(controller, SCOPE)
    until_idle(controller)
    launched.clear()
    how = {}
    assert controller.resume(run)
    until_idle(controller)
    assert launched[:2] == ["start", "more"]
    assert sorted(launched[2:]) == ["after", "stop"]
    assert set(states(database, run).values()) == {"success"}


@pytest.mark.parametrize("copies", [0, 2])
def test_a_setup_that_is_done_again_does_not_set_back_the_handlers_between_it_and_its_teardown(
    tmp_path, database, copies
):
    graph = Graph(
        dag="d",
        nodes=(
            node("start"),
            Node(id="g", function="", upstream=("start",), mapped={"x": Value([*range(copies)])}),
            node("g.work", group="g"),
            node("other", "start"),
            node("stop", "start", setup="start", waits=("g", "other")),
            node("g.work.on_success", group="g", on="success", of="g.work"),
        ),
    )
    how = {"other": failed}
    launched: list[str] = []

    def end(launch: Launch) -> Finished:
        launched.append(launch.task)
        return how.get(launch.task, succeeded)(launch)

    controller = lead(tmp_path, database, InstantEngine(end))
    run = submit(controller, graph)
    until_idle(controller, most=100)
    launched.clear()
    how = {}
    assert controller.resume(run)
    until_idle(controller, most=100)  # nothing is set back in a group that has ended, where nobody would open it
    assert launched == ["start", "other", "stop"]
    assert set(states(database, run).values()) == {"success"}


HANDLED = Graph(
    dag="d",
    nodes=(
        node("train"),
        node("train.on_failure", inputs={"o": Ended("train")}, on="failure", of="train"),
        node("train.on_success", inputs={"o": Ended("train")}, on="success", of="train"),
        node("on_failure", inputs={"o": Ended("")}, on="failure"),
        node("on_success", inputs={"o": Ended("")}, on="success"),
    ),
)


def told_by(launches: list[Launch], end: Callable[[Launch], Finished]) -> Callable[[Launch], Finished]:
    def ended(launch: Launch) -> Finished:
        launches.append(launch)
        return end(launch)

    return ended


def test_handlers_are_told_how_it_ended_and_change_nothing(tmp_path, database):
    launches: list[Launch] = []
    end = told_by(launches, ends(train=failed, train_on_failure=failed, on_failure=failed))
    controller = lead(tmp_path, database, InstantEngine(end))
    run = submit(controller, HANDLED)
    until_idle(controller)
    assert list(states(database, run).values()) == ["failed", "failed", "skipped", "failed", "skipped"]
    assert rows.run_row(database, run).state == "failed"
    given = {each.task: each.arguments["o"] for each in launches if "o" in each.arguments}
    link = "/api/v1/run?id=d%2F1"
    assert given["train.on_failure"] == Literal(
        {"dag": "d", "run": run, "task": "train", "state": "failed", "message": "boom", "link": link}
    )
    assert given["on_failure"] == Literal(
        {"dag": "d", "run": run, "task": "", "state": "failed", "message": "train: boom", "link": link}
    )


def test_the_handler_of_a_mapped_task_is_told_which_instances_did_not_succeed(tmp_path, database):
    graph = Graph(
        dag="d",
        nodes=(
            node("train", mapped={"x": Value(list(range(120)))}),
            node("train.on_failure", inputs={"o": Ended("train")}, on="failure", of="train"),
        ),
    )
    launches: list[Launch] = []

    def end(launch: Launch) -> Finished:
        launches.append(launch)
        bad = launch.task == "train" and launch.instance not in (0, 2)
        return (failed if bad else succeeded)(launch)

    controller = lead(tmp_path, database, InstantEngine(end))
    submit(controller, graph)
    until_idle(controller, most=400)
    (handled,) = [each for each in launches if each.task == "train.on_failure"]
    told = handled.arguments["o"].value
    assert told["message"] == "118 of its instances did not succeed"
    assert told["instances"] == ["train[1]", *(f"train[{n}]" for n in range(3, 102))]


def test_a_handler_that_fails_does_not_make_a_run_a_failure(tmp_path, database):
    controller = lead(tmp_path, database, InstantEngine(ends(train_on_success=failed, on_success=failed)))
    run = submit(controller, HANDLED)
    until_idle(controller)
    assert list(states(database, run).values()) == ["success", "skipped", "failed", "skipped", "failed"]
    assert rows.run_row(database, run).state == "success"


def test_a_handler_knows_why_also_after_a_kill(tmp_path, database):
    launches: list[Launch] = []
    engine = InstantEngine(ends(train=failed), keep=True)
    controller = lead(tmp_path, database, engine)
    run = submit(controller, HANDLED)
    controller.turn()
    engine.let()
    controller.turn()
    assert [each.task for each in engine.held] == ["train.on_failure"]
    controller = lead(tmp_path, database, InstantEngine(told_by(launches, succeeded)))  # the old one is gone
    until_idle(controller)
    assert [each.arguments["o"].value["message"] for each in launches] == ["boom", "train: boom"]
    assert states(database, run)["on_failure"] == "success"


def test_a_cancelled_task_or_run_has_neither_failed_nor_succeeded(tmp_path, database):
    engine = InstantEngine(succeeded, keep=True)
    controller = lead(tmp_path, database, engine)
    run = submit(controller, HANDLED)
    controller.turn()
    controller.cancel(run)
    until_idle(controller)
    assert list(states(database, run).values()) == ["cancelled", *["skipped"] * 4]
    assert rows.run_row(database, run).state == "cancelled"


def test_a_handler_of_a_failure_goes_on_when_its_run_is_cancelled(tmp_path, database):
    graph = Graph(dag="d", nodes=(*HANDLED.nodes, node("long")))
    engine = InstantEngine(ends(train=failed), keep=True)
    controller = lead(tmp_path, database, engine)
    run = submit(controller, graph)
    controller.turn()
    engine.let()
    controller.turn()
    controller.cancel(run)
    controller.turn()
    assert [each.task for each in engine.held] == ["train.on_failure"]
    engine.let()
    until_idle(controller)
    assert states(database, run)["train.on_failure"] == "success"
    assert rows.run_row(database, run).state == "cancelled"


def test_handlers_handle_again_when_a_run_is_gone_on_with(tmp_path, database):
    how = {"train": failed}
    controller = lead(tmp_path, database, InstantEngine(lambda launch: how.get(launch.task, succeeded)(launch)))
    run = submit(controller, HANDLED)
    until_idle(controller)
    how.clear()
    assert controller.resume(run)
    until_idle(controller)
    assert list(states(database, run).values()) == ["success", "skipped", "success", "skipped", "success"]


def missed(database: Database, run: str) -> list[tuple[int, dict]]:
    number = rows.run_row(database, run).number
    events = database.rows("events_after", number, 0)
    return [(each[3], json.loads(each[5])) for each in events if each[4] == "deadline_missed"]


def test_a_missed_deadline_is_told_once_whatever_is_killed(tmp_path: Path, database):
    graph = Graph(dag="d", deadline=100.0, nodes=(node("quick", deadline=5.0), node("slow", "quick", deadline=10.0)))
    clock = [1000.0]

    def leading(engine: InstantEngine):
        made = lead(tmp_path, database, engine)
        made.clock = made.ledger._clock = lambda: clock[0]
        return made

    engine = InstantEngine(succeeded, keep=True)
    controller = leading(engine)
    run = submit(controller, graph)
    controller.turn()
    engine.let()
    assert controller.turn() <= 10.0
    clock[0] += 6
    controller.turn()
    assert missed(database, run) == []  # it had ended
    clock[0] += 5
    controller.turn()
    assert missed(database, run) == [(1, {"task": "slow", "deadline": 1010.0, "state": "running"})]
    engine = InstantEngine(succeeded, keep=True)
    controller = leading(engine)
    for _ in range(3):
        controller.turn()
    assert len(missed(database, run)) == 1
    clock[0] += 500  # nobody leads at the moment when the run is late
    controller = leading(InstantEngine(succeeded, keep=True))
    controller.turn()
    controller = leading(InstantEngine(succeeded))
    until_idle(controller)
    assert missed(database, run)[1:] == [(-1, {"deadline": 1100.0})]
    assert rows.run_row(database, run).state == "success"  # a deadline ends nothing


def test_an_unknown_task_is_no_choice(tmp_path, database):
    controller = lead(tmp_path, database, InstantEngine(failed))
    run = submit(controller, SCOPE)
    until_idle(controller)
    with pytest.raises(UsageError, match="no task 'wrok'; did you mean 'work'"):
        controller.resume(run, ["wrok"])
