"""A run on the newest version takes over what succeeded before: whole tasks, instances of maps, copies of groups."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearance.graph.model import Graph, Node, Result, Value, encode
from clearance.run import machine as machine_module
from clearance.run import rows
from clearance.run.controller import Controller, Submission
from clearance.store.database import Database
from clearance.types.digest import digest_of
from clearance.types.states import TaskState
from run.test_copies import Life, limited
from support.instant import InstantEngine, failed, lead, submit, succeeded, until_idle
from support.reference import path_in, stored_states
from support.runs import Home

S = TaskState


def on_newest(controller: Controller, graph: Graph, before: str, *again: str) -> str:
    bundle = digest_of(b"other code")
    asked = Submission(graph=encode(graph), bundle=bundle, module="m", adopt=before, again=again)
    return controller.submit(asked)[0]


class Played:
    """A graph that has run once, and what was launched since."""

    def __init__(self, home: Path, database: Database, graph: Graph, bad: set[tuple[str, tuple[int, ...]]]) -> None:
        self.home, self.database, self.graph, self.bad = home, database, graph, bad
        self.launched: list[str] = []
        self.controller = self.take_over()
        self.run = submit(self.controller, graph)
        until_idle(self.controller)
        self.launched.clear()
        self.bad = set()

    def take_over(self) -> Controller:
        self.controller = lead(self.home, self.database, InstantEngine(self.end, 4))
        return self.controller

    def end(self, launch):
        task, path = path_in(self.database, launch)
        self.launched.append(f"{task}{list(path) if path else ''}")
        value = b"[0, 1, 2]" if task == "list" else msgspec.json.encode([task, *path])
        return failed(launch) if (task, path) in self.bad else succeeded(launch, value)

    def results(self, run: str, task: str) -> dict[tuple[int, ...], bytes | None]:
        node = [each.id for each in self.graph.nodes].index(task)
        found = self.controller.stored.results(rows.run_row(self.database, run).number, node)
        return {path: artifact and artifact.inline for path, artifact in found}


MAPPED = Graph(
    dag="d",
    nodes=(
        Node(id="list", function="m:l"),
        Node(id="m", function="m:m", upstream=("list",), mapped={"x": Result("list")}),
        Node(id="sum", function="m:s", upstream=("m",), inputs={"xs": Result("m")}),
    ),
)
GROUPED = Graph(
    dag="d",
    nodes=(
        Node(id="g", function="", mapped={"x": Value([0, 1, 2])}, copies=2),
        Node(id="g.a", function="m:a", group="g"),
        Node(id="g.m", function="m:m", group="g", upstream=("g.a",), mapped={"y": Value([0, 1])}),
        Node(id="sum", function="m:s", upstream=("g.m",), inputs={"xs": Result("g.m")}),
    ),
)


@pytest.mark.parametrize("killed", [False, True])
def test_the_instances_of_a_map_that_failed_are_done_and_no_others(tmp_path: Path, killed: bool):
    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        played = Played(tmp_path, database, MAPPED, {("m", (1,))})
        run = on_newest(played.controller, MAPPED, played.run)
        if killed:
            played.take_over()
        until_idle(played.controller)
        assert played.launched == ["m[1]", "sum"]
        assert {*stored_states(database, run).values()} == {S.SUCCESS}
        assert played.results(run, "m") == {(at,): b'["m",%d]' % at for at in range(3)}


@pytest.mark.parametrize("killed", [False, True])
def test_the_copies_of_a_group_in_which_something_failed_are_done_whole(tmp_path: Path, killed: bool):
    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        played = Played(tmp_path, database, GROUPED, {("g.m", (1, 0))})
        run = on_newest(played.controller, GROUPED, played.run)
        if killed:
            played.take_over()
        until_idle(played.controller)
        assert sorted(played.launched) == ["g.a[1]", "g.m[1, 0]", "g.m[1, 1]", "sum"]
        assert {*stored_states(database, run).values()} == {S.SUCCESS}
        assert {*played.results(run, "g.m")} >= {(at, part) for at in range(3) for part in range(2)}


def test_a_map_that_succeeded_is_taken_over_whole_unless_it_is_named_or_its_list_is_made_anew(tmp_path: Path):
    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        played = Played(tmp_path, database, MAPPED, set())
        for again, launched in (
            ((), []),
            (("sum",), ["sum"]),
            (("m",), ["m[0]", "m[1]", "m[2]", "sum"]),
            (("list",), ["list", "m[0]", "m[1]", "m[2]", "sum"]),
        ):
            run = on_newest(played.controller, MAPPED, played.run, *again)
            until_idle(played.controller)
            assert sorted(played.launched) == launched
            assert {*stored_states(database, run).values()} == {S.SUCCESS}
            played.launched.clear()


def test_a_handler_of_what_is_done_again_and_a_setup_whose_block_is_are_done_too(tmp_path: Path):
    graph = Graph(
        dag="d",
        nodes=(
            Node(id="up", function="m:u"),
            Node(id="work", function="m:w", upstream=("up",)),
            Node(id="down", function="m:d", upstream=("up",), setup="up", waits=("work",)),
            Node(id="up.on_success", function="m:h", on="success", of="up"),
            Node(id="work.on_failure", function="m:h", on="failure", of="work"),
        ),
    )
    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        played = Played(tmp_path, database, graph, {("work", ())})
        on_newest(played.controller, graph, played.run)
        until_idle(played.controller)
        assert sorted(played.launched) == ["down", "up", "up.on_success", "work"]


@given(graph=limited(), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_taken_over_the_new_run_ends_and_what_is_done_was_not_taken_over(
    graph: Graph, seed: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine_module, "WINDOW", 1 + seed % 3)
    home: Path = tmp_path_factory.mktemp("home")
    with Database(f"sqlite:///{home}/c.db") as database:
        database.migrate()
        life = Life(home, database, seed)
        before = submit(life.controller, graph)
        for _ in range(random.Random(seed).choice([5, 4000])):
            life.controller.turn()
            if not life.controller.runs:
                break
            life.controller.engine.let(2)
        if life.controller.cancel(before):
            life.until_idle()
        old = stored_states(database, before)
        run = on_newest(life.controller, graph, before)
        number = rows.run_row(database, run).number
        taken = [row for row in rows.instance_rows(database, number) if row.state == "success"]
        assert all(old[row.node, row.path] is S.SUCCESS for row in taken)
        if seed % 2:
            life.take_over()
        life.until_idle()
        assert all(state.finished for state in stored_states(database, run).values())
        assert life.launched.isdisjoint((run, row.number) for row in taken)


PIPELINE = """
import os
from clearance import dag, task

@task
def parts() -> list[int]:
    return [1, 2, 3]

@task
def square(x: int) -> int:
    with open(os.environ["TEST_FOLDER"] + "/squared", "a") as file:
        file.write(f"{{x}}\\n")
    {body}

@task
def total(xs: list[int]) -> int:
    return sum(xs)

@dag
def squares():
    total(square.map(x=parts()))
"""


def test_retry_with_the_newest_version_goes_on_with_the_instances_that_failed(home: Home, tmp_path: Path):
    file = tmp_path / "pipeline.py"
    home.environment["TEST_FOLDER"] = str(tmp_path)
    file.write_text(PIPELINE.format(body="return x // (x - 2) and x * x"))
    home.command("run", str(file), expect=1)
    file.write_text(PIPELINE.format(body="return x * x"))
    home.command("dag", "register", str(file))
    (tmp_path / "squared").unlink()
    home.command("retry", "squares/1", "--newest")
    assert (tmp_path / "squared").read_text() == "2\n"
    assert home.command("artifact", "get", "squares/2", "total").strip() == "14"
    assert {*home.states("squares/2").values()} == {"success"}
    assert "ok" in home.command("artifact", "verify", "squares/2", "square[0]")
