"""The state machine, pure: random graphs and outcomes against the rule, counters against a recount."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.engine.base import Failure
from clearance.errors import ClearanceError
from clearance.graph.model import Graph, Node, Result, RetryPolicy, Value
from clearance.graph.retry import wait_of
from clearance.run.arguments import Arguments
from clearance.run.instance import BAD, ActiveRun, Instance
from clearance.run.machine import LOST_LIMIT, Machine
from clearance.types.artifact import Artifact, Literal, Stored
from clearance.types.digest import digest_of
from clearance.types.states import RunState, TaskState

RNG = random.Random(0)


def json_artifact(text: bytes) -> Artifact:
    return Artifact(digest_of(text), len(text), "json", "list", text)


def machine() -> Machine:
    return Machine(Arguments(lambda artifact: artifact.inline or b""))


def active(*nodes: Node) -> ActiveRun:
    return ActiveRun(number=1, key="k", id="d/1", version="v", bundle="b", graph=Graph(dag="d", nodes=nodes))


def node(id: str, *upstream: str, **options) -> Node:
    return Node(id=id, function=f"m:{id}", upstream=upstream, **options)


def launch(made: Machine, instance: Instance) -> None:
    instance.epoch += 1
    instance.attempts += 1
    made.move(instance, TaskState.QUEUED)
    made.move(instance, TaskState.RUNNING)


def ready(made: Machine) -> list[Instance]:
    return [each for each in made.take().ready if each.state is TaskState.AWAITING_CLEARANCE]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 12))
    nodes = []
    for number in range(count):
        upstream = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=4)) if number else []
        nodes.append(node(f"t{number}", *[f"t{each}" for each in sorted(upstream)]))
    return Graph(dag="d", nodes=tuple(nodes))


@given(graph=graphs(), seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_final_states_depend_on_outcomes_and_never_on_who_finished_first(graph: Graph, seed: int):
    outcome = random.Random(seed)
    fate = {
        each.id: outcome.choice([TaskState.SUCCESS, TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED])
        for each in graph.nodes
    }
    expected: dict[str, TaskState] = {}
    for each in graph.nodes:
        above = [expected[name] for name in each.upstream]
        if any(state in BAD for state in above):
            expected[each.id] = TaskState.UPSTREAM_FAILED
        elif TaskState.SKIPPED in above:
            expected[each.id] = TaskState.SKIPPED
        else:
            expected[each.id] = fate[each.id]
    for order in range(3):
        shuffled = random.Random(seed + order)
        made, run = machine(), active(*graph.nodes)
        made.begin(run)
        waiting: list[Instance] = []
        ended = []
        while True:
            changes = made.take()
            ended += changes.ended
            waiting += [each for each in changes.ready if each.state is TaskState.AWAITING_CLEARANCE]
            if not waiting:
                break
            instance = waiting.pop(shuffled.randrange(len(waiting)))
            launch(made, instance)
            made.finish(instance, fate[instance.spec.id])
            for each in run.nodes:
                if not each.state.finished:
                    parents = [run.nodes[parent] for parent in [parent for parent, _ in run.shape.parents[each.node]]]
                    assert each.pending == sum(not parent.state.finished for parent in parents)
        assert {each.spec.id: each.state for each in run.nodes} == expected
        failed = any(state in BAD for state in expected.values())
        assert [state for _, state in ended] == [RunState.FAILED if failed else RunState.SUCCESS]


def test_a_chain_of_twenty_thousand_fails_through_without_recursion():
    nodes = [node("t0")] + [node(f"t{number}", f"t{number - 1}") for number in range(1, 20_000)]
    made, run = machine(), active(*nodes)
    made.begin(run)
    (first,) = ready(made)
    launch(made, first)
    made.finish(first, TaskState.FAILED)
    assert run.nodes[-1].state is TaskState.UPSTREAM_FAILED
    assert [state for _, state in made.take().ended] == [RunState.FAILED]


def test_a_transition_that_is_not_in_the_table_is_refused():
    made, run = machine(), active(node("a"))
    with pytest.raises(ClearanceError, match="cannot become"):
        made.move(run.nodes[0], TaskState.RUNNING)


def test_a_failure_is_tried_again_as_often_as_the_policy_says_and_only_for_its_exceptions():
    policy = RetryPolicy(times=2, on=("builtins.OSError",))
    made, run = machine(), active(node("a", retries=policy))
    made.begin(run)
    (instance,) = ready(made)
    missing = Failure("builtins.FileNotFoundError", "gone", ("builtins.FileNotFoundError", "builtins.OSError"))
    for _ in range(2):
        launch(made, instance)
        made.fail(instance, missing, 100.0, RNG)
        assert instance.state is TaskState.UP_FOR_RETRY
        assert 100.0 < instance.due_at <= 160.0
        made.wake(instance)
    launch(made, instance)
    made.fail(instance, missing, 100.0, RNG)
    assert instance.state is TaskState.FAILED

    made, run = machine(), active(node("a", retries=policy))
    made.begin(run)
    (instance,) = ready(made)
    launch(made, instance)
    made.fail(instance, Failure("builtins.ValueError", "bad", ("builtins.ValueError",)), 100.0, RNG)
    assert instance.state is TaskState.FAILED


@given(attempts=st.integers(1, 200), seed=st.integers())
def test_a_retry_never_waits_longer_than_the_cap_nor_less_than_half_of_it_all(attempts: int, seed: int):
    policy = RetryPolicy(times=9, delay=1.0, backoff=2.0, max_delay=60.0)
    whole = min(2.0 ** (attempts - 1), 60.0)
    assert whole / 2 <= wait_of(policy, attempts, random.Random(seed)) <= whole


def test_a_lost_attempt_uses_no_retry_but_not_for_ever():
    made, run = machine(), active(node("a"))
    made.begin(run)
    (instance,) = ready(made)
    for _ in range(LOST_LIMIT):
        launch(made, instance)
        made.again(instance)
        assert instance.state is TaskState.AWAITING_CLEARANCE
        assert instance.attempts == 0
    launch(made, instance)
    made.again(instance)
    assert instance.state is TaskState.FAILED


def test_mapping_over_a_result_makes_one_instance_for_each_element():
    made = machine()
    run = active(node("a"), node("m", "a", mapped={"x": Result("a")}), node("j", "m", inputs={"xs": Result("m")}))
    made.begin(run)
    (first,) = ready(made)
    launch(made, first)
    made.finish(first, TaskState.SUCCESS, json_artifact(b"[1,2,3]"))
    mapped = ready(made)
    assert [each.mapped for each in mapped] == [{"x": Literal(value)} for value in (1, 2, 3)]
    assert run.nodes[1].state is TaskState.DEFERRED
    for each in mapped:
        launch(made, each)
        made.finish(each, TaskState.SUCCESS, json_artifact(b"%d" % each.position))
    (join,) = ready(made)
    assert join.spec.id == "j"


def test_mapping_over_an_empty_list_makes_no_instance_and_the_next_task_runs():
    made = machine()
    run = active(node("m", mapped={"x": Value([])}), node("j", "m", inputs={"xs": Result("m")}))
    made.begin(run)
    (join,) = ready(made)
    assert join.spec.id == "j"
    assert run.nodes[0].state is TaskState.SUCCESS


def test_mapping_over_no_list_fails_the_task_with_the_reason():
    made = machine()
    run = active(node("a"), node("m", "a", mapped={"x": Result("a")}))
    made.begin(run)
    (first,) = ready(made)
    launch(made, first)
    made.finish(first, TaskState.SUCCESS, json_artifact(b"7"))
    changes = made.take()
    assert run.nodes[1].state is TaskState.FAILED
    assert "return a list" in changes.reasons[run.nodes[1]]


def test_one_failed_instance_fails_the_mapped_task_and_what_follows():
    made = machine()
    run = active(node("m", mapped={"x": Value([1, 2])}), node("j", "m"))
    made.begin(run)
    good, bad = ready(made)
    for each, state in ((bad, TaskState.FAILED), (good, TaskState.SUCCESS)):
        launch(made, each)
        made.finish(each, state)
    assert run.nodes[0].state is TaskState.FAILED
    assert run.nodes[1].state is TaskState.UPSTREAM_FAILED


def test_retrying_one_mapped_instance_runs_it_and_what_follows_and_nothing_else():
    made = machine()
    run = active(node("m", mapped={"x": Value([1, 2])}), node("j", "m"))
    made.begin(run)
    good, bad = ready(made)
    for each, state in ((bad, TaskState.FAILED), (good, TaskState.SUCCESS)):
        launch(made, each)
        made.finish(each, state)
    made.take()
    made.clear(run, [(bad.node, bad.path)])
    assert ready(made) == [bad]
    assert good.state is TaskState.SUCCESS
    assert run.nodes[0].state is TaskState.DEFERRED
    launch(made, bad)
    made.finish(bad, TaskState.SUCCESS)
    (join,) = ready(made)
    launch(made, join)
    made.finish(join, TaskState.SUCCESS)
    assert [state for _, state in made.take().ended] == [RunState.SUCCESS]


def test_retrying_below_a_failure_that_stays_is_still_upstream_failed():
    made = machine()
    run = active(node("a"), node("b"), node("j", "a", "b"))
    made.begin(run)
    for each in ready(made):
        launch(made, each)
        made.finish(each, TaskState.FAILED)
    made.take()
    made.clear(run, [(0, ())])
    (again,) = ready(made)
    launch(made, again)
    made.finish(again, TaskState.SUCCESS)
    assert run.nodes[2].state is TaskState.UPSTREAM_FAILED
    assert [state for _, state in made.take().ended] == [RunState.FAILED]


def test_cancelling_ends_what_waits_at_once_and_what_runs_when_it_has_stopped():
    made = machine()
    run = active(node("a"), node("b", "a"), node("c", "b"))
    made.begin(run)
    (first,) = ready(made)
    launch(made, first)
    assert made.cancel(run) == [first]
    made.finish(first, TaskState.CANCELLED)
    assert {each.state for each in run.nodes} == {TaskState.CANCELLED}
    assert [state for _, state in made.take().ended] == [RunState.CANCELLED]


def test_stored_results_of_a_mapped_task_are_mapped_one_by_one():
    made = machine()
    run = active(node("m", mapped={"x": Value([1, 2])}), node("n", "m", mapped={"y": Result("m")}))
    made.begin(run)
    for each in ready(made):
        launch(made, each)
        made.finish(each, TaskState.SUCCESS, json_artifact(b"%d" % each.position))
    second = ready(made)
    assert [type(each.mapped["y"]) for each in second] == [Stored, Stored]


def test_a_timeout_is_tried_again_when_the_policy_names_it_or_everything():
    for names, state in (
        (("builtins.Exception",), TaskState.UP_FOR_RETRY),
        (("builtins.TimeoutError",), TaskState.UP_FOR_RETRY),
        (("builtins.ValueError",), TaskState.FAILED),
    ):
        made, run = machine(), active(node("a", retries=RetryPolicy(times=1, on=names)))
        made.begin(run)
        (instance,) = ready(made)
        launch(made, instance)
        made.fail(instance, Failure("timeout", "took too long"), 0.0, RNG)
        assert instance.state is state


def test_a_run_in_which_anything_was_cancelled_is_cancelled_even_if_nobody_remembers_why():
    made, run = machine(), active(node("a"), node("b"))
    made.begin(run)
    first, second = ready(made)
    made.finish(first, TaskState.CANCELLED)
    launch(made, second)
    made.finish(second, TaskState.SUCCESS)
    assert [state for _, state in made.take().ended] == [RunState.CANCELLED]
