"""Mapped groups with the real command, engine and database; and a hundred thousand instances through the controller."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from clearance.graph.model import Graph, Node, Result, Value
from clearance.store.database import Database, migrations
from support.instant import InstantEngine, failed, lead, submit, succeeded, until_idle
from support.runs import Home

PIPELINE = """
import os
from pathlib import Path
from clearance import dag, group, task

HERE = Path(os.environ["TEST_FOLDER"])

@task
def files() -> list[str]:
    return ["ab", "c", "def"]

@task
def letters(path: str) -> list[str]:
    return list(path)

@task
def double(letter: str, times: int = 2) -> str:
    if letter == "e" and not (HERE / "mended").exists():
        raise ValueError("no e")
    print("said", letter)
    return letter * times

@task
def join(parts: list[str]) -> str:
    return "".join(parts)

@task
def report(words: list[str], all: list[list[str]]) -> list:
    return [words, all]

@group
def word(path: str):
    parts = double.partial(times=2).map(letter=letters(path))
    return join(parts), parts

@dag(isolation="worker")
def words():
    joined, parts = word.map(path=files())
    report(joined, parts)

@task
def cross(a: int, b: str) -> str:
    return f"{a}{b}"

@dag(isolation="worker")
def table():
    join(cross.product(a=[1, 2], b=["x", "y"]))

@task(pool="licences")
def licensed() -> int:
    return 1

pooled = dag("pooled", licensed)
"""


@pytest.fixture
def pipeline(home: Home, tmp_path: Path) -> str:
    home.environment["TEST_FOLDER"] = str(tmp_path)
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE)
    return str(file)


def test_a_mapped_group_with_a_map_in_it_fails_in_one_copy_and_is_retried_there(
    home: Home, pipeline: str, tmp_path: Path
):
    home.command("run", f"{pipeline}:words", expect=1)
    states = home.states("words/1")
    assert states["word.join[0]"] == states["word.join[1]"] == "success"
    assert states["word.double[2,1]"] == "failed"
    assert states["word.double[2,2]"] == "success"
    assert states["word.join[2]"] == "upstream_failed"
    assert states["word"] == "failed"
    assert states["report"] == "upstream_failed"
    assert home.command("logs", "words/1", "word.double[2,2]") == "said f\n"
    assert "word.double[2,1]: granted (failed)" in home.command("why", "words/1", "word.double[2,1]")
    told = home.command("runs", "show", "words/1", "--state", "failed")
    assert "word.double[2,1]" in told
    assert "word.double[2,2]" not in told
    assert "no task 'word.double[7]'" in home.command("logs", "words/1", "word.double[7]", expect=2)
    (tmp_path / "mended").touch()
    home.command("retry", "words/1", "word.double[2,1]")
    states = home.states("words/1")
    assert {*states.values()} == {"success"}
    found = json.loads(home.command("artifact", "get", "words/1", "report"))
    assert found == [["aabb", "cc", "ddeeff"], [["aa", "bb"], ["cc"], ["dd", "ee", "ff"]]]
    by_task = {task["task"]: task for task in home.show("words/1")["tasks"]}
    assert by_task["word.double[2,1]"]["attempts"] == 1
    assert by_task["word.double"]["instances"] == {"success": 6}
    svg = tmp_path / "words.svg"
    home.command("runs", "show", "words/1", "--svg", str(svg))
    assert "word ×3" in svg.read_text()
    shown = home.command("dag", "show", f"{pipeline}:words")
    assert "mapped group" in shown
    assert "path=<path of word>" in shown


def test_a_product_runs_every_combination_the_last_list_fastest(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:table")
    assert json.loads(home.command("artifact", "get", "table/1", "join")) == "1x1y2x2y"


def test_a_pool_is_made_by_command_and_missing_is_said_with_the_mend(home: Home, pipeline: str):
    assert "clearance pool set licences SLOTS" in home.command("run", f"{pipeline}:pooled", expect=2)
    home.command("pool", "set", "licences", "2")
    assert json.loads(home.command("pool", "list", "--json")) == [{"pool": "licences", "slots": 2}]
    home.command("run", f"{pipeline}:pooled")
    home.command("pool", "remove", "licences")
    assert "no pool 'licences'" in home.command("pool", "remove", "licences", expect=2)


def test_more_elements_than_the_limit_fail_the_task_with_the_mend(home: Home, pipeline: str, tmp_path: Path):
    home.environment["CLEARANCE_MAP_LIMIT"] = "2"
    printed = home.command("run", f"{pipeline}:words", expect=1)
    assert "3 elements, the limit is 2: map over batches of them, or raise CLEARANCE_MAP_LIMIT" in printed


@pytest.mark.slow
def test_a_hundred_thousand_instances_with_a_kill_and_a_retry_of_what_failed(tmp_path: Path):
    count = 100_000
    ran = bytearray(count)
    broken = True

    def end(launch):
        ran[launch.instance] += 1
        return failed(launch) if broken and launch.instance % 1000 == 7 else succeeded(launch)

    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        controller = lead(tmp_path, database, InstantEngine(end, 64))
        run = submit(
            controller, Graph(dag="d", nodes=(Node(id="m", function="m:m", mapped={"x": Value([0] * count)}),))
        )
        most = 0
        for turn in range(100_000):
            controller.turn()
            if not controller.runs:
                break
            most = max(most, len(controller.runs[run].rows))
            if turn == 300:
                controller = lead(tmp_path, database, InstantEngine(end, 64))
                assert len(controller.runs[run].rows) < 3000
        assert most < 3000  # what that is in bytes: bench/run/mapped.py
        counts = {state: some for _, _, state, some in database.rows("instance_counts", 1)}
        assert counts == {"success": count - 100, "failed": 100}
        again = sum(ran) - count
        assert again <= 64 + 1  # what was launched when it was killed, and no more
        broken = False
        assert controller.resume(run)
        until_idle(controller)
        assert sum(ran) - count == again + 100
        assert {state for _, _, state, _ in database.rows("instance_counts", 1)} == {"success"}


def test_the_results_of_a_mapped_group_are_collected_from_the_database_in_order(tmp_path: Path):
    seen = []

    def end(launch):
        if launch.task == "sum":
            seen.append([[each.artifact.inline for each in inner.items] for inner in launch.arguments["xs"].items])
            return succeeded(launch)
        return succeeded(launch, b"%d" % launch.instance)

    nodes = (
        Node(id="g", function="", mapped={"x": Value(list(range(30)))}),
        Node(id="g.m", function="m:m", group="g", mapped={"y": Value([0, 1, 2])}),
        Node(id="sum", function="m:s", upstream=("g.m",), inputs={"xs": Result("g.m")}),
    )
    with Database(f"sqlite:///{tmp_path}/c.db") as database:
        database.migrate()
        controller = lead(tmp_path, database, InstantEngine(end, 4))
        submit(controller, Graph(dag="d", nodes=nodes))
        until_idle(controller)
    assert seen == [[[b"0", b"1", b"2"]] * 30]


def test_a_database_from_before_mapping_is_migrated(tmp_path: Path):
    path = tmp_path / "old.db"
    with Database(f"sqlite:///{path}") as database:
        database.dialect.script("CREATE TABLE migration (number BIGINT PRIMARY KEY)")
        from string import Template

        for number, text in migrations():
            if number < 5:
                database.dialect.script(Template(text).substitute(database.dialect.types))
                database.dialect.script(f"INSERT INTO migration (number) VALUES ({number})")
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO dag_version VALUES ('v', 'd', 'b', 'm', x'7b7d', 0)")
    connection.execute(
        "INSERT INTO run (number, key, id, dag, version, state, parameters, principal, environment, created_at)"
        " VALUES (1, 'k', 'd/1', 'd', 'v', 'success', '{}', 'p', '', 0)"
    )
    for number, position in ((0, -1), (1, 0), (2, 1)):
        connection.execute(
            "INSERT INTO instance VALUES (1, ?, 0, 'm', ?, 'success', 0, 0, 0, 1, 1, 0, 0, '')", (number, position)
        )
    connection.commit()
    connection.close()
    with Database(f"sqlite:///{path}") as database:
        assert database.migrate()[0] == 5
        assert database.problems() == []
        from clearance.run import rows

        assert [each.label for each in rows.instance_rows(database, 1)] == ["m", "m[0]", "m[1]"]
    assert os.path.getsize(path)
