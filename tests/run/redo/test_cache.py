"""The cache with the real controller and databases: what is a hit, what is a miss and why, kills, broken bytes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from clearance.engine.base import Finished
from clearance.errors import LeaseLost, UsageError
from clearance.graph.model import Caching, Graph, Node, Result, Value
from clearance.run.look import views
from clearance.run.redo import cache as cache_module
from clearance.run.redo import entries
from clearance.run.rows import run_row
from clearance.store.blobs import open_blobs
from clearance.store.database import Database
from clearance.types.artifact import Artifact
from clearance.types.digest import digest_of
from run.redo.test_clearing import Played
from support.instant import failed, submit, until_idle
from support.runs import Home, wait_for

CODE = digest_of(b"code")


@pytest.fixture
def played(database_url: str, tmp_path: Path):
    made = Played(database_url, tmp_path / "home")
    yield made
    made.database.close()


def graph(value: int = 1, **how) -> Graph:
    """`a`, which has a cache, and `b`, which has none."""
    code = how.pop("code", CODE)
    caching = Caching(code=code, **{name: how.pop(name) for name in ("max_age", "version", "asks") if name in how})
    nodes = (
        Node(id="a", function="m:a", inputs={"x": Value(value)}, cache=caching, resources={"cpu": 1000}, **how),
        Node(id="b", function="m:b", upstream=("a",), inputs={"x": Result("a")}, resources={"cpu": 1000}),
    )
    return Graph(dag="d", nodes=nodes, code={code: {"m:a": code[7:23]}})


def play(played: Played, of: Graph) -> str:
    run = submit(played.controller, of)
    until_idle(played.controller)
    return run


def test_a_result_is_taken_once_nothing_has_changed_and_the_run_says_from_where(played: Played):
    first = play(played, graph())
    second = play(played, graph())
    assert played.launched == ["a", "b", "b"]
    assert played.run_state(second) == "success"
    a, again = (views.artifact(played.database, run, "a")[2] for run in (first, second))
    assert a == again
    (event,) = played.events("cached")
    assert (event["from_run"], event["from_task"], event["digest"]) == (first, "a", a.digest)
    assert entries.explain(played.database, second, "a")["from"] == {"run": first, "task": "a"}
    signed = played.database.rows("attestations", a.digest)
    assert len(signed) == 1, "nothing is signed anew"
    assert views.why(played.database, second, "a")[0]["verdict"] == "granted"


@pytest.mark.parametrize(
    ("other", "field", "name"),
    [
        (graph(2), "parameters", "x"),
        (graph(code=digest_of(b"other")), "code", ""),
        (graph(version="2"), "version", ""),
        (graph(returns="int"), "serializer", ""),
        (graph(gang=2), "context", ""),
    ],
)
def test_what_differs_from_the_nearest_entry_is_named(played: Played, other: Graph, field: str, name: str):
    first = play(played, graph())
    second = play(played, other)
    assert played.launched == ["a", "b", "a", "b"]
    found = entries.explain(played.database, second, "a")
    assert found["outcome"] == "miss"
    assert found["nearest"] == {"run": first, "task": "a"}
    assert [(each["field"], each["name"]) for each in found["differs"]] == [(field, name)]
    if field == "code":
        assert found["differs"][0]["what"] == "m:a changed"
    with pytest.raises(UsageError, match="b has asked nothing of the cache"):
        entries.explain(played.database, second, "b")


def test_another_environment_is_a_miss_that_names_the_distribution(played: Played, monkeypatch: pytest.MonkeyPatch):
    from clearance.trust.environment import EnvironmentLock

    def lock(version: str) -> EnvironmentLock:
        text = f"# cpython 3.11.7 linux x86_64\nnumpy=={version}\nsix==1\n"
        return EnvironmentLock(text, digest_of(text.encode()))

    monkeypatch.setattr(type(played.controller.evidence), "environment", lambda self: lock("1.0"))
    play(played, graph())
    monkeypatch.setattr(type(played.controller.evidence), "environment", lambda self: lock("2.0"))
    second = play(played, graph())
    assert entries.explain(played.database, second, "a")["differs"] == [
        {"field": "environment", "name": "", "what": "numpy 1.0 → 2.0"}
    ]


def test_an_input_made_anew_with_the_same_bytes_is_a_hit_and_another_a_miss(played: Played):
    def of(code: bytes) -> Graph:
        one, two = digest_of(code), CODE
        nodes = (
            Node(id="a", function="m:a", cache=Caching(code=one), resources={"cpu": 1000}),
            Node(
                id="b", function="m:b", upstream=("a",), inputs={"x": Result("a")}, cache=Caching(code=two),
                resources={"cpu": 1000},
            ),
        )  # fmt: skip
        return Graph(dag="d", nodes=nodes, code={one: {}, two: {}})

    values = {"a": b"1", "b": b"2"}

    def end(launch):
        played.launched.append(launch.task)
        data = values[launch.task]
        return Finished(launch.attempt, "success", Artifact(digest_of(data), len(data), "json", "int", data))

    played.end = end  # type: ignore[method-assign]
    played.again()
    play(played, of(b"one"))
    play(played, of(b"two"))  # other code, the same result
    assert played.launched == ["a", "b", "a"]
    values["a"] = b"7"
    run = play(played, of(b"three"))
    assert played.launched == ["a", "b", "a", "a", "b"]
    assert [(each["field"], each["name"]) for each in entries.explain(played.database, run, "b")["differs"]] == [
        ("inputs", "x")
    ]


def test_what_is_too_old_or_of_weaker_evidence_is_not_taken(played: Played):
    now = [1_000_000.0]
    played.controller.clock = lambda: now[0]
    first = play(played, graph(max_age=60.0))
    now[0] += 59
    play(played, graph(max_age=60.0))
    assert played.launched == ["a", "b", "b"]
    now[0] += 2
    late = play(played, graph(max_age=60.0))
    assert played.launched == ["a", "b", "b", "a", "b"]
    assert entries.explain(played.database, late, "a")["reason"] == f"the result of {first} a is older than 60 s"
    played.controller.cache._evidence = 2
    strict = play(played, graph())
    assert played.launched[-2:] == ["a", "b"]
    assert "weaker evidence (1)" in entries.explain(played.database, strict, "a")["reason"]


def test_a_failure_is_never_kept(played: Played):
    played.bad.add("a")
    play(played, graph())
    played.bad.clear()
    play(played, graph())
    assert played.launched == ["a", "a", "b"]


def test_of_what_asks_the_same_at_once_one_runs_and_the_other_waits_without_a_slot(played: Played):
    played.keep = True
    controller = played.again()
    first, second = submit(controller, graph()), submit(controller, graph())
    controller.turn()
    controller.turn()
    assert [each.run for each in played.engine.held] == [first]
    assert played.state(second, "a") == "awaiting_clearance"
    instance = controller.runs[second].nodes[0]
    assert f"{first} a makes the same result" in instance.clearance
    while controller.runs:
        played.engine.let(5)
        controller.turn()
    assert played.launched.count("a") == 1
    assert played.run_state(first) == played.run_state(second) == "success"


def test_where_the_first_fails_the_one_that_waited_runs(played: Played):
    seen: list[str] = []

    def end(launch):
        seen.append(launch.task)
        return failed(launch) if len(seen) == 1 else Played.end(played, launch)

    played.end = end  # type: ignore[method-assign]
    controller = played.again()
    first, second = submit(controller, graph()), submit(controller, graph())
    until_idle(controller)
    assert seen == ["a", "a", "b"]
    assert (played.run_state(first), played.run_state(second)) == ("failed", "success")


def test_a_cleared_task_runs_again_and_no_run_takes_what_it_had_made(played: Played):
    run = play(played, graph())
    played.controller.marking.clear(run, ["a"], only=True, dry=False)
    played.finish()
    assert played.launched == ["a", "b", "a"]
    play(played, graph())
    assert played.launched == ["a", "b", "a", "b"]


def blob(played: Played, size: int) -> Artifact:
    data = os.urandom(size)
    digest = open_blobs(played.controller.settings.blobs).put_bytes(data)
    return Artifact(digest, size, "file", "clearance.types.references.File")


@pytest.mark.parametrize("size", [5000, 300_000])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_bytes_that_are_changed_or_missing_are_a_miss_and_the_task_runs(played: Played, size: int, how: str):
    def end(launch):
        played.launched.append(launch.task)
        return Finished(launch.attempt, "success", blob(played, size) if launch.task == "a" else None)

    played.end = end  # type: ignore[method-assign]
    played.again()
    first = play(played, graph())
    good = run_with_threads(played, graph())
    assert played.launched == ["a", "b", "b"], entries.explain(played.database, good, "a")
    path = open_blobs(played.controller.settings.blobs).path(views.artifact(played.database, first, "a")[2].digest)
    path.chmod(0o644)
    path.unlink() if how == "missing" else path.write_bytes(b"x" * size)
    second = run_with_threads(played, graph())
    assert played.launched == ["a", "b", "b", "a", "b"]
    assert played.run_state(second) == "success"
    reason = entries.explain(played.database, second, "a")["reason"]
    assert f"the result of {first} a cannot be taken" in reason
    assert [event["task"] for event in played.events("cache_broken")] == ["a"]
    run_with_threads(played, graph())
    assert played.launched == ["a", "b", "b", "a", "b", "b"], "the new result is an entry"


def run_with_threads(played: Played, of: Graph) -> str:
    """Runs where bytes are compared in a thread."""
    run = submit(played.controller, of)
    deadline = time.monotonic() + 20
    while played.controller.runs:
        assert time.monotonic() < deadline
        played.controller.turn()
        time.sleep(0.001)
    return run


def test_an_entry_that_is_taken_away_while_it_is_compared_is_a_miss(played: Played, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache_module, "AT_ONCE", 0)

    def end(launch):
        played.launched.append(launch.task)
        return Finished(launch.attempt, "success", blob(played, 5000) if launch.task == "a" else None)

    played.end = end  # type: ignore[method-assign]
    played.again()
    play(played, graph())
    told = played.controller.cache._verifier.outcomes
    played.controller.cache._verifier.outcomes = list  # type: ignore[method-assign]
    run = submit(played.controller, graph())
    played.controller.turn()
    assert played.state(run, "a") == "awaiting_clearance"
    assert played.controller.forget("cache", -1e9, dry=False) == {"taken": 1, "more": False}
    played.controller.cache._verifier.outcomes = told  # type: ignore[method-assign]
    while played.controller.runs:
        played.controller.turn()
    assert played.launched == ["a", "b", "a", "b"]


def test_a_controller_that_dies_while_a_hit_is_committed_loses_and_doubles_nothing(
    played: Played, monkeypatch: pytest.MonkeyPatch
):
    """The death is one between any two statements of the transaction: what is left is the database as it was."""
    play(played, graph())
    statements = 0
    died = 0
    for at in range(1, 60):
        controller = played.again()
        write = played.database.dialect.write
        counted = [0]

        def dying(sql, rows_, counted=counted, at=at, write=write):
            counted[0] += 1
            if counted[0] == at:
                raise LeaseLost("killed here")
            return write(sql, rows_)

        run = submit(controller, graph())
        monkeypatch.setattr(played.database.dialect, "write", dying)
        try:
            until_idle(controller)
        except LeaseLost:
            died += 1
        monkeypatch.setattr(played.database.dialect, "write", write)
        statements = max(statements, counted[0])
        controller = played.again()
        if not played.database.rows("run_get", run):
            continue  # it was never accepted
        until_idle(controller)
        number = played.database.rows("run_get", run)[0][0]
        assert played.run_state(run) == "success"
        assert len(played.database.rows("events_after", number, 0)) == len(
            {row[0] for row in played.database.rows("events_after", number, 0)}
        )
        kinds = [row[4] for row in played.database.rows("events_after", number, 0)]
        assert kinds.count("cached") == 1
        if counted[0] < at:
            break
    assert died > 5
    assert played.launched.count("a") == 1


PIPELINE = """
import os, time
from pathlib import Path
from clearance import File, dag, task

FACTOR = 2

def scale(x):
    return x * FACTOR

@task(cache=True)
def numbers(n: int = 3) -> list[int]:
    print("numbers ran")
    return list(range(n))

@task(cache="7d")
def double(x: int) -> int:
    with open(os.environ["TEST_FOLDER"] + "/log", "a") as file:
        file.write(f"{x}\\n")
    return scale(x)

@task(cache=True)
def write(xs: list[int]) -> File:
    Path("out").write_bytes(bytes(200_000) + str(xs).encode())
    return File(Path("out"))

@task
def size(file: File) -> int:
    return file.path.stat().st_size

@dag
def small(n: int = 3):
    size(write(double.map(x=numbers(n))))
"""


def test_the_real_command_takes_results_of_the_run_before_until_the_code_changes(home: Home, tmp_path: Path):
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE)
    home.environment["TEST_FOLDER"] = str(tmp_path)
    home.command("run", str(file))
    home.command("run", str(file))
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "1", "2"]
    explained = json.loads(home.command("cache", "explain", "small/2", "double[1]", "--json"))
    assert explained["from"] == {"run": "small/1", "task": "double[1]"}
    assert "ok" in home.command("artifact", "verify", "small/2", "write")
    home.command("run", str(file), "-p", "n=4")  # three of four are there
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "1", "2", "3"]
    file.write_text(
        PIPELINE.replace("FACTOR = 2", "FACTOR = 3").replace("import os, time", "import os\n\n# why\nimport time")
    )
    home.command("run", str(file))
    explained = json.loads(home.command("cache", "explain", "small/4", "double[1]", "--json"))
    assert [(each["field"], each["what"]) for each in explained["differs"]] == [("code", "pipeline:FACTOR changed")]
    assert json.loads(home.command("cache", "explain", "small/4", "numbers", "--json"))["outcome"] == "hit"


SLOW = """
import os, time
from pathlib import Path
from clearance import dag, task

@task
def first() -> str:
    here = Path(os.environ["TEST_FOLDER"])
    (here / "begun").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
    return "{word}"

@task
def second(x: str) -> str:
    return x + " {word}"

two = dag("two", first >> second)
"""


def test_a_run_that_goes_on_keeps_its_version_when_the_file_changes(home: Home, tmp_path: Path):
    file = tmp_path / "pipeline.py"
    file.write_text(SLOW.format(word="old"))
    home.environment["TEST_FOLDER"] = str(tmp_path)
    running = home.start("run", str(file))
    wait_for(tmp_path / "begun")
    file.write_text(SLOW.format(word="new").replace("def second(x: str)", "def second(x: str, more: int = 1)"))
    (tmp_path / "go").touch()
    assert running.wait(60) == 0
    home.command("run", str(file))
    assert json.loads(home.command("artifact", "get", "two/1", "second")) == "old old"
    assert json.loads(home.command("artifact", "get", "two/2", "second")) == "new new"
    listed = json.loads(home.command("dag", "versions", "two", "--json"))
    assert [each["runs"] for each in listed] == [1, 1]
    found = json.loads(home.command("dag", "diff", "two", "two/1", listed[0]["digest"][7:15], "--json"))
    assert list(found["code"]["changed"]) == ["pipeline.py"]
    assert '-    return "old"\n+    return "new"\n' in found["code"]["changed"]["pipeline.py"]
    assert found["environment"] == {"added": {}, "removed": {}, "changed": {}}
    assert "no version and no run" in home.command("dag", "diff", "two", "two/1", "ffff0000", expect=2)


FIXED = """
import os
from clearance import dag, task

@task
def load(n: int = 1) -> int:
    open(os.environ["TEST_FOLDER"] + "/loads", "a").write("x")
    return n

@task
def train(x: int) -> int:
    {body}

@task
def report(x: int) -> int:
    return x

three = dag("three", load >> train >> report)
"""


def test_a_failed_run_goes_on_with_the_newest_version_in_a_run_of_its_own(home: Home, tmp_path: Path):
    file = tmp_path / "pipeline.py"
    file.write_text(FIXED.format(body="raise ValueError('wrong')"))
    home.environment["TEST_FOLDER"] = str(tmp_path)
    home.command("run", str(file), "-p", "n=7", expect=1)
    text = FIXED.format(body="return x * 2").replace(
        "three = dag", "@task\ndef other(x: int) -> int:\n    return -x\n\nthree = dag"
    )
    file.write_text(text.replace("load >> train >> report", "load >> train >> [report, other]"))
    home.command("dag", "register", str(file))
    home.command("retry", "three/1", expect=1)  # its own version by default
    home.command("retry", "three/1", "--newest")
    assert home.states("three/1")["train"] == "failed"
    assert home.states("three/2") == dict.fromkeys(("load", "train", "report", "other"), "success")
    assert (tmp_path / "loads").read_text() == "x"
    assert json.loads(home.command("artifact", "get", "three/2", "other")) == -14
    assert "ok" in home.command("artifact", "verify", "three/2", "load")
    home.command("clear", "three/2", "load", "--newest")
    assert (tmp_path / "loads").read_text() == "xx"
    assert "no task 'x'" in home.command("clear", "three/2", "x", "--newest", expect=2)


def test_what_nothing_names_is_taken_away_and_what_a_result_or_entry_names_stays(home: Home, tmp_path: Path):
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE)
    home.environment["TEST_FOLDER"] = str(tmp_path)
    home.command("run", str(file))
    file.write_text(PIPELINE.replace("200_000", "300_000"))
    home.command("run", str(file))
    blobs = sorted((home.path / "blobs").rglob("*"))
    stray = open_blobs(str(home.path / "blobs")).put_bytes(b"nobody names it" * 1000)
    kept = json.loads(home.command("cache", "gc", "--json"))
    assert kept == {"entries": 0, "blobs": 0, "bytes": 0, "bundles": 0}, "all of it is younger than the grace"
    time.sleep(1.1)
    found = json.loads(home.command("cache", "gc", "--grace", "1s", "--dry-run", "--json"))
    assert (found["blobs"], found["bytes"], found["bundles"]) == (1, 15000, 0)
    assert open_blobs(str(home.path / "blobs")).has(stray)
    assert json.loads(home.command("cache", "gc", "--grace", "1s", "--json"))["blobs"] == 1
    assert [each for each in sorted((home.path / "blobs").rglob("*")) if each.is_file()] == [
        each for each in blobs if each.is_file()
    ]
    assert json.loads(home.command("runs", "prune", "--older", "1s", "--json")) == {"runs": 2}
    assert json.loads(home.command("runs", "list", "--json")) == []
    assert json.loads(home.command("cache", "gc", "--grace", "1s", "--json"))["blobs"] == 0, "entries name them"
    home.command("run", str(file))
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "1", "2"], (
        "the entries of pruned runs are taken, and trusted"
    )
    time.sleep(1.1)
    home.command("runs", "prune", "--older", "1s")
    found = json.loads(home.command("cache", "gc", "--older", "1s", "--grace", "1s", "--json"))
    assert found["entries"] == 6
    assert "run small/4" in home.command("run", str(file)), "no id is given again"
    assert found["blobs"] == 2
    assert found["bundles"] == 1
    assert "sound" in home.command("db", "check")


MANY = """
import os
from clearance import dag, task

@task
def parts() -> list[int]:
    return list(range(2000))

@task(cache=True)
def work(x: int) -> int:
    with open(os.environ["TEST_FOLDER"] + "/worked", "a") as file:
        file.write("x")
    return x

@task
def total(xs: list[int]) -> int:
    return sum(xs)

@dag(isolation="worker")
def many():
    total(work.map(x=parts()))
"""


@pytest.mark.slow
def test_hits_outlive_kill_9_at_any_moment_and_nothing_is_done_again(home: Home, tmp_path: Path):
    file = tmp_path / "pipeline.py"
    file.write_text(MANY)
    home.environment["TEST_FOLDER"] = str(tmp_path)
    home.command("run", str(file))
    assert (tmp_path / "worked").read_text() == "x" * 2000

    def taken() -> int:
        with Database(f"sqlite:///{home.path}/clearance.db", read_only=True) as database:
            row = run_row(database, "again")
            if row is None:
                return 0
            found = database.rows("instance_counts", row.number)
            return sum(count for _, _, state, count in found if state == "success")

    process = home.start("run", str(file), "--run-id", "again")
    seen = []
    for least in (0, 300, 900):
        deadline = time.monotonic() + 30
        while taken() <= least and process.poll() is None:
            assert time.monotonic() < deadline
        home.kill_all()
        process.wait()
        seen.append(taken())
        process = home.start("resume", "again")
    assert process.wait(60) == 0
    assert 0 < seen[0] < 2000, "it was killed among the hits"
    assert seen == sorted(seen)
    assert (tmp_path / "worked").read_text() == "x" * 2000
    assert json.loads(home.command("artifact", "get", "again", "total")) == sum(range(2000))
    assert json.loads(home.command("cache", "explain", "again", "work[1999]", "--json"))["outcome"] == "hit"
