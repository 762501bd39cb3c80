"""Conditions, teardowns, handlers and mapped groups, mixed at random, against a plain reference.

Whatever finishes first, whatever is killed, the same states come out. The controller, the ledger and the database are
the real ones; attempts end as a function says.
"""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearance.errors import GraphError
from clearance.graph.model import Graph, Node, Result, Value
from clearance.graph.predicate import Compare, Every, Not, Predicate, Some, holds, sources, values_in
from clearance.run import machine as machine_module
from clearance.run import rows
from clearance.run.arguments import Arguments
from clearance.run.instance import BAD, ActiveRun
from clearance.run.machine import Machine
from clearance.run.shape import Shape
from clearance.store.database import Database
from clearance.types.artifact import Artifact
from clearance.types.digest import digest_of
from clearance.types.states import RunState, TaskState
from support.instant import InstantEngine, failed, lead, skipped, submit, succeeded
from support.reference import Key, Reference, fate_of, graphs, path_in, stored_states
from support.runs import Home

S = TaskState


def value_of(seed: int, task: str, path: tuple[int, ...]) -> int | str:
    """What a task returns in `v`: a number, sometimes text, which has no order with one."""
    drawn = random.Random(f"v {seed} {task} {path}")
    return "text" if drawn.random() < 0.1 else drawn.randrange(10)


def artifact_of(seed: int, task: str, path: tuple[int, ...]) -> Artifact:
    data = msgspec.json.encode({"v": value_of(seed, task, path)})
    return Artifact(digest_of(data), len(data), "json", "builtins.dict", data)


@st.composite
def languages(draw: st.DrawFn) -> Graph:
    """A random graph of `graphs()` with conditions, teardowns and handlers put into it."""
    nodes = list(draw(graphs()).nodes)
    shape = Shape(Graph(dag="d", nodes=tuple(nodes)))

    def predicate(number: int) -> Predicate | None:
        """A condition of a node on single values that come before it in topological order."""
        known = [
            other
            for other in range(number)
            if nodes[other].function
            and shape.levels(other) == shape.common(other, number)
            and not nodes[number].id.startswith(f"{nodes[other].id}.")
        ]
        if not known:
            return None

        def compare() -> Predicate:
            left = Result(nodes[draw(st.sampled_from(known))].id, ("v",))
            op = draw(st.sampled_from([">", "<=", "==", "!="]))
            return Compare(left, op, Value(draw(st.integers(0, 9))))

        kind = draw(st.sampled_from(["one", "one", "not", "every", "some"]))
        if kind == "one":
            return compare()
        if kind == "not":
            return Not(compare())
        return (Every if kind == "every" else Some)((compare(), compare()))

    for number in range(len(nodes)):
        if draw(st.integers(0, 3)) == 0 and (made := predicate(number)) is not None:
            nodes[number] = msgspec.structs.replace(nodes[number], conditions=(made,))
    plain = [number for number, node in enumerate(nodes) if node.function and not node.mapped]
    for number in plain:
        before = [other for other in plain if other < number and nodes[other].group == nodes[number].group]
        if not before or draw(st.integers(0, 2)):
            continue
        start = draw(st.sampled_from(before))
        between = [
            each.id
            for other, each in enumerate(nodes[:number])
            if other != start
            and each.group == nodes[number].group
            and not any(one.id.startswith(f"{each.id}.") and not each.function for one in nodes[number:])
        ]  # fmt: skip
        waits = draw(st.lists(st.sampled_from(between), unique=True, max_size=4)) if between else []
        nodes[number] = msgspec.structs.replace(
            nodes[number], upstream=(nodes[start].id,), setup=nodes[start].id, waits=tuple(waits),
            trigger_rule="all_success", conditions=(), fails_run=draw(st.booleans()),
        )  # fmt: skip
    for node in list(nodes):
        if node.function and draw(st.integers(0, 4)) == 0:
            kind = draw(st.sampled_from(["failure", "success"]))
            nodes.append(Node(id=f"{node.id}.on_{kind}", function="m:h", group=node.group, on=kind, of=node.id))
    for kind in ("failure", "success"):
        if draw(st.booleans()):
            nodes.append(Node(id=f"on_{kind}", function="m:h", on=kind))
    return Graph(dag="d", nodes=tuple(nodes))


class Wider(Reference):
    """The reference, with conditions, teardowns and handlers."""

    def __init__(self, graph: Graph, fate, seed: int, before: dict[Key, TaskState] | None = None) -> None:
        super().__init__(graph, fate, before)
        self.seed = seed
        self.redone: set[Key] = set()
        if before is not None:
            self.redone = self.redo(before)

    def redo(self, before: dict[Key, TaskState]) -> set[Key]:
        """What is done again: what had not succeeded, and what follows it. Nothing else below what stands for that."""
        cleared = {key for key in before if not super(Wider, self).unchanged(*key)}
        if not cleared:
            return set()
        nodes = self.graph.nodes
        found = {(number, ()) for number, node in enumerate(nodes) if node.on and not node.of}
        while True:
            more: set[Key] = set()
            for number, node in enumerate(nodes):
                depth = len(self.chain(number))
                watched = {self.index[name] for name in (*node.waits, *((node.of,) if node.of else ()))}
                for other, path in cleared | found:
                    if other not in watched and not watched & {*self.chain(other)}:
                        continue
                    at = path[:depth]
                    if (number, at) not in before:
                        continue
                    for one in (number, self.index[node.setup]) if node.setup else (number,):
                        more |= {(one, at[:level]) for level in range(depth + 1)}
            if more <= found:
                return cleared | found
            found |= more

    def unchanged(self, node: int, path: tuple[int, ...]) -> bool:
        if self.redone:
            if (node, path) in self.redone or (node, path) not in (self.before or {}):
                return False
            return not self.runs_now(node, path)
        return super().unchanged(node, path)

    def runs_now(self, node: int, path: tuple[int, ...]) -> bool:
        """In a copy of a group that was not run before and is now: then all in it is done."""
        chain = self.chain(node)
        if len(path) >= len(chain) or self.before is None or self.before[node, path] not in (S.SKIPPED, *BAD):
            return False
        group = chain[len(path)]
        return (
            len(path) == len(self.chain(group)) and (group, path) in self.redone and self.verdict(group, path) is None
        )

    def subject(self, name: str, node: int, path: tuple[int, ...]) -> TaskState:
        other = self.index[name]
        common = 0
        for left, right in zip(self.chain(node), self.chain(other), strict=False):
            if left != right:
                break
            common += 1
        return self.state(other, path[:common])

    def verdict(self, node: int, path: tuple[int, ...]) -> TaskState | None:
        spec = self.graph.nodes[node]
        if spec.on:
            wanted = S.FAILED if spec.on == "failure" else S.SUCCESS
            ended = self.subject(spec.of, node, path) if spec.of else S(self.run())
            return None if ended is wanted else S.SKIPPED
        states = [self.subject(name, node, path) for name in self.setups(node)]
        if any(state in BAD for state in states):
            return S.UPSTREAM_FAILED
        if S.SKIPPED in states:
            return S.SKIPPED
        if spec.conditions:
            states = [self.subject(name, node, path) for name in sources(spec.conditions)]
            if any(state in BAD for state in states):
                return S.UPSTREAM_FAILED
            if S.SKIPPED in states:
                return S.SKIPPED
            try:
                if not all(holds(each, lambda binding: self.value(binding, path)) for each in spec.conditions):
                    return S.SKIPPED
            except GraphError:
                return S.FAILED
        return super().verdict(node, path)

    def setups(self, node: int) -> list[str]:
        """The setups between which and a teardown a node stands."""
        found = []
        for down in self.graph.nodes:
            if not down.setup:
                continue
            around = [self.graph.nodes[each].id for each in (node, *self.chain(node))]
            waits = [name for name in around if name in down.waits]
            if any(down.setup in self.before_of(name) for name in waits):
                found.append(down.setup)
        return found

    def before_of(self, name: str) -> set[str]:
        """What a node depends on by its upstreams, and those of the groups around it, at any distance."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            number = self.index[waiting.pop()]
            above = [self.graph.nodes[each].id for each in self.chain(number)]
            for one in (*self.graph.nodes[number].upstream, *above):
                if one not in found:
                    found.add(one)
                    waiting.append(one)
        return found

    def value(self, binding, path: tuple[int, ...]) -> int | str:
        if isinstance(binding, Value):
            return binding.value
        other = self.index[binding.task]
        return value_of(self.seed, binding.task, path[: len(self.chain(other))])

    def _state(self, node: int, path: tuple[int, ...]) -> TaskState:
        spec = self.graph.nodes[node]
        if spec.function or len(path) != len(self.chain(node)) or (said := self.verdict(node, path)) is not None:
            found = super()._state(node, path)
            return found if spec.function or len(path) != len(self.chain(node)) else said
        members = [number for number, each in enumerate(self.graph.nodes) if each.group == spec.id]
        last = [each for each in members if self.last(each)]
        return S.FAILED if any(self.state(each, path) in BAD for each in last) else S.SUCCESS

    def last(self, node: int) -> bool:
        """Nothing in the same group counts on it, and it counts itself."""
        spec = self.graph.nodes[node]
        chain = self.chain(node)
        within = [each for number, each in enumerate(self.graph.nodes) if self.chain(number)[: len(chain)] == chain]
        return not spec.aside and not any(spec.id in each.upstream and not each.aside for each in within)

    def run(self) -> RunState:
        used: set[str] = set()
        for node in self.graph.nodes:
            names = [*({} if node.aside else dict.fromkeys(node.upstream)), *sources(node.conditions)]
            used |= {*names}
        for number, node in enumerate(self.graph.nodes):
            around = {self.graph.nodes[each].id for each in self.chain(number)}
            counts = node.function and not node.aside and not used & {node.id, *around}
            if counts and self.state(number) in (S.FAILED, S.UPSTREAM_FAILED):
                return RunState.FAILED
        return RunState.SUCCESS


def shown(states: dict[Key, TaskState], graph: Graph) -> dict[str, str]:
    return {f"{graph.nodes[node].id}{list(path)}": str(state) for (node, path), state in sorted(states.items())}


@given(graph=languages(), seed=st.integers(0, 2**32))
@settings(max_examples=400, deadline=None)
def test_whoever_finishes_first_the_same_states_come_out(graph: Graph, seed: int):
    fate = fate_of(seed)
    reference = Wider(graph, fate, seed)
    expected = shown(reference.everything(), graph)
    for turn in range(2):
        shuffled = random.Random(seed + turn)
        run = ActiveRun(number=1, key="k", id="d/1", version="v", bundle="b", graph=graph)
        made = Machine(Arguments(lambda artifact: artifact.inline or b""))
        made.begin(run)
        waiting, ended = [], []
        while True:
            changes = made.take()
            ended += changes.ended
            waiting += [each for each in changes.ready if each.state is S.AWAITING_CLEARANCE]
            for each in changes.ready:
                for other, common in run.shape.holds[each.node]:
                    row = run.get(other, each.path[:common])
                    assert row is not None
                    assert row.state.finished, f"{each.label} did not wait for {row.label}"
                if each.spec.on and not each.spec.of:
                    assert all(row.state.finished or row.spec.on for row in run.instances())
            if not waiting:
                break
            instance = waiting.pop(shuffled.randrange(len(waiting)))
            made.move(instance, S.QUEUED)
            made.move(instance, S.RUNNING)
            state = fate(instance.spec.id, instance.path)
            result = artifact_of(seed, instance.spec.id, instance.path) if state is S.SUCCESS else None
            made.finish(instance, state, result)
        assert shown({(each.node, each.path): each.state for each in run.instances()}, graph) == expected
        assert [state for _, state in ended] == [reference.run()]
        assert run.unfinished == 0


@given(graph=languages(), seed=st.integers(0, 2**32))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_kills_and_a_resume_the_database_ends_as_the_reference_says(
    graph: Graph, seed: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine_module, "WINDOW", 1 + seed % 3)
    home: Path = tmp_path_factory.mktemp("home")
    chance = random.Random(seed)
    fate = fate_of(seed)
    with Database(f"sqlite:///{home}/c.db") as database:
        database.migrate()

        def end(launch):
            task, path = path_in(database, launch)
            state = fate(task, path)
            if state is S.SUCCESS:
                return msgspec.structs.replace(succeeded(launch), result=artifact_of(seed, task, path))
            return failed(launch) if state is S.FAILED else skipped(launch)

        def go_on(controller):
            for _ in range(4000):
                controller.turn()
                if not controller.runs:
                    return controller
                if chance.random() < 0.05:
                    controller = lead(home, database, InstantEngine(end, 2, keep=True))  # the old one is gone
                controller.engine.let(chance.randint(0, 2))
            left = [row for run in controller.runs.values() for row in run.instances() if not row.state.finished]
            raise AssertionError([(row.label, str(row.state), row.pending, row.held) for row in left])

        controller = lead(home, database, InstantEngine(end, 2, keep=True))
        run = submit(controller, graph)
        controller = go_on(controller)
        first = Wider(graph, fate, seed)
        everything = first.everything()
        assert shown(stored_states(database, run), graph) == shown(everything, graph)
        assert rows.run_row(database, run).state == first.run()
        fate = fate_of(seed, bad=False)
        if controller.resume(run):
            go_on(controller)
            again = Wider(graph, fate, seed, everything)
            assert shown(stored_states(database, run), graph) == shown(again.everything(), graph)
            assert rows.run_row(database, run).state == again.run()


def test_a_condition_names_every_value_that_it_reads_once():
    a, b = Result("a", ("v",)), Result("b")
    condition = Every((Compare(a, ">", Value(1)), Not(Some((Compare(b, "<", a), Compare(a, "==", Value(None)))))))
    assert list(values_in(condition)) == [a, b]


def test_a_map_over_what_is_no_list_says_so_in_the_run_and_to_whoever_asks_why(home: Home, tmp_path: Path):
    (tmp_path / "loose.py").write_text("""
from typing import Any
from clearance import dag, task

@task
def text() -> Any:
    return "abc"

@task
def one(x: int) -> int:
    return x

@dag
def loose():
    one.map(x=text())
""")
    home.command("run", str(tmp_path / "loose.py"), expect=1)
    says = "parameter 'x' is mapped over the result of 'text', which is a builtins.str: return a list"
    assert says in home.show("loose/1")["tasks"][1]["reason"]
    assert says in home.command("why", "loose/1", "one")
