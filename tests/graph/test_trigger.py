"""Trigger rules against the states that Apache Airflow itself computed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clearance.errors import GraphError
from clearance.graph.trigger import RULES, check_rule, decide, early

DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[3] / "shared/data")) / "flow"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data are not at {DATA}")
def test_final_states_are_those_that_airflow_computed():
    for dag in json.loads((DATA / "trigger_rules.json").read_text())["dags"]:
        states: dict[str, str] = {}
        waiting = dict(dag["tasks"])
        while waiting:
            for name, task in list(waiting.items()):
                above = [states.get(other) for other in task["up"]]
                if None in above:
                    continue
                failed = above.count("failed") + above.count("upstream_failed")
                verdict = decide(task["rule"], above.count("success"), failed, above.count("skipped"))
                outcome = {"success": "success", "fail": "failed", "skip": "skipped"}[task["outcome"]]
                states[name] = outcome if verdict == "run" else verdict
                del waiting[name]
        assert states == dag["states"]


@pytest.mark.parametrize("rule", RULES)
def test_running_early_is_never_taken_back(rule: str):
    for succeeded in range(4):
        for failed in range(4):
            for skipped in range(4):
                if early(rule, succeeded, failed):
                    assert decide(rule, succeeded, failed, skipped) == "run"


def test_a_typo_names_the_nearest_rule():
    with pytest.raises(GraphError, match="did you mean 'all_success'"):
        check_rule("all_sucess")
