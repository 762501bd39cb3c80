"""Queues in force, evictions, moves and drains, decided by the scheduler and done by the control loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clearance.errors import UsageError
from clearance.graph.model import Graph, Node, Value
from clearance.run.controller import Controller
from clearance.run.host.orders import ApplyQueues, Consolidate, Cordon, Suppose
from clearance.store.database import Database
from support.instant import InstantEngine, lead, submit, succeeded

TWO = """
partitions:
- name: default
  preemption: {enabled: true}
  queues:
  - name: root
    submitacl: "*"
    queues:
    - name: a
      resources: {guaranteed: {vcore: 2}}
      properties: {preemption.delay: 1s}
    - name: b
      resources: {guaranteed: {vcore: 2}}
      properties: {preemption.delay: 1s}
    - name: small
      resources: {max: {vcore: 1}}
"""


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database(database_url: str):
    with Database(database_url) as made:
        made.migrate()
        yield made


def leading(tmp_path: Path, database: Database, cpus: int = 4, nodes: int = 1) -> Controller:
    made = lead(tmp_path, database, InstantEngine(succeeded, cpus, keep=True, nodes=nodes))
    made.clock = made.ledger._clock = Clock()
    return made


def settle(controller: Controller, seconds: float = 0.0) -> list[str]:
    """Turns until nothing more happens at this moment; returns what runs, by run and task."""
    controller.clock.now += seconds
    for _ in range(6):
        controller.turn()
    by_key = {each.attempt: each for run in controller.runs.values() for each in run.instances()}
    return sorted(
        f"{by_key[launch.attempt].run.id} {by_key[launch.attempt].label}" for launch in controller.engine.held
    )


def wide(dag: str, count: int, **options) -> Graph:
    queue = options.pop("dag_queue", "")
    return Graph(
        dag=dag,
        queue=queue,
        nodes=(
            Node(id="m", function="m:m", mapped={"x": Value(list(range(count)))}, resources={"cpu": 1000}, **options),
        ),
    )


def clearance(controller: Controller, run: str, task: str) -> dict:
    return json.loads(controller.runs[run].find(task).clearance)["capacity"]


def test_a_task_goes_to_its_queue_or_that_of_its_dag_and_the_record_says_which(tmp_path, database):
    controller = leading(tmp_path, database)
    controller.cluster.obey(ApplyQueues(TWO), "ana")
    submit(controller, wide("d", 1, dag_queue="root.a"))
    submit(controller, wide("e", 1, queue="root.b", dag_queue="root.a"))
    assert settle(controller) == ["d/1 m[0]", "e/1 m[0]"]
    assert clearance(controller, "d/1", "m[0]")["queue"] == "root.a"
    assert clearance(controller, "e/1", "m[0]")["queue"] == "root.b"


def test_a_queue_that_is_not_there_denies_the_task_with_the_reason(tmp_path, database):
    controller = leading(tmp_path, database)
    controller.cluster.obey(ApplyQueues(TWO), "ana")
    run = submit(
        controller, Graph(dag="d", nodes=(Node(id="t", function="m:t", queue="root.c", resources={"cpu": 1000}),))
    )
    settle(controller)
    (row,) = [each for each in database.rows("instances_outside", 1) if each[2] == "t"]
    assert row[5] == "failed"
    assert "root.c" in row[10]
    assert run == "d/1"


def test_more_than_the_maximum_of_the_queue_is_denied_at_once_and_up_to_it_waits(tmp_path, database):
    controller = leading(tmp_path, database)
    controller.cluster.obey(ApplyQueues(TWO), "ana")
    gang = Node(id="gang", function="m:g", gang=2, queue="root.small", resources={"cpu": 1000})
    submit(controller, Graph(dag="big", nodes=(gang,)))
    submit(controller, wide("two", 2, queue="root.small"))
    assert settle(controller) == ["two/1 m[0]"]
    told = controller.why("two/1", "m[1]")
    assert told is not None
    assert "queue root.small uses vcore=1 of 1" in told["reason"]
    assert "big/1" not in controller.runs


def test_a_queue_under_its_guarantee_has_others_evicted_who_use_no_retry_and_keep_their_place(tmp_path, database):
    controller = leading(tmp_path, database)
    controller.cluster.obey(ApplyQueues(TWO), "ana")
    submit(controller, wide("greedy", 6, queue="root.a"))
    assert settle(controller) == [f"greedy/1 m[{number}]" for number in range(4)]
    submit(controller, wide("late", 2, queue="root.b"))
    settle(controller)
    now = settle(controller, seconds=2)
    assert sorted(each.split()[0] for each in now) == ["greedy/1", "greedy/1", "late/1", "late/1"]
    evicted = [
        each for each in controller.runs["greedy/1"].instances() if each.epoch and each.state == "awaiting_clearance"
    ]
    assert len(evicted) == 2
    assert {each.attempts for each in evicted} == {0}
    rows = [row for each in evicted for row in database.rows("attempts_of", 1, each.number)]
    assert {row[3] for row in rows} == {"evicted"}
    controller.engine.let(2)
    again = settle(controller)
    assert {each.label for each in evicted} <= {each.split()[1] for each in again} | {"m[4]", "m[5]"}
    while controller.runs:
        controller.engine.let(1)
        settle(controller)
    assert {row[5] for row in database.rows("instances_outside", 1)} == {"success"}


def test_evictions_never_make_a_task_fail_however_many(tmp_path, database):
    controller = leading(tmp_path, database, cpus=1)
    submit(controller, wide("d", 1))
    settle(controller)
    for _ in range(15):
        controller.evictions.give_notice(next(iter(controller.desks.holding)), "somebody asked")
        assert settle(controller) == ["d/1 m[0]"]
    controller.engine.let(1)
    settle(controller)
    assert not controller.runs


def test_queues_and_cordons_hold_when_another_controller_leads(tmp_path, database):
    controller = leading(tmp_path, database, cpus=2, nodes=2)
    controller.cluster.obey(ApplyQueues(TWO), "ana")
    controller.cluster.obey(Cordon("n0", reason="fan is loud"), "ana")
    controller.turn()
    controller = leading(tmp_path, database, cpus=2, nodes=2)
    submit(controller, wide("d", 3, queue="root.b"))
    assert len(settle(controller)) == 2
    assert clearance(controller, "d/1", "m[0]")["nodes"] == ["n1"]
    controller.cluster.obey(Cordon("n0", on=False), "ana")
    assert len(settle(controller)) == 3


def test_a_file_with_anything_wrong_changes_nothing(tmp_path, database):
    controller = leading(tmp_path, database)
    controller.cluster.obey(ApplyQueues(TWO), "ana")
    with pytest.raises(UsageError, match="guarantee"):
        controller.cluster.obey(ApplyQueues(TWO.replace("guaranteed", "guaranted")), "ana")
    controller.turn()
    assert len(database.rows("queues_newest")) == 1
    assert database.rows("queues_newest")[0][1] == TWO


def test_a_node_is_drained_and_its_tasks_go_on_elsewhere(tmp_path, database):
    controller = leading(tmp_path, database, cpus=2, nodes=2)
    submit(controller, wide("d", 2))
    assert len(settle(controller)) == 2
    (node,) = {clearance(controller, "d/1", f"m[{number}]")["nodes"][0] for number in range(2)}
    told = controller.cluster.obey(Cordon(node, drain=True), "ana")
    assert sorted(told["leaving"]) == ["d/1 m[0]", "d/1 m[1]"]
    assert len(settle(controller)) == 2
    other = "n1" if node == "n0" else "n0"
    assert {clearance(controller, "d/1", f"m[{number}]")["nodes"][0] for number in range(2)} == {other}


def test_consolidation_moves_a_task_off_a_node_that_is_then_free(tmp_path, database):
    controller = leading(tmp_path, database, cpus=2, nodes=2)
    submit(controller, wide("d", 3))
    assert len(settle(controller)) == 3
    used = {name: sum(used for used, _ in each.values()) for name, each in controller.scheduler.usage().items()}
    assert all(used.values())
    controller.engine.let(1)
    assert len(settle(controller)) == 2
    plan = controller.cluster.obey(Consolidate(min_gain=-1e9), "ana")
    if not plan["moves"]:
        pytest.fail(f"nothing is to be moved: {controller.scheduler.usage()}")
    (move,) = plan["moves"]
    assert len(settle(controller)) == 2
    usage = controller.scheduler.usage()
    assert usage[move["source"]]["cpu"][0] == 0
    assert usage[move["target"]]["cpu"][0] == 2000
    moved = move["job"].split()[1]
    assert clearance(controller, "d/1", moved)["nodes"] == [move["target"]]
    controller.engine.let(2)
    settle(controller)
    assert not controller.runs
    assert all(each["cpu"][0] == 0 for each in controller.scheduler.usage().values())


def test_what_would_be_with_more_nodes_is_answered_and_changes_nothing(tmp_path, database):
    controller = leading(tmp_path, database, cpus=1)
    submit(controller, wide("d", 2))
    assert settle(controller) == ["d/1 m[0]"]
    told = controller.cluster.obey(Suppose("d/1 m[1]", add=("1x4cpu",)), "ana")
    assert told["start"] == controller.clock.now
    assert settle(controller) == ["d/1 m[0]"]
    with pytest.raises(UsageError, match="no job 'd/1 m'"):
        controller.cluster.obey(Suppose("d/1 m"), "ana")
