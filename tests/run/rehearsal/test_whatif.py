"""What if: the real state machine against the states that Apache Airflow computed, and what a person types."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from clearance.errors import UsageError
from clearance.graph.model import Graph, Node, Result, Value
from clearance.run.rehearsal.whatif import replay, what_if

DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[4] / "shared/data")) / "flow"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data are not at {DATA}")
def test_states_and_runs_are_those_that_airflow_computed():
    for dag in json.loads((DATA / "trigger_rules.json").read_text())["dags"]:
        assert replay(dag) == {"states": dag["states"], "run": dag["run"]}
        shuffled = list(dag["tasks"].items())
        random.Random(0).shuffle(shuffled)
        assert replay({"tasks": dict(shuffled)})["states"] == dag["states"]


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
