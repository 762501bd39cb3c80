"""What has run, from Python, in both databases: handles of runs, tasks, instances, DAGs; lineage across runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clearance import Dag, Run
from clearance.errors import ClearanceError, UsageError
from clearance.run.look import task as task_module
from clearance.run.look.lineage import trace
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.types.references import File
from support.instant import InstantEngine, lead, submit, succeeded, until_idle
from support.postgresql import schema
from support.runs import Home, wait_for

PIPELINE = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from clearance import File, asset, context, dag, task

SUMS = asset("s3://lake/sums")

@dataclass
class Report:
    total: float
    count: int

@task
def numbers(count: int = 3) -> list[int]:
    print("making", count)
    print("careful", file=sys.stderr)
    return list(range(1, count + 1))

@task
def half(x: int) -> float:
    print("half of", x)
    return x / 2

@task
def double(x: float) -> float:
    return x * 2

@task(outlets=[SUMS])
def total(xs: list[float]) -> Report:
    return Report(sum(xs), len(xs))

@task
def keep(report: Report) -> File:
    path = context.directory / "total.txt"
    path.write_text(str(report.total))
    return File(path)

@task(retries=1)
def breaks() -> int:
    raise ValueError("as it should")

@task
def slow(folder: str = "") -> int:
    Path(folder, "started").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.01)
    return 7

@task
def seen() -> str:
    return "seen"

@dag
def sums(count: int = 3, lr: float = 0.1):
    keep(total(double.map(x=half.map(x=numbers(count)))))

broken = dag("broken", breaks)
slowly = dag("slowly", slow)
after = dag("after", seen, schedule=SUMS)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Home, Settings]]:
    """A home whose database is of each dialect, with the pipeline beside it, and the settings that read it."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)

    def made(url: str) -> Iterator[tuple[Home, Settings]]:
        home = Home(tmp_path / "home", url)
        yield home, Settings(home=home.path, database_url=url)
        home.kill_all()

    if request.param == "sqlite":
        yield from made("")
    else:
        with schema() as url:
            yield from made(url)


def test_a_run_is_looked_at_from_python(place):
    home, settings = place
    home.command("run", "pipeline.py:sums", "-p", "lr=0.5", "--tag", "team=vision")
    run = Run("sums/1", settings)
    assert (run.state, run.dag, run.parameters, run.tags) == (
        "success", "sums", {"count": 3, "lr": 0.5}, {"team": "vision"},
    )  # fmt: skip
    assert run.created_at.tzinfo is UTC
    assert run.created_at <= run.finished_at <= datetime.now(UTC)
    assert [task.name for task in run.tasks] == ["numbers", "half", "double", "total", "keep"]
    numbers = run["numbers"]
    assert (numbers.result, numbers.stdout, numbers.stderr) == ([1, 2, 3], "making 3\n", "careful\n")
    assert numbers.logs in ("making 3\ncareful\n", "careful\nmaking 3\n")
    assert [(each.number, each.outcome) for each in numbers.attempts] == [(1, "success")]
    assert numbers.failure is None
    assert run["half"].result == run.result("half") == [0.5, 1.0, 1.5]
    assert (len(run["half"]), run["half"][-1].name, run["half[1]"].result) == (3, "half[2]", 1.0)
    assert [each.stdout for each in run["half"]] == ["half of 1\n", "half of 2\n", "half of 3\n"]
    assert dict(run.logs)["half[2]"] == "half of 3\n"
    assert run.task("total").result == {"total": 6.0, "count": 3}  # the pipeline's module is not loaded here
    assert run.task("total").load(Report) == Report(6.0, 3)
    kept = run["keep"].result
    assert (kept.path.name, kept.path.read_text()) == ("total.txt", "6.0")
    assert kept.path == run["keep"].load(File).path, "the second look uses the cache"
    assert kept.path.stat().st_mode & 0o222 == 0


@dataclass
class Report:
    total: float
    count: int


def test_what_is_not_there_names_the_nearest(place):
    home, settings = place
    with pytest.raises(ClearanceError):
        Run("sums/1", settings)
    home.command("run", "pipeline.py:sums")
    home.command("run", "pipeline.py:broken", expect=1)
    with pytest.raises(UsageError, match="did you mean 'sums/1'"):
        Run("sums/2", settings)
    run = Run("sums/1", settings)
    with pytest.raises(UsageError, match="did you mean 'numbers'"):
        run.task("nubmers")
    with pytest.raises(UsageError, match="3 instances"):
        run["half"][3]
    with pytest.raises(UsageError, match="not mapped"):
        len(run["total"])
    with pytest.raises(UsageError, match="did you mean 'sums'"):
        Dag("smus", settings)
    broken = Run("broken/1", settings)["breaks"]
    assert (broken.state, len(broken.attempts), broken.failure.message) == ("failed", 2, "as it should")
    with pytest.raises(UsageError, match="is failed and has no result"):
        _ = broken.result


def test_a_dag_has_runs_and_versions(place):
    home, settings = place
    for count in (1, 2):
        home.command("run", "pipeline.py:sums", "-p", f"count={count}", "--tag", f"round={count}")
    home.command("run", "pipeline.py:broken", expect=1)
    found = Dag("sums", settings)
    assert found.latest_run == found.latest_successful_run == Run("sums/2", settings)
    assert [run.id for run in found.runs()] == ["sums/2", "sums/1"]
    assert [run.id for run in found.runs(tags={"round": "1"})] == ["sums/1"]
    assert [run.id for run in found.runs(tags={"round": None}, limit=1)] == ["sums/2"]
    assert [run.id for run in found.runs(parameters={"count": 1})] == ["sums/1"]
    assert list(found.runs(state="failed")) == []
    assert Dag("broken", settings).latest_successful_run is None
    versions = found.versions
    assert [each.digest for each in versions] == [run.version for run in found.runs()]
    assert versions[0].created_at > versions[1].created_at
    with pytest.raises(UsageError, match="did you mean 'failed'"):
        next(found.runs(state="fialed"))


def test_waiting_ends_with_the_run_while_a_controller_leads(place, tmp_path):
    home, settings = place
    home.environment["FOLDER"] = str(tmp_path)
    process = home.start("run", "pipeline.py:slowly", "-p", f"folder={tmp_path}")
    wait_for(tmp_path / "started")
    run = Run("slowly/1", settings)
    assert (run.state, run.finished_at, run["slow"].state) == ("running", None, "running")
    with pytest.raises(UsageError, match="is running and has no result"):
        _ = run["slow"].result
    with pytest.raises(ClearanceError, match=r"is running after 0.2 s"):
        run.wait(timeout=0.2)
    ended: list[str] = []
    waiting = threading.Thread(target=lambda: ended.append(run.wait(timeout=30).state))
    waiting.start()
    time.sleep(0.2)
    assert not ended
    (tmp_path / "go").touch()
    waiting.join(30)
    assert ended == ["success"]
    assert run["slow"].result == 7
    process.communicate(timeout=30)


def test_lineage_goes_up_and_down_and_across_runs(place):
    home, settings = place
    home.command("dag", "register", "pipeline.py:after")
    home.command("run", "pipeline.py:sums")
    after = next(iter(Run.search("dag:after", settings=settings)))
    after.wait(timeout=30)
    steps = after["seen"].lineage()
    by_task = {(step.run, step.task): step for step in steps}
    assert [step.task for step in steps] == ["seen", "total", "double", "half", "numbers"]
    assert by_task["sums/1", "total"].via == "asset s3://lake/sums"
    assert by_task["sums/1", "double"].via == "argument xs"
    assert by_task["sums/1", "numbers"].of == ("sums/1", "half")
    run = Run("sums/1", settings)
    kept = run["keep"].lineage()
    assert [(step.task, step.attested) for step in kept[:2]] == [("keep", None), ("total", True)]
    one = run["double[1]"].lineage()
    assert [(step.task, step.via, step.attested) for step in one if step.via != "equal content"] == [
        ("double[1]", "", None), ("half[1]", "element x", True), ("numbers", "element x", None),
    ]  # fmt: skip
    down = run["numbers"].lineage(down=True)
    assert {(step.run.partition("/")[0], step.task) for step in down} >= {
        ("sums", "half"), ("sums", "double"), ("sums", "total"), ("sums", "keep"), ("after", "seen"),
    }  # fmt: skip
    home.command("run", "pipeline.py:sums", "-p", "lr=0.7")
    users = {(step.run, step.task, step.via) for step in run["numbers"].lineage(down=True)}
    assert ("sums/2", "numbers", "equal content") in users
    assert ("sums/2", "half", "element x") in users
    printed = home.command("artifact", "lineage", "sums/1", "keep")
    assert "sums/1 numbers" in printed
    assert "keep" in home.command("artifact", "lineage", "sums/1", "numbers", "--down", "--json")
    assert len(run["numbers"].lineage(down=True, limit=3)) == 3


def test_instances_are_read_a_page_at_a_time(database_url, tmp_path, monkeypatch):
    from clearance.graph.model import Graph, Node, Value

    graph = Graph(dag="many", nodes=(Node(id="m", function="m:m", mapped={"x": Value(list(range(1100)))}),))
    with Database(database_url) as database:
        database.migrate()
        controller = lead(tmp_path / "home", database, InstantEngine(lambda launch: succeeded(launch, b"1")))
        id = submit(controller, graph)
        until_idle(controller)
    read: list[int] = []
    rows = Database.rows

    def counted(self, statement, *parameters):
        found = rows(self, statement, *parameters)
        if statement == "instances_after":
            read.append(len(found))
        return found

    monkeypatch.setattr(Database, "rows", counted)
    mapped = Run(id, Settings(home=tmp_path / "home", database_url=database_url))["m"]
    assert len(mapped) == 1100
    assert next(iter(mapped)).name == "m[0]"
    assert read == [task_module.PAGE]
    assert [each.name for each in mapped] == [f"m[{index}]" for index in range(1100)]
    assert read[1:] == [500, 500, 100]
    assert mapped.counts == {"success": 1100}


def test_lineage_wants_a_result(place):
    home, settings = place
    home.command("run", "pipeline.py:broken", expect=1)
    with Database(settings.database, read_only=True) as database, pytest.raises(UsageError, match="has no result"):
        trace(database, "broken/1", "breaks")
