"""The commands that look at runs: logs, artifacts, databases; what a person or a script reads of them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from support.runs import Home, wait_for

PIPELINE = """
import os, sys, time
from pathlib import Path
from clearance import File, Model, Retry, Tree, context, dag, task

@task
def speak() -> str:
    here = Path(os.environ["TEST_FOLDER"])
    print("first", flush=True)
    print("aside", file=sys.stderr, flush=True)
    (here / "spoken").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
    print("last")
    return "x" * 10_000

@task
def folder() -> Tree:
    made = context.directory / "made"
    (made / "inner").mkdir(parents=True)
    (made / "inner" / "a.txt").write_text("a")
    return Tree(made, metadata={"rows": 1})

@task
def model(tree: Tree) -> Model:
    made = context.directory / "model"
    made.mkdir()
    (made / "weights.txt").write_text((tree.path / "inner" / "a.txt").read_text())
    return Model(made)

@task
def file() -> File:
    made = context.directory / "one.bin"
    made.write_bytes(bytes(range(256)) * 100)
    return File(made)

@task(retries=Retry(1, delay=0.01))
def twice() -> int:
    print("attempt", context.number)
    if context.number == 1:
        raise OSError("once")
    return 1

speaking = dag("speaking", speak)
made = dag("made", [folder >> model, file, twice])
"""


@pytest.fixture
def pipeline(home: Home, tmp_path: Path) -> str:
    home.environment["TEST_FOLDER"] = str(tmp_path)
    path = tmp_path / "pipeline.py"
    path.write_text(PIPELINE)
    return str(path)


def test_following_a_log_prints_what_comes_and_ends_with_the_task(home: Home, pipeline: str, tmp_path: Path):
    run = home.start("run", f"{pipeline}:speaking")
    wait_for(tmp_path / "spoken")
    follower = home.start("logs", "-f", "speaking/1", "speak")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "first\n"
    (tmp_path / "go").touch()
    assert [line.strip() for line in follower.stdout] == ["aside", "last"]
    assert follower.wait(30) == 0
    assert run.wait(30) == 0


def test_a_log_keeps_the_attempts_apart(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:made")
    assert home.command("logs", "made/1", "twice") == "attempt 2\n"
    assert home.command("logs", "made/1", "twice", "--attempt", "1").startswith("attempt 1\n")
    assert "has had 2 attempts" in home.command("logs", "made/1", "twice", "--attempt", "3", expect=2)
    assert "did you mean 'twice'" in home.command("logs", "made/1", "twcie", expect=2)


def test_artifacts_are_shown_verified_and_fetched(home: Home, pipeline: str, tmp_path: Path):
    home.command("run", f"{pipeline}:made")
    shown = json.loads(home.command("artifact", "show", "made/1", "model", "--json"))
    assert [each["path"] for each in shown["files"]] == ["weights.txt"]
    assert {each["kind"] for each in shown["attestations"]} == {"provenance", "model-signature"}
    assert "FAIL" not in home.command("artifact", "verify", "made/1", "model")
    home.command("artifact", "get", "made/1", "folder", "-o", str(tmp_path / "out"))
    assert (tmp_path / "out" / "inner" / "a.txt").read_text() == "a"
    home.command("artifact", "get", "made/1", "file", "-o", str(tmp_path / "out.bin"))
    assert (tmp_path / "out.bin").read_bytes() == bytes(range(256)) * 100
    assert "is there already" in home.command(
        "artifact", "get", "made/1", "file", "-o", str(tmp_path / "out.bin"), expect=2
    )
    assert "--output" in home.command("artifact", "get", "made/1", "folder", expect=2)
    home.command("artifact", "get", "made/1", "model", "-o", str(tmp_path / "model"))
    assert (tmp_path / "model.sig").exists()


def test_a_changed_blob_and_a_changed_envelope_are_found(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:made")
    for blob in (home.path / "blobs").rglob("*"):
        if blob.is_file() and blob.read_bytes() == b"a":
            blob.chmod(0o644)
            blob.write_bytes(b"b")
    assert "FAIL bytes" in home.command("artifact", "verify", "made/1", "folder", expect=3)
    connection = sqlite3.connect(home.path / "clearance.db")
    connection.execute("UPDATE attestation SET envelope = CAST(replace(envelope, 'sig\":\"M', 'sig\":\"N') AS BLOB)")
    connection.commit()
    connection.close()
    assert "FAIL provenance" in home.command("artifact", "verify", "made/1", "twice", expect=3)


def test_nothing_at_rest_is_a_pickle(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:made")
    for path in home.path.rglob("*"):
        if path.is_file() and not path.name.endswith(".pyc"):
            assert not path.read_bytes().startswith((b"\x80\x03", b"\x80\x04", b"\x80\x05")), path


def test_the_home_is_for_its_owner_alone(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:made")
    assert home.path.stat().st_mode & 0o077 == 0
    assert (home.path / "trust" / "installation.key").stat().st_mode & 0o177 == 0


def test_the_database_is_checked_and_migrated_by_command(home: Home, pipeline: str):
    assert "run a pipeline first" in home.command("db", "check", expect=4)
    assert "applied 1" in home.command("db", "migrate")
    assert "applied nothing" in home.command("db", "migrate")
    assert "sound" in home.command("db", "check")


def test_an_unknown_run_names_the_nearest(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:made", "--run-id", "monday")
    assert "did you mean 'monday'" in home.command("runs", "show", "mondya", expect=2)


def test_provenance_names_the_builder_the_version_and_the_inputs(home: Home, pipeline: str):
    import base64

    home.command("run", f"{pipeline}:made")
    connection = sqlite3.connect(home.path / "clearance.db")
    (version,) = connection.execute("SELECT version FROM run").fetchone()
    rows = connection.execute(
        "SELECT envelope FROM attestation JOIN instance ON instance.run = attestation.run"
        " AND instance.number = attestation.instance WHERE task = 'model' AND kind = 'provenance'"
    ).fetchall()
    connection.close()
    statement = json.loads(base64.b64decode(json.loads(rows[0][0])["payload"]))
    predicate = statement["predicate"]
    resolved = {each["name"]: each["digest"]["sha256"] for each in predicate["buildDefinition"]["resolvedDependencies"]}
    folder = json.loads(home.command("artifact", "show", "made/1", "folder", "--json"))["digest"]
    assert predicate["runDetails"]["builder"]["id"].endswith("/local/process")
    assert resolved["dag"] == version.removeprefix("sha256:")
    assert f"sha256:{resolved['input:tree']}" == folder
    assert {"bundle", "environment"} <= resolved.keys()
