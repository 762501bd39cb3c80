"""DAGs that start other DAGs."""

from __future__ import annotations

import json

PIPELINE = """
@task
def work(x: int = 1) -> int:
    if x == 13 and not (HERE / "mended").exists():
        raise ValueError("thirteen")
    return x * 2

child = dag("child", work)

@task
def number() -> int:
    return X

@task
def after(told: dict[str, str]) -> str:
    return told["run"]

@dag
def main():
    after(trigger_dag("kick", "child", parameters={"x": number()}, wait=True))

@dag
def forget():
    after(trigger_dag("kick", "child", parameters={"x": number()}))

wrong = dag("wrong", [trigger_dag("a", "chidl"), trigger_dag("b", "child", parameters={"y": 1})])
"""


def known(bench, x: int) -> str:
    file = bench.write(f"X = {x}\n{PIPELINE}")
    bench.home.command("run", f"{file}:child")
    return file


def children(bench) -> list[str]:
    return [run["id"] for run in json.loads(bench.home.command("runs", "list", "--dag", "child", "--json"))]


def test_the_newest_version_is_run_with_parameters_and_waited_for(bench):
    file = known(bench, 21)
    bench.home.command("run", f"{file}:main", "--workers", "1")
    assert bench.result("after") == "child/by/main/1/kick"
    assert bench.result("work", "child/by/main/1/kick") == 42


def test_a_failure_of_that_run_is_one_of_the_task_and_a_retry_starts_no_second_one(bench):
    file = known(bench, 13)
    printed = bench.home.command("run", f"{file}:main", expect=1)
    assert "run child/by/main/1/kick ended as failed" in printed
    bench.home.command("retry", "main/1", expect=1)
    (bench.folder / "mended").touch()
    bench.home.command("retry", "child/by/main/1/kick")
    bench.home.command("retry", "main/1")
    assert children(bench) == ["child/by/main/1/kick", "child/1"]


def test_without_waiting_the_run_goes_on_by_itself(bench):
    file = known(bench, 4)
    bench.home.command("run", f"{file}:forget")
    assert bench.result("after", "forget/1") == "child/by/forget/1/kick"
    bench.home.command("resume", "child/by/forget/1/kick")
    assert bench.result("work", "child/by/forget/1/kick") == 8


def test_a_dag_that_is_unknown_and_a_parameter_that_is_none(bench):
    file = known(bench, 1)
    printed = bench.home.command("run", f"{file}:wrong", expect=1)
    assert "no dag 'chidl' is known here; did you mean 'child'" in printed
    assert "parameter 'y' is unknown" in printed
    assert children(bench) == ["child/1"]
