"""How far the copies of a mapped group are opened ahead: no window may keep a run from ending.

The controller and the database are the real ones; attempts end the moment they are launched.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from clearance.graph.model import Graph, Node, Value
from clearance.run import machine as machine_module
from clearance.run import rows
from clearance.run.arguments import Arguments
from clearance.run.instance import ActiveRun
from clearance.run.machine import Machine
from clearance.run.shape import Shape
from clearance.store.database import Database
from clearance.types.states import RunState
from support.instant import InstantEngine, lead, submit, succeeded, until_idle


def round_about(copies: int, inner: int = 0, back: bool = True) -> Graph:
    """Copies in which `g.last` waits for `outer`, and that (if it comes back) for `g.first` in all of them."""
    return Graph(
        dag="d",
        nodes=(
            Node(id="g", function="", mapped={"x": Value([*range(copies)])}),
            Node(id="g.first", function="m:f", group="g", mapped={"x": Value([*range(inner)])}),
            Node(id="outer", function="m:f", upstream=("g.first",) if back else ()),
            Node(id="g.last", function="m:f", group="g", upstream=("outer",)),
        ),
    )


def test_copies_that_wait_for_all_of_their_group_by_way_of_outside_do_not_fill_the_window(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine_module, "WINDOW", 2)
    with Database(database_url) as database:
        database.migrate()
        controller = lead(tmp_path, database, InstantEngine(succeeded))
        run = submit(controller, round_about(7))
        until_idle(controller, most=100)
        row = rows.run_row(database, run)
        assert row is not None
        assert row.state == RunState.SUCCESS
        assert len(controller.stored.results(row.number, 3)) == 7


def test_a_controller_takes_another_turn_at_once_while_such_copies_are_to_be_opened(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine_module, "WINDOW", 2)
    with Database(database_url) as database:
        database.migrate()
        controller = lead(tmp_path, database, InstantEngine(succeeded, keep=True))
        submit(controller, round_about(7))
        (run,) = controller.runs.values()
        opened = []
        for _ in range(10):
            wait = controller.turn()
            opened.append(run.expansions[0, ()].opened)
            if opened[-1] == 7:
                break
            assert wait == 0.0
        assert opened[-1] == 7
        assert all(after - before <= 4 for before, after in zip([0, *opened], opened, strict=False)), "some at a time"


def test_copies_that_wait_for_something_else_are_opened_no_further_than_the_window(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine_module, "WINDOW", 2)
    run = ActiveRun(number=1, key="k", id="d/1", version="v", bundle="b", graph=round_about(7, back=False))
    machine = Machine(Arguments(lambda artifact: artifact.inline or b""))
    machine.begin(run)
    expansion = run.expansions[0, ()]
    machine.fill(run, expansion)
    assert expansion.opened == 2
    assert not machine.wants(run, expansion)


def test_a_group_returns_where_a_path_leaves_it_and_comes_back():
    assert Shape(round_about(2)).returns(0)
    assert not Shape(round_about(2, back=False)).returns(0)


def test_a_group_beside_another_in_one_group_does_not_return_because_of_the_group_around_both():
    nodes = (
        Node(id="h", function="", mapped={"x": Value([0, 1])}),
        Node(id="h.a", function="m:f", group="h"),
        Node(id="h.g", function="", group="h", mapped={"x": Value([0, 1])}),
        Node(id="h.g.b", function="m:f", group="h.g", upstream=("h.a",)),
        Node(id="h.c", function="m:f", group="h", upstream=("h.g.b",)),
    )
    shape = Shape(Graph(dag="d", nodes=nodes))
    assert not shape.returns(2)
    assert not shape.returns(0)
