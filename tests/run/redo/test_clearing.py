"""Clearing and marking, in runs that have ended and runs that go on: the state machine decides everything anew."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearance.errors import UsageError
from clearance.graph.model import Graph, Node, Result, Value
from clearance.run import machine as machine_module
from clearance.run.controller import Controller
from clearance.run.look import views
from clearance.run.redo.clearing import Chosen, Reach
from clearance.run.shape import Shape, text
from clearance.store.database import Database
from clearance.types.states import TaskState
from run.test_mapping import Reference, fate_of, graphs, path_in, stored_states
from support.instant import InstantEngine, failed, lead, skipped, submit, succeeded, until_idle

S = TaskState


def told(fate: Callable, database: Database):
    def end(launch):
        state = fate(*path_in(database, launch))
        return succeeded(launch) if state is S.SUCCESS else failed(launch) if state is S.FAILED else skipped(launch)

    return end


@given(graph=graphs(), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_cleared_the_run_ends_as_if_it_had_gone_so_from_the_start(
    graph: Graph, seed: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    """With small windows and kills: rows that are reached end by another fate, all others as they had."""
    monkeypatch.setattr(machine_module, "WINDOW", 1 + seed % 3)
    home: Path = tmp_path_factory.mktemp("home")
    chance = random.Random(seed)
    fates = [fate_of(seed)]
    with Database(f"sqlite:///{home}/c.db") as database:
        database.migrate()

        def now(task: str, path: tuple[int, ...]) -> TaskState:
            return fates[-1](task, path)

        engine = InstantEngine(told(now, database), 2, keep=True)

        def go_on(controller: Controller) -> Controller:
            for _ in range(3000):
                controller.turn()
                if not controller.runs:
                    return controller
                if chance.random() < 0.05:
                    controller = lead(home, database, InstantEngine(told(now, database), 2, keep=True))
                controller.engine.let(chance.randint(0, 2))
            left = [row for run in controller.runs.values() for row in run.instances() if not row.state.finished]
            raise AssertionError([(row.label, str(row.state), row.pending) for row in left])

        controller = lead(home, database, engine)
        run = submit(controller, graph)
        controller = go_on(controller)
        shape = Shape(graph)
        for again in range(1, 3):
            before = stored_states(database, run)
            node, path = chance.choice(sorted(before))
            levels = shape.levels(node)
            if len(path) < levels and path:
                path = ()  # what stands for some copies of a map in a group is not named by people
            label = graph.nodes[node].id + (f"[{text(path)}]" if path else "")
            chosen = Chosen(shape, [(node, path)], Reach.ALL)
            old, new = fates[-1], fate_of(seed + again)

            def mixed(task, at, chosen=chosen, old=old, new=new):
                return (new if chosen(shape.index[task], at) else old)(task, at)

            fates.append(mixed)
            controller.marking.clear(run, [label], only=False, dry=False)
            controller = go_on(controller)
            expected = Reference(graph, mixed).everything()
            found = stored_states(database, run)
            assert {k: str(v) for k, v in found.items()} == {k: str(v) for k, v in expected.items()}, label


def chain(*ids: str) -> Graph:
    nodes = []
    for number, id in enumerate(ids):
        before = (ids[number - 1],) if number else ()
        inputs = {"x": Result(before[0])} if before else {"x": Value(1)}
        nodes.append(Node(id=id, function=f"m:{id}", upstream=before, inputs=inputs, resources={"cpu": 1000}))
    return Graph(dag="d", nodes=tuple(nodes))


class Played:
    """A controller on a database whose attempts end as `fate` says, each with its number of launches as result."""

    def __init__(self, url: str, home: Path) -> None:
        self.home = home
        self.database = Database(url)
        self.database.migrate()
        self.launched: list[str] = []
        self.bad: set[str] = set()
        self.none: set[str] = set()
        self.keep = False
        self.again()

    def again(self) -> Controller:
        """The controller is gone; another one takes over."""
        self.engine = InstantEngine(self.end, 4, keep=self.keep)
        self.controller = lead(self.home, self.database, self.engine)
        return self.controller

    def end(self, launch):
        self.launched.append(launch.task)
        if launch.task in self.bad:
            return failed(launch)
        return succeeded(launch, None if launch.task in self.none else str(len(self.launched)).encode())

    def state(self, run: str, task: str) -> str:
        return self.states(run)[task]

    def states(self, run: str) -> dict[str, str]:
        number = self.database.rows("run_get", run)[0][0]
        return {row[2]: row[5] for row in self.database.rows("instances", number)}

    def run_state(self, run: str) -> str:
        return self.database.rows("run_get", run)[0][5]

    def finish(self) -> None:
        until_idle(self.controller)

    def events(self, kind: str) -> list[dict]:
        import json

        found = self.database.dialect.execute("SELECT payload FROM event ORDER BY run, seq")
        kinds = self.database.dialect.execute("SELECT kind FROM event ORDER BY run, seq")
        return [json.loads(payload) for (payload,), (each,) in zip(found, kinds, strict=True) if each == kind]


@pytest.fixture
def played(database_url: str, tmp_path: Path):
    made = Played(database_url, tmp_path / "home")
    yield made
    made.database.close()


def test_a_task_that_succeeded_and_what_depends_on_it_are_done_again(played: Played):
    run = submit(played.controller, chain("a", "b", "c"))
    played.finish()
    assert played.controller.marking.clear(run, ["b"], only=False, dry=True) == {"tasks": {"b": 1, "c": 1}}
    assert played.states(run) == dict.fromkeys("abc", "success")
    played.launched.clear()
    played.controller.marking.clear(run, ["b"], only=False, dry=False)
    assert played.run_state(run) == "running"
    played.finish()
    assert played.launched == ["b", "c"]
    assert played.run_state(run) == "success"
    assert played.events("cleared") == [{"tasks": ["b"], "only": False}]


def test_with_only_what_depends_on_it_is_left(played: Played):
    run = submit(played.controller, chain("a", "b", "c"))
    played.finish()
    played.launched.clear()
    played.controller.marking.clear(run, ["b"], only=True, dry=False)
    played.finish()
    assert played.launched == ["b"]
    assert played.run_state(run) == "success"


def test_a_result_of_before_is_never_taken_for_that_of_the_task_done_again(played: Played):
    run = submit(played.controller, chain("a", "b"))
    played.finish()
    number = played.database.rows("run_get", run)[0][0]
    assert played.database.rows("artifact_get", number, 0)
    played.none.add("a")
    played.controller.marking.clear(run, ["a"], only=True, dry=False)
    assert not played.database.rows("artifact_get", number, 0)
    played.finish()
    assert not played.database.rows("artifact_get", number, 0)


def test_a_map_over_a_result_that_is_made_anew_is_mapped_anew(played: Played):
    lists = [b"[1, 2, 3]", b"[1]", b"[1, 2]"]
    seen: list[tuple[str, int]] = []

    def end(launch):
        if launch.task == "list":
            return succeeded(launch, lists[0])
        seen.append((launch.task, int(launch.checkpoint.rpartition(".")[2])))
        return succeeded(launch, b"7")

    played.end = end  # type: ignore[method-assign]
    controller = played.again()
    nodes = (
        Node(id="list", function="m:list", resources={"cpu": 1000}),
        Node(id="each", function="m:each", upstream=("list",), mapped={"x": Result("list")}, resources={"cpu": 1000}),
        Node(id="sum", function="m:sum", upstream=("each",), inputs={"xs": Result("each")}, resources={"cpu": 1000}),
    )
    run = submit(controller, Graph(dag="d", nodes=nodes))
    played.finish()
    number = played.database.rows("run_get", run)[0][0]
    for count in (1, 2):
        lists.pop(0)
        controller = played.again()  # what is known of numbers comes from the database
        controller.marking.clear(run, ["list"], only=False, dry=False)
        controller = played.again()
        played.finish()
        rows_of = [row for row in played.database.rows("instances", number) if row[4] >= 0]
        assert [row[4] for row in rows_of] == list(range(count))
        assert {row[5] for row in rows_of} == {"success"}
    numbers = [each for task, each in seen if task == "each"]
    assert len(numbers) == len(set(numbers)) == 6, "a number of a dropped instance was used again"
    assert played.run_state(run) == "success"


def test_what_is_at_work_behind_a_cleared_task_is_a_refusal_that_changes_nothing(played: Played):
    played.keep = True
    controller = played.again()
    run = submit(controller, chain("a", "b", "c"))
    controller.turn()
    played.engine.let()
    controller.turn()
    controller.turn()
    assert played.states(run) == {"a": "success", "b": "running", "c": "scheduled"}
    with pytest.raises(UsageError, match="b is running and depends on what is to be cleared"):
        controller.marking.clear(run, ["a"], only=False, dry=False)
    with pytest.raises(UsageError, match="b is running: only what has ended is cleared"):
        controller.marking.clear(run, ["b"], only=False, dry=False)
    with pytest.raises(UsageError, match="has no task 'x'"):
        controller.marking.clear(run, ["x"], only=False, dry=False)
    assert played.states(run) == {"a": "success", "b": "running", "c": "scheduled"}
    controller.marking.clear(run, ["a"], only=True, dry=False)
    while controller.runs:
        played.engine.let(5)
        controller.turn()
    assert played.launched.count("a") == 2
    assert played.launched.count("b") == played.launched.count("c") == 1
    assert played.run_state(run) == "success"


def test_in_a_run_that_goes_on_a_cleared_task_is_waited_for_by_what_is_still_scheduled(played: Played):
    played.keep = True
    controller = played.again()
    nodes = (
        Node(id="a", function="m:a", resources={"cpu": 1000}),
        Node(id="b", function="m:b", resources={"cpu": 1000}),
        Node(id="c", function="m:c", upstream=("a", "b"), resources={"cpu": 1000}),
    )
    run = submit(controller, Graph(dag="d", nodes=nodes))
    controller.turn()
    played.engine.let(1)
    controller.turn()
    assert played.states(run) == {"a": "success", "b": "running", "c": "scheduled"}
    controller.marking.clear(run, ["a"], only=False, dry=False)
    played.engine.let(1)  # b ends before a
    controller.turn()
    controller.turn()
    assert played.states(run)["c"] == "scheduled"
    while controller.runs:
        played.engine.let(5)
        controller.turn()
    assert played.launched == ["a", "b", "a", "c"]


def test_a_failed_task_that_is_marked_success_lets_the_rest_go_on(played: Played):
    played.bad.add("b")
    run = submit(played.controller, chain("a", "b", "c"))
    played.finish()
    assert played.states(run) == {"a": "success", "b": "failed", "c": "upstream_failed"}
    with pytest.raises(UsageError, match="say why"):
        played.controller.marking.mark(run, "b", "success", "  ", "me")
    assert played.controller.marking.mark(run, "b", "success", "mended by hand", "me")
    assert not played.controller.marking.mark(run, "b", "success", "again", "me")
    played.finish()
    assert played.states(run) == dict.fromkeys("abc", "success")
    assert played.launched == ["a", "b", "c"]
    (event,) = played.events("marked")
    assert event == {"task": "b", "state": "success", "reason": "mended by hand", "by": "me", "from": "failed"}
    number = played.database.rows("run_get", run)[0][0]
    assert [row[1:] for row in played.database.rows("marks_of", number, 1)] == [("success", "mended by hand", "me")]
    assert not played.database.rows("marks_open", number)
    shown = {task["task"]: task.get("marked") for task in views.run(played.database, run)["tasks"]}
    assert shown == {"a": None, "b": {"reason": "mended by hand", "by": "me"}, "c": None}


def test_a_task_whose_upstream_failed_can_be_marked(played: Played):
    played.bad.add("a")
    run = submit(played.controller, chain("a", "b", "c"))
    played.finish()
    played.controller.marking.mark(run, "b", "success", "not needed today", "me")
    played.finish()
    assert played.states(run) == {"a": "failed", "b": "success", "c": "success"}


def test_what_depends_on_a_task_that_is_marked_failed_is_decided_anew(played: Played):
    run = submit(played.controller, chain("a", "b", "c"))
    played.finish()
    played.controller.marking.mark(run, "a", "failed", "wrong source", "me")
    played.finish()
    assert played.states(run) == {"a": "failed", "b": "upstream_failed", "c": "upstream_failed"}
    assert played.run_state(run) == "failed"


@pytest.mark.parametrize("state", ["success", "failed"])
@pytest.mark.parametrize("killed", [False, True])
def test_a_task_that_runs_is_ended_first_also_by_the_next_controller(played: Played, state: str, killed: bool):
    played.keep = True
    controller = played.again()
    run = submit(controller, chain("a", "b"))
    controller.turn()
    controller.turn()
    assert played.state(run, "a") == "running"
    controller.marking.mark(run, "a", state, "stop it", "me")
    if killed:
        controller._commit(controller.clock(), controller.machine.take())
        controller = played.again()  # the attempt is lost with the engine: the mark holds
    while controller.runs:
        controller.turn()
        played.engine.let(5)
    assert played.states(run) == {"a": state, "b": "success" if state == "success" else "upstream_failed"}
    assert played.launched.count("a") == 0


def test_a_task_that_waits_is_marked_at_once(played: Played):
    played.keep = True
    controller = played.again()
    run = submit(controller, chain("a", "b"))
    controller.marking.mark(run, "b", "failed", "not today", "me")
    controller.turn()
    assert played.states(run)["b"] == "failed"
    while controller.runs:
        played.engine.let(5)
        controller.turn()
    assert played.launched == ["a"]
    assert played.run_state(run) == "failed"


def test_an_instance_of_a_map_is_marked_and_the_map_decided_anew(played: Played):
    def end(launch):
        return failed(launch) if launch.instance == 1 else succeeded(launch, b"7")

    played.end = end  # type: ignore[method-assign]
    controller = played.again()
    nodes = (
        Node(id="each", function="m:each", mapped={"x": Value([1, 2, 3])}, resources={"cpu": 1000}),
        Node(id="sum", function="m:sum", upstream=("each",), inputs={"xs": Result("each")}, resources={"cpu": 1000}),
    )
    run = submit(controller, Graph(dag="d", nodes=nodes))
    played.finish()
    assert played.run_state(run) == "failed"
    with pytest.raises(UsageError, match=r"stands for its instances: mark its tasks, such as each\[0\]"):
        controller.marking.mark(run, "each", "success", "fine", "me")
    controller = played.again()
    controller.marking.mark(run, "each[1]", "success", "fine without it", "me")
    played.finish()
    assert played.run_state(run) == "success"
