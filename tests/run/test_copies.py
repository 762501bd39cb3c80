"""Groups that limit their open copies, nested at random, with handlers, clears and kills: whatever happens, they end.

The controller, the ledger and the database are the real ones; attempts end as a function says.
"""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearance.graph.model import Graph, Node, Value
from clearance.run import machine as machine_module
from clearance.run import recovery, rows
from clearance.run.instance import Instance
from clearance.run.redo.clearing import Reach
from clearance.run.shape import Shape
from clearance.store.database import Database
from clearance.types.states import TaskState
from run.test_language import Wider, artifact_of, languages, shown
from support.instant import InstantEngine, failed, lead, skipped, submit, succeeded, until_idle
from support.reference import fate_of, path_in, stored_states

S = TaskState


@st.composite
def limited(draw: st.DrawFn) -> Graph:
    """A random graph of `languages()` whose groups limit their copies, unless their copies wait for each other."""
    nodes = list(draw(languages()).nodes)
    shape = Shape(Graph(dag="d", nodes=tuple(nodes)))
    for number, node in enumerate(nodes):
        if node.is_group and not shape.returns(number):
            nodes[number] = msgspec.structs.replace(node, copies=draw(st.integers(0, 2)))
    return Graph(dag="d", nodes=tuple(nodes))


def counted(row: Instance) -> tuple[object, ...]:
    """What of a row decides when it goes on."""
    if row.state is S.DEFERRED:
        return row.state, row.pending, row.failed, row.skipped
    if row.state is S.SCHEDULED and not row.collects:
        return row.state, row.pending, row.failed, row.skipped, row.held
    return (row.state,)


class Life:
    """One database through which controllers come and go."""

    def __init__(self, home: Path, database: Database, seed: int) -> None:
        self.home, self.database, self.seed = home, database, seed
        self.chance = random.Random(seed)
        self.fate = fate_of(seed)
        self.launched: set[tuple[str, int]] = set()
        self.controller = self.take_over()

    def take_over(self):
        """A controller leads of which nothing but the database was left: what ran is lost."""
        self.controller = lead(self.home, self.database, InstantEngine(self.end, 2, keep=True))
        return self.controller

    def end(self, launch):
        task, path = path_in(self.database, launch)
        self.launched.add((launch.run, int(launch.checkpoint.rpartition(".")[2])))
        state = self.fate(task, path)
        if state is S.SUCCESS:
            return msgspec.structs.replace(succeeded(launch), result=artifact_of(self.seed, task, path))
        return failed(launch) if state is S.FAILED else skipped(launch)

    def until_idle(self, kills: float = 0.1) -> None:
        for _ in range(4000):
            self.controller.turn()
            if not self.controller.runs:
                return
            self.within_limits()
            self.as_stored()
            if self.chance.random() < kills:
                self.take_over()
            self.controller.engine.let(self.chance.randint(0, 2))
        runs = self.controller.runs.values()
        left = [row for run in runs for row in run.instances() if not row.state.finished]
        raise AssertionError([(row.label, str(row.state), row.pending, row.held) for row in left])

    def as_stored(self) -> None:
        """What the controller counts in memory is what one that takes over would count."""
        if self.controller.machine.changes.dirty or self.controller.machine.changes.ready:
            return
        for run in self.controller.runs.values():
            if run.cancelling:
                continue
            row = rows.run_row(self.database, run.id)
            loaded = recovery.load(self.database, row, self.controller.evidence.arguments)
            assert (loaded.failures, loaded.cancelled) == (run.failures, run.cancelled)
            for each in run.instances():
                other = loaded.get(each.node, each.path)
                if other is None or each.state.finished:
                    continue
                assert counted(each) == counted(other), each.label
            for key, expansion in loaded.expansions.items():
                mine = {at: copy.unfinished for at, copy in run.expansions[key].live.items()}
                theirs = {at: copy.unfinished for at, copy in expansion.live.items()}
                assert theirs.items() <= mine.items(), key  # what waits in a copy without acting may be opened again
                assert {*mine} - {*theirs} <= {*expansion.again}

    def within_limits(self) -> None:
        for run in self.controller.runs.values():
            for (node, _), expansion in run.expansions.items():
                if copies := run.graph.nodes[node].copies:
                    assert len(expansion.live) <= copies


@given(graph=limited(), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_groups_that_limit_their_copies_end_as_the_reference_says_whatever_is_killed(
    graph: Graph, seed: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine_module, "WINDOW", 1 + seed % 3)
    home: Path = tmp_path_factory.mktemp("home")
    with Database(f"sqlite:///{home}/c.db") as database:
        database.migrate()
        life = Life(home, database, seed)
        run = submit(life.controller, graph)
        life.until_idle()
        first = Wider(graph, life.fate, seed)
        everything = first.everything()
        assert shown(stored_states(database, run), graph) == shown(everything, graph)
        assert rows.run_row(database, run).state == first.run()
        life.fate = fate_of(seed, bad=False)
        if life.controller.resume(run):
            life.until_idle()
            again = Wider(graph, life.fate, seed, everything)
            assert shown(stored_states(database, run), graph) == shown(again.everything(), graph)


@given(graph=limited(), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_run_that_is_cleared_at_any_moment_ends_and_counts_right(
    graph: Graph, seed: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine_module, "WINDOW", 1 + seed % 3)
    home: Path = tmp_path_factory.mktemp("home")
    with Database(f"sqlite:///{home}/c.db") as database:
        database.migrate()
        life = Life(home, database, seed)
        run = submit(life.controller, graph)
        for _ in range(life.chance.randint(1, 4)):
            for _ in range(life.chance.choice([3, 10, 4000])):
                life.controller.turn()
                if not life.controller.runs:
                    break
                life.within_limits()
                life.as_stored()
                if life.chance.random() < 0.08:
                    life.controller.cancel(run)
                if life.chance.random() < 0.1:
                    life.take_over()
                life.controller.engine.let(life.chance.randint(0, 2))
            active = life.controller.looked_at(run)
            choices = [key for key, state in stored_states(database, run).items() if state.finished]
            if choices:
                some = life.chance.sample(choices, min(len(choices), life.chance.randint(1, 3)))
                reach = life.chance.choice([Reach.ALL, Reach.ONLY, Reach.UNSUCCESSFUL])
                life.controller.set_back(active, some, reach)
                if life.chance.random() < 0.3:
                    life.take_over()
        life.until_idle()
        states = stored_states(database, run)
        assert all(state.finished for state in states.values())


def test_a_finished_copy_is_not_open_again_because_another_group_has_one_of_the_same_index(tmp_path: Path):
    nodes = (
        Node(id="g", function="", mapped={"x": Value([0, 1])}, copies=1),
        Node(id="g.a", function="m:a", group="g"),
        Node(id="h", function="", mapped={"x": Value([0, 1])}),
        Node(id="h.b", function="m:b", group="h"),
    )
    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        controller = lead(tmp_path, database, InstantEngine(succeeded, 8, keep=True))
        run = submit(controller, Graph(dag="d", nodes=nodes))
        for _ in range(5):
            controller.turn()
        held = controller.engine.held
        held.sort(key=lambda launch: (launch.task, launch.instance))
        assert [(launch.task, launch.instance) for launch in held] == [("g.a", 0), ("h.b", 0), ("h.b", 1)]
        controller.engine.let(1)
        controller.turn()  # copy 0 of g has ended; copy 0 of h goes on
        controller = lead(tmp_path, database, InstantEngine(succeeded, 8))
        until_idle(controller, 100)
        assert rows.run_row(database, run).state == "success"


def test_a_run_that_is_being_cancelled_goes_on_being_so_when_the_controller_is_killed(tmp_path: Path):
    nodes = (
        Node(id="a", function="m:a"),
        Node(id="m", function="m:m", mapped={"x": Value(list(range(2000)))}),
        Node(id="b", function="m:b", upstream=("a", "m")),
    )
    launched = []

    def end(launch):
        launched.append(launch.task)
        return succeeded(launch)

    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        controller = lead(tmp_path, database, InstantEngine(end, 3, keep=True))
        run = submit(controller, Graph(dag="d", nodes=nodes))
        controller.turn()
        controller.turn()
        assert controller.cancel(run)
        controller.turn()
        controller = lead(tmp_path, database, InstantEngine(end, 3))
        until_idle(controller, 100)
        assert launched == []
        assert rows.run_row(database, run).state == "cancelled"
        controller.resume(run)
        controller.turn()
        controller = lead(tmp_path, database, InstantEngine(end, 3))
        until_idle(controller)
        assert rows.run_row(database, run).state == "success"
        assert sorted({*launched}) == ["a", "b", "m"]


def test_what_ends_the_moment_it_is_set_back_gives_its_limits_back(tmp_path: Path):
    graph = Graph(dag="d", nodes=(Node(id="a", function="m:a"),), max_active_runs=1)
    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        controller = lead(tmp_path, database, InstantEngine(failed, 3))
        run = submit(controller, graph)
        until_idle(controller)
        assert controller.marking.mark(run, "a", "success", "it was done by hand", "somebody")
        second = submit(controller, graph)
        until_idle(controller, 100)
        assert rows.run_row(database, run).state == "success"
        assert rows.run_row(database, second).state == "failed"


def test_a_copy_that_is_cleared_while_the_next_one_waits_for_room_is_opened_before_it(tmp_path: Path):
    nodes = (
        Node(id="g", function="", mapped={"x": Value([0, 1, 2])}, copies=1),
        Node(id="g.a", function="m:a", group="g"),
    )
    ran = []

    def end(launch):
        ran.append(launch.instance)
        return succeeded(launch)

    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        controller = lead(tmp_path, database, InstantEngine(end, 8, keep=True))
        run = submit(controller, Graph(dag="d", nodes=nodes))
        while not (held := controller.engine.held) or held[0].instance != 1:
            controller.turn()
            if held and held[0].instance == 0:
                controller.engine.let(1)
        controller.turn()  # copy 1 goes on, and copy 2 asks
        controller.marking.clear(run, ["g.a[0]"], only=True, dry=False)
        while controller.runs:
            controller.turn()
            assert len(controller.engine.held) <= 1
            controller.engine.let(1)
        assert ran == [0, 1, 0, 2]
        assert rows.run_row(database, run).state == "success"


def test_what_stands_for_copies_in_a_copy_that_is_opened_again_is_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine_module, "WINDOW", 1)
    nodes = (
        Node(id="g", function="", mapped={"x": Value([0, 1])}),
        Node(id="g.h", function="", group="g", mapped={"y": Value([0, 1, 2])}),
        Node(id="g.h.a", function="m:a", group="g.h", resources={"cpu": 1000}),
        Node(id="g.h.b", function="m:b", group="g.h", resources={"cpu": 1000}),
    )
    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        controller = lead(tmp_path, database, InstantEngine(succeeded, 2, keep=True))
        run = submit(controller, Graph(dag="d", nodes=nodes))
        for _ in range(3):
            controller.turn()
        assert controller.cancel(run)
        until_idle(controller, 100)
        controller.marking.clear(run, ["g.h.a[0,0]", "g.h.b[1,0]"], only=True, dry=False)
        while controller.runs:
            controller.turn()
            controller.engine.let(1)
            states = stored_states(database, run)
            copies = [states[3, (0,)], states[3, (1,)]]
            assert not states[3, ()].finished or all(state.finished for state in copies)
        assert states[3, (0, 2)] is S.SUCCESS  # a copy that had never been open
        assert states[3, (0, 0)] is S.CANCELLED  # nobody has cleared it
        assert states[3, ()] is states[3, (0,)] is S.FAILED


def test_a_run_whose_last_task_is_lost_for_good_when_a_controller_takes_over_ends_once(tmp_path: Path):
    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        controller = lead(tmp_path, database, InstantEngine(succeeded, 3, keep=True))
        run = submit(controller, Graph(dag="d", nodes=(Node(id="a", function="m:a"),)))
        for _ in range(machine_module.LOST_LIMIT + 1):
            controller.turn()
            controller = lead(tmp_path, database, InstantEngine(succeeded, 3, keep=True))
        until_idle(controller, 10)
        assert rows.run_row(database, run).state == "failed"
