"""Pools, concurrency, runs of a DAG, priorities: kept by the capacity desk, told by `why`, there again after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from clearance.errors import UsageError
from clearance.graph.model import Graph, Node, Value
from clearance.run.controller import Controller
from clearance.store.database import Database
from support.instant import InstantEngine, failed, lead, submit, succeeded, until_idle


@pytest.fixture
def database(database_url: str):
    with Database(database_url) as made:
        made.migrate()
        yield made


def mapped(count: int, id: str = "m", **options) -> Node:
    return Node(id=id, function=f"m:{id}", mapped={"x": Value(list(range(count)))}, **options)


def running(controller: Controller) -> list[str]:
    """The labels of what the engine runs at this moment."""
    controller.turn()
    controller.turn()
    by_key = {each.attempt: each for run in controller.runs.values() for each in run.instances()}
    return [f"{by_key[launch.attempt].run.id} {by_key[launch.attempt].label}" for launch in controller.engine.held]


def leading(tmp_path: Path, database: Database, cpus: int = 8) -> Controller:
    return lead(tmp_path, database, InstantEngine(succeeded, cpus, keep=True))


def finish(controller: Controller) -> int:
    """Lets everything end, one by one; returns how many ran at the same time at most."""
    most = 0
    while controller.runs:
        most = max(most, len(controller.engine.held))
        controller.engine.let(1)
        controller.turn()
    return most


def test_a_map_runs_as_many_at_once_as_it_says(tmp_path: Path, database: Database):
    controller = leading(tmp_path, database)
    submit(controller, Graph(dag="d", nodes=(mapped(7, copies=3), Node(id="free", function="m:f"))))
    assert len(running(controller)) == 4
    told = controller.why("d/1", "m[5]")
    assert told is not None
    assert told["reason"].startswith("concurrency of the map d/1 m has 3 of 3 in use; held by d/1 m[0], d/1 m[1]")
    assert told["blockers"] == ["d/1 m[0]", "d/1 m[1]", "d/1 m[2]"]
    assert finish(controller) == 4


def test_copies_of_a_group_are_open_as_many_as_it_says_and_after_a_kill_too(tmp_path: Path, database: Database):
    controller = leading(tmp_path, database)
    nodes = (
        Node(id="g", function="", mapped={"x": Value([1, 2, 3, 4])}, copies=2),
        Node(id="g.a", function="m:a", group="g"),
        Node(id="g.b", function="m:b", group="g", upstream=("g.a",)),
    )
    submit(controller, Graph(dag="d", nodes=nodes))
    assert running(controller) == ["d/1 g.a[0]", "d/1 g.a[1]"]
    controller.engine.let(1)
    assert running(controller) == ["d/1 g.a[1]", "d/1 g.b[0]"]
    controller = leading(tmp_path, database)
    assert sorted(running(controller)) == ["d/1 g.a[1]", "d/1 g.b[0]"]
    controller.engine.let(2)
    assert sorted(running(controller)) == ["d/1 g.a[2]", "d/1 g.b[1]"]
    assert finish(controller) == 2


def test_a_task_runs_as_often_at_once_as_it_says_in_all_runs_together(tmp_path: Path, database: Database):
    controller = leading(tmp_path, database)
    for _ in range(3):
        submit(controller, Graph(dag="d", nodes=(Node(id="t", function="m:t", concurrency=2),)))
    assert running(controller) == ["d/1 t", "d/2 t"]
    controller = leading(tmp_path, database)
    assert running(controller) == ["d/1 t", "d/2 t"]
    controller.engine.let(1)
    assert running(controller) == ["d/2 t", "d/3 t"]
    finish(controller)


def test_a_run_runs_as_many_tasks_at_once_as_its_dag_says(tmp_path: Path, database: Database):
    controller = leading(tmp_path, database)
    graph = Graph(dag="d", nodes=(mapped(5), mapped(5, "n")), max_active_tasks=3)
    submit(controller, graph)
    submit(controller, graph)
    found = running(controller)
    assert [each.partition(" ")[0] for each in found] == ["d/1"] * 3 + ["d/2"] * 3
    finish(controller)


def test_a_pool_is_shared_by_name_and_can_be_enlarged_while_it_is_waited_for(tmp_path: Path, database: Database):
    controller = leading(tmp_path, database)
    graph = Graph(
        dag="d", nodes=(mapped(4, pool="licences"), Node(id="big", function="m:b", pool="licences", pool_slots=2))
    )
    with pytest.raises(
        UsageError, match=r"pool 'licences' is unknown: make it with `clearance pool set licences SLOTS`"
    ):
        submit(controller, graph)
    controller.set_pool("licences", 1)
    with pytest.raises(UsageError, match=r"task 'big' .* takes 2 slots of pool 'licences', which has 1"):
        submit(controller, graph)
    assert not controller.runs
    controller.set_pool("licences", 2)
    submit(controller, graph)
    assert running(controller) == ["d/1 m[0]", "d/1 m[1]"]
    told = controller.why("d/1", "big")
    assert told is not None
    assert told["reason"] == "pool licences has 2 of 2 in use; held by d/1 m[0], d/1 m[1]"
    controller = leading(tmp_path, database)
    assert running(controller) == ["d/1 m[0]", "d/1 m[1]"]
    controller.set_pool("licences", 3)
    assert len(running(controller)) == 3
    controller.set_pool("licences", 0)
    controller.engine.let(3)
    assert running(controller) == []
    told = controller.why("d/1", "big")
    assert told is not None
    assert told["reason"] == "pool licences has 0 of 0 in use, and 2 are asked for: enlarge it"
    controller.set_pool("licences", 2)
    finish(controller)


def test_runs_above_the_limit_are_queued_and_start_in_order(tmp_path: Path, database: Database):
    controller = leading(tmp_path, database)
    graph = Graph(
        dag="d", nodes=(Node(id="t", function="m:t"), Node(id="u", function="m:u", upstream=("t",))), max_active_runs=1
    )
    for _ in range(3):
        submit(controller, graph)
    assert running(controller) == ["d/1 t"]
    assert [row[0] for row in database.rows("runs_in", "queued")] == [2, 3]
    told = controller.why("d/2", "t")
    assert told is not None
    assert told["reason"] == "max_active_runs of d has 1 of 1 in use; held by d/1"
    controller = leading(tmp_path, database)
    assert running(controller) == ["d/1 t"]
    controller.engine.let(1)
    assert running(controller) == ["d/1 u"]
    controller.engine.let(1)
    assert running(controller) == ["d/2 t"]
    assert controller.cancel("d/3")
    controller.turn()
    assert database.rows("run_get", "d/3")[0][5] == "cancelled"
    finish(controller)
    assert database.rows("run_get", "d/2")[0][5] == "success"
    assert controller.resume("d/3")
    finish(controller)
    assert database.rows("run_get", "d/3")[0][5] == "success"


def test_a_dag_of_a_higher_priority_goes_first_and_equals_in_the_order_of_their_runs(
    tmp_path: Path, database: Database
):
    controller = leading(tmp_path, database, cpus=1)
    one_cpu = {"cpu": 1000}
    submit(controller, Graph(dag="low", nodes=(mapped(3, resources=one_cpu),)))
    submit(controller, Graph(dag="low", nodes=(Node(id="t", function="m:t", resources=one_cpu),)))
    submit(controller, Graph(dag="high", nodes=(mapped(2, resources=one_cpu),), priority=5))
    order = []
    while controller.runs:
        order += running(controller)
        controller.engine.let(1)
        controller.turn()
    assert order == ["high/1 m[0]", "high/1 m[1]", "low/1 m[0]", "low/1 m[1]", "low/1 m[2]", "low/2 t"]


def test_a_map_that_is_opened_some_at_a_time_keeps_its_place_before_later_runs(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("clearance.run.machine.WINDOW", 2)
    controller = leading(tmp_path, database, cpus=1)
    one_cpu = {"cpu": 1000}
    submit(controller, Graph(dag="a", nodes=(mapped(9, resources=one_cpu),)))
    submit(controller, Graph(dag="b", nodes=(mapped(3, resources=one_cpu),)))
    order = []
    while controller.runs:
        order += running(controller)
        controller.engine.let(1)
        controller.turn()
    assert order == [f"a/1 m[{each}]" for each in range(9)] + [f"b/1 m[{each}]" for each in range(3)]


def test_cancelling_a_limited_map_lets_nothing_go_on(tmp_path: Path, database: Database):
    controller = leading(tmp_path, database)
    nodes = (
        Node(id="g", function="", mapped={"x": Value([1, 2, 3, 4])}, copies=1),
        Node(id="g.a", function="m:a", group="g"),
    )
    submit(controller, Graph(dag="d", nodes=nodes))
    assert running(controller) == ["d/1 g.a[0]"]
    assert controller.cancel("d/1")
    until_idle(controller)
    assert database.rows("run_get", "d/1")[0][5] == "cancelled"
    assert controller.resume("d/1")
    finish(controller)
    assert database.rows("run_get", "d/1")[0][5] == "success"


def test_an_instance_that_failed_and_was_forgotten_is_retried_while_others_run(tmp_path: Path, database: Database):
    broken = True

    def end(launch):
        return failed(launch) if broken and launch.instance == 0 else succeeded(launch)

    controller = lead(tmp_path, database, InstantEngine(end, 8, keep=True))
    submit(controller, Graph(dag="d", nodes=(mapped(3, copies=1), Node(id="j", function="m:j", upstream=("m",)))))
    assert running(controller) == ["d/1 m[0]"]
    controller.engine.let(1)
    assert running(controller) == ["d/1 m[1]"]
    assert controller.runs["d/1"].find("m[0]") is None
    with pytest.raises(UsageError, match=r"d/1 m\[1\] is running: only failed"):
        controller.resume("d/1", ["m[1]"])
    with pytest.raises(UsageError, match=r"has no task 'm\[9\]'"):
        controller.resume("d/1", ["m[9]"])
    broken = False
    assert controller.resume("d/1", ["m[0]"])
    controller = lead(tmp_path, database, InstantEngine(end, 8, keep=True))
    finish(controller)
    assert database.rows("run_get", "d/1")[0][5] == "success"
    assert {state for _, _, state, _ in database.rows("instance_counts", 1)} == {"success"}


def test_a_copy_of_a_group_is_retried_by_its_index(tmp_path: Path, database: Database):
    broken = True

    def end(launch):
        return failed(launch) if broken and launch.instance > 0 else succeeded(launch)

    controller = lead(tmp_path, database, InstantEngine(end))
    nodes = (
        Node(id="g", function="", mapped={"x": Value([0, 1, 2])}),
        Node(id="g.a", function="m:a", group="g"),
        Node(id="g.b", function="m:b", group="g", upstream=("g.a",)),
    )
    submit(controller, Graph(dag="d", nodes=nodes))
    until_idle(controller)
    broken = False
    with pytest.raises(UsageError, match=r"has no task 'g\[7\]'"):
        controller.resume("d/1", ["g[7]"])
    assert controller.resume("d/1", ["g[1]"])
    until_idle(controller)
    states = {(node, position): state for node, _, position, _, state in database.rows("instances_bad", 1)}
    assert states == {(1, 2): "failed", (2, 2): "upstream_failed"}
    assert database.rows("run_get", "d/1")[0][5] == "failed"
