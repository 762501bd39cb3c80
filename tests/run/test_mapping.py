"""Mapped tasks and groups, nested, against a plain reference: which instances run, in which order, how all of it ends.

The controller, the ledger and the databases are the real ones; attempts end as a function says.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearance.graph.model import Graph
from clearance.run import machine as machine_module
from clearance.run.arguments import Arguments
from clearance.run.instance import ActiveRun
from clearance.run.machine import Machine
from clearance.store.database import Database
from clearance.types.states import TaskState
from support.instant import InstantEngine, failed, lead, skipped, submit, succeeded
from support.reference import Reference, fate_of, graphs, path_in, stored_states

S = TaskState


@given(graph=graphs(), seed=st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_nested_maps_and_groups_end_as_the_reference_says_whoever_finishes_first(graph: Graph, seed: int):
    fate = fate_of(seed)
    expected = Reference(graph, fate).everything()
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
                early = each.spec.trigger_rule in ("one_failed", "one_success")
                for parent, common in run.shape.parents[each.node]:
                    row = run.get(parent, each.path[:common])
                    assert row is not None
                    assert early or row.state.finished, f"{each.label} did not wait for {row.label}"
            for each in run.instances():  # no barrier: nothing is left waiting for what has ended
                if each.state is S.SCHEDULED and not each.collects:
                    above = [run.get(parent, each.path[:common]) for parent, common in run.shape.parents[each.node]]
                    assert any(row is not None and not row.state.finished for row in above), each.label
            if not waiting:
                break
            instance = waiting.pop(shuffled.randrange(len(waiting)))
            made.move(instance, S.QUEUED)
            made.move(instance, S.RUNNING)
            made.finish(instance, fate(instance.spec.id, instance.path))
        states = {(each.node, each.path): each.state for each in run.instances()}
        assert {k: str(v) for k, v in states.items()} == {k: str(v) for k, v in expected.items()}
        assert len(ended) == 1
        assert run.unfinished == 0


@given(graph=graphs(), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_small_windows_kills_and_a_resume_the_database_ends_as_the_reference_says(
    database_url: str, graph: Graph, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine_module, "WINDOW", 1 + seed % 3)
    home = tmp_path / "home"
    chance = random.Random(seed)
    fate = fate_of(seed)
    with Database(database_url) as database:
        database.migrate()
        database.dialect.script(
            "UPDATE run SET state = 'failed' WHERE state = 'running'"
        )  # left by an example that failed

        def end(launch):
            task, path = path_in(database, launch)
            state = fate(task, path)
            return succeeded(launch) if state is S.SUCCESS else failed(launch) if state is S.FAILED else skipped(launch)

        def go_on(controller):
            for _ in range(3000):
                controller.turn()
                if not controller.runs:
                    return controller
                if chance.random() < 0.05:
                    controller = lead(home, database, InstantEngine(end, 2, keep=True))  # the old one is gone
                controller.engine.let(chance.randint(0, 2))
            raise AssertionError(
                [
                    (each.label, str(each.state), each.pending)
                    for run in controller.runs.values()
                    for each in run.instances()
                    if not each.state.finished
                ]
            )

        controller = lead(home, database, InstantEngine(end, 2, keep=True))
        run = submit(controller, graph)
        controller = go_on(controller)
        first = Reference(graph, fate).everything()
        assert {k: str(v) for k, v in stored_states(database, run).items()} == {k: str(v) for k, v in first.items()}
        fate = fate_of(seed, bad=False)
        if controller.resume(run):
            go_on(controller)
            again = Reference(graph, fate, first).everything()
            assert {k: str(v) for k, v in stored_states(database, run).items()} == {k: str(v) for k, v in again.items()}
