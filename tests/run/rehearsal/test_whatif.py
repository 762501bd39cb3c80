"""What if: the real state machine against the states that Apache Airflow computed, and what a person types."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import UsageError
from clearance.graph.model import Graph, Node, Result, Value
from clearance.graph.trigger import RULES
from clearance.run.rehearsal.whatif import replay, what_if

DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[4] / "shared/data")) / "flow"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data are not at {DATA}")
def test_states_and_runs_are_those_that_airflow_computed():
    for dag in json.loads((DATA / "trigger_rules.json").read_text())["dags"]:
        assert replay(dag) == {"states": dag["states"], "run": dag["run"]}
        shuffled = list(dag["tasks"].items())
        random.Random(0).shuffle(shuffled)
        assert replay({"tasks": dict(shuffled)})["states"] == dag["states"]


def expected(tasks: dict[str, Any]) -> dict[str, str]:
    """The rules of trigger_rules.json once more, in the plainest form (the twelfth as Airflow 3 has it)."""
    states: dict[str, str] = {}
    waiting = dict(tasks)
    while waiting:
        for id, task in list(waiting.items()):
            above = [states.get(other) for other in dict.fromkeys(task["up"])]
            if None in above:
                continue
            success, skipped = above.count("success"), above.count("skipped")
            bad = above.count("failed") + above.count("upstream_failed")
            verdict = "run"
            match task["rule"] if above else "":
                case "all_success":
                    verdict = "upstream_failed" if bad else "skipped" if skipped else "run"
                case "all_failed":
                    verdict = "skipped" if success or skipped else "run"
                case "one_success":
                    verdict = "run" if success else "skipped" if skipped == len(above) else "upstream_failed"
                case "one_failed":
                    verdict = "run" if bad else "skipped"
                case "one_done":
                    verdict = "run" if success or "failed" in above else "skipped"
                case "none_failed":
                    verdict = "upstream_failed" if bad else "run"
                case "none_failed_min_one_success":
                    verdict = "upstream_failed" if bad else "skipped" if skipped == len(above) else "run"
                case "none_skipped":
                    verdict = "skipped" if skipped else "run"
                case "all_skipped":
                    verdict = "run" if skipped == len(above) else "skipped"
                case "all_done_min_one_success":
                    verdict = "skipped" if skipped else "run" if success else "upstream_failed"
            outcome = {"success": "success", "fail": "failed", "skip": "skipped"}[task["outcome"]]
            states[id] = outcome if verdict == "run" else verdict
            del waiting[id]
    return states


@st.composite
def dags(draw: Any) -> dict[str, Any]:
    names = [f"t{index}" for index in range(draw(st.integers(1, 12)))]
    tasks = {
        name: {
            "up": draw(st.lists(st.sampled_from(names[:index]), max_size=4, unique=True)) if index else [],
            "rule": draw(st.sampled_from(RULES)),
            "outcome": draw(st.sampled_from(["success", "success", "fail", "skip"])),
        }
        for index, name in enumerate(names)
    }
    return dict(draw(st.permutations(list(tasks.items()))))


@settings(max_examples=300, deadline=None)
@given(dags())
def test_random_dags_end_as_the_rules_say_whatever_the_order_in_which_they_are_written(tasks: dict[str, Any]):
    states = expected(tasks)
    above = {other for task in tasks.values() for other in task["up"]}
    failed = any(states[id] in ("failed", "upstream_failed") for id in tasks.keys() - above)
    assert replay({"tasks": tasks}) == {"states": states, "run": "failed" if failed else "success"}


def test_one_done_does_not_take_for_done_what_never_ran():
    tasks = {
        "a": {"up": [], "rule": "all_success", "outcome": "fail"},
        "b": {"up": ["a"], "rule": "all_success", "outcome": "success"},
        "c": {"up": ["b"], "rule": "one_done", "outcome": "success"},
    }
    assert replay({"tasks": tasks})["states"]["c"] == "skipped"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"up": ["bb"]}, "task 'a' waits for 'bb', which is none"),
        ({"up": ["b"]}, "cycle: "),
        ({"up": "b"}, "up is 'b': write a list"),
        ({"up": [1]}, "write a list of ids"),
        ({"outcome": "failed"}, "none of success, fail, skip"),
        ({"rule": "all_sucess"}, "did you mean 'all_success'"),
    ],
)
def test_a_dag_in_plain_data_that_is_wrong_is_refused(changed: dict[str, Any], says: str):
    one = {"up": [], "rule": "all_success", "outcome": "success"}
    with pytest.raises(UsageError, match=says):
        replay({"tasks": {"a": one | changed, "b": one | {"up": ["a"]}}})


def node(id: str, *upstream: str, **options) -> Node:
    return Node(id=id, function=f"m:{id}", upstream=upstream, **options)


def test_a_failure_goes_down_to_the_run_unless_a_rule_catches_it():
    plain = Graph(dag="d", nodes=(node("a"), node("b", "a")))
    assert what_if(plain, fail=["a"]) == {"states": {"a": "failed", "b": "upstream_failed"}, "run": "failed"}
    caught = Graph(dag="d", nodes=(node("a"), node("b", "a", trigger_rule="all_done")))
    assert what_if(caught, fail=["a"]) == {"states": {"a": "failed", "b": "success"}, "run": "success"}
    assert what_if(plain, skip=["a"])["states"] == {"a": "skipped", "b": "skipped"}


def test_one_instance_of_a_map_can_fail():
    graph = Graph(dag="d", nodes=(node("m", mapped={"x": Value([1, 2])}), node("j", "m")))
    found = what_if(graph, fail=["m[1]"])
    assert found["states"] == {"m": "failed", "m[0]": "success", "m[1]": "failed", "j": "upstream_failed"} | {}
    over = Graph(dag="d", nodes=(node("a"), node("m", "a", mapped={"x": Result("a")})))
    assert what_if(over)["states"] == {"a": "success", "m": "success"}


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'train'"):
        what_if(Graph(dag="d", nodes=(node("train"),)), fail=["trian"])
    with pytest.raises(UsageError, match="cannot both"):
        what_if(Graph(dag="d", nodes=(node("a"),)), fail=["a"], skip=["a"])


def test_a_task_that_is_named_twice_upstream_counts_once():
    dag = {"a": {"up": [], "rule": "all_success", "outcome": "skip"}}
    dag["b"] = {"up": ["a", "a"], "rule": "all_success", "outcome": "success"}
    assert replay({"tasks": dag})["states"] == {"a": "skipped", "b": "skipped"}
    dag["b"]["rule"] = "one_success"
    assert replay({"tasks": dag})["states"] == {"a": "skipped", "b": "skipped"}
