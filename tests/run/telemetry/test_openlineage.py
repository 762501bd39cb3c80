"""OpenLineage: what is told of real runs is valid by the specification's own schemas, facets included."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource

from clearance import Retry, cron, dag, task
from clearance.engine.base import Failure, Finished
from clearance.errors import Defer
from clearance.run.telemetry import openlineage as spec
from clearance.run.telemetry.facts import Facts
from clearance.run.telemetry.runevents import run_events
from clearance.types.artifact import Artifact
from clearance.types.digest import digest_of
from support.controllers import NOON, Clock, Tower, submit
from support.flights import A, timed, waiting, write_a
from support.runs import Home, wait_for
from support.sinks import receiver, until

SHARED = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[4] / "shared/data"))
DATA = SHARED / "flow" / "openlineage"

PIPELINE = """
import os, time
from pathlib import Path
from clearance import Dataset, File, Model, Retry, Skip, asset, chain, dag, task

@task
def images() -> Dataset:
    folder = Path("images"); folder.mkdir(); (folder / "a.txt").write_text("a")
    return Dataset(folder, metadata={"rows": 1})

@task(outlets=[asset("s3://lake/models/digits")])
def train(images: Dataset) -> Model:
    folder = Path("model"); folder.mkdir(); (folder / "config.json").write_text("{}")
    return Model(folder)

@task
def report(model: Model, images: Dataset) -> File:
    Path("report.txt").write_text("good"); return File(Path("report.txt"))

@task(retries=1)
def flaky() -> int:
    raise ValueError("it is broken")

@task
def nothing() -> int:
    raise Skip("nothing to do")

@task
def long() -> int:
    (Path(os.environ["TEST_FOLDER"]) / "started").touch()
    time.sleep(600)
    return 1

@dag
def good(rate: float = 0.5):
    "Trains a model."
    found = images()
    report(train(found), found)
    nothing()

bad = dag("bad", flaky)
stopped = dag("stopped", long)
"""


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """The schemas by `$id`, as they are shipped."""
    if not DATA.is_dir():
        pytest.skip(f"DATA missing: {DATA}")
    files = [DATA / "OpenLineage.json", *(DATA / "facets").glob("*.json")]
    return {schema["$id"]: schema for schema in (json.loads(file.read_text()) for file in files)}


class Validator:
    """Judges events by the schemas."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        registry = Registry().with_resources((id, Resource.from_contents(one)) for id, one in schemas.items())
        checker = jsonschema.FormatChecker()

        def make(schema: Any) -> Any:
            return jsonschema.Draft202012Validator(schema, registry=registry, format_checker=checker)

        core = next(one for id, one in schemas.items() if id.endswith("/OpenLineage.json"))
        self._event = make(core)
        self._run_event = make({"$ref": f"{core['$id']}#/$defs/RunEvent"})
        self._facets = {
            name: (id, make(one))
            for id, one in schemas.items()
            for name in one.get("properties", {})
            if one is not core
        }
        self.facets: set[str] = set()

    def check(self, event: dict[str, Any]) -> None:
        self._event.validate(event)
        self._run_event.validate(event)
        assert datetime.fromisoformat(event["eventTime"]).utcoffset() is not None
        uuid.UUID(event["run"]["runId"])
        holders = [event["run"], event["job"]]
        for dataset in (*event["inputs"], *event["outputs"]):
            holders += [dataset, {"facets": dataset.get("outputFacets", {})}]
        for holder in holders:
            for name, facet in holder["facets"].items():
                id, validator = self._facets[name]
                validator.validate({name: facet})
                assert facet["_schemaURL"].startswith(f"{id}#/$defs/")
                self.facets.add(name)


@pytest.fixture
def validator(schemas: dict[str, Any]) -> Validator:
    return Validator(schemas)


def lives(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Returns the events by run id; each begins with START and ends with its only end."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        found.setdefault(event["run"]["runId"], []).append(event)
    for one in found.values():
        kinds = [event["eventType"] for event in one]
        assert kinds[0] == "START", kinds
        assert kinds[-1] in ("COMPLETE", "FAIL", "ABORT"), kinds
        assert set(kinds[1:-1]) <= {"RUNNING"}, kinds
        assert len({event["job"]["name"] for event in one}) == 1
        assert [event["eventTime"] for event in one] == sorted(event["eventTime"] for event in one)
    return found


@pytest.fixture
def pipeline(home: Home, tmp_path: Path) -> str:
    home.environment["TEST_FOLDER"] = str(tmp_path)
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return str(tmp_path / "pipeline.py")


PAIR = """
from clearance import dag, task
from clearance.operators import trigger_dag

@task
def work() -> int:
    return 1

asked = dag("asked", work)
asking = dag("asking", trigger_dag("kick", "asked", wait=True))
"""


def to_file(home: Home, tmp_path: Path) -> Path:
    file = tmp_path / "lineage.jsonl"
    home.environment["CLEARANCE_NOTIFY"] = json.dumps([{"name": "ol", "kind": "openlineage", "file": str(file)}])
    return file


def read(file: Path, ends: int) -> list[dict[str, Any]]:
    """Reads the events, once so many runs of DAGs have ended."""

    def events() -> list[dict[str, Any]]:
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    until(
        lambda: (
            sum(
                one["eventType"] in ("COMPLETE", "FAIL", "ABORT")
                and one["job"]["facets"]["jobType"]["jobType"] == "DAG"
                for one in events()
            )
            == ends
        )
    )
    return events()


def test_the_parent_of_a_run_that_a_task_asked_for_is_that_task(home, tmp_path, validator):
    file = to_file(home, tmp_path)
    (tmp_path / "pair.py").write_text(PAIR)
    home.command("dag", "register", str(tmp_path / "pair.py"))
    home.command("run", f"{tmp_path / 'pair.py'}:asking")
    events = read(file, 2)
    for event in events:
        validator.check(event)
    by_job = {one[0]["job"]["name"]: one for one in lives(events).values()}
    parent = by_job["asked"][0]["run"]["facets"]["parent"]
    assert parent["job"]["name"] == "asking.kick"
    assert parent["run"]["runId"] in {each["run"]["runId"] for each in events if each["job"]["name"] == "asking.kick"}


def test_a_run_is_told_with_its_tasks_datasets_and_versions(home, pipeline, tmp_path, validator):
    file = to_file(home, tmp_path)
    home.command("run", f"{pipeline}:good", "-p", "rate=0.25")
    events = read(file, 1)
    for event in events:
        validator.check(event)
    by_job = {one[0]["job"]["name"]: one for one in lives(events).values()}
    assert set(by_job) == {"good", "good.images", "good.train", "good.report", "good.nothing"}
    assert [one[-1]["eventType"] for one in by_job.values()] == ["COMPLETE"] * 5
    whole = by_job["good"][0]
    for name in ("good.images", "good.report"):
        parent = by_job[name][0]["run"]["facets"]["parent"]
        assert parent["run"]["runId"] == whole["run"]["runId"]
        assert parent["job"] == {"namespace": "clearance", "name": "good"}
    assert whole["run"]["facets"]["executionParameters"]["parameters"] == [
        {"key": "rate", "name": "rate", "value": "0.25"}
    ]
    assert whole["job"]["facets"]["documentation"]["description"] == "Trains a model."
    made = by_job["good.images"][-1]["outputs"]
    assert [(one["namespace"], one["name"]) for one in made] == [("clearance", "good.images")]
    digest = json.loads(home.command("artifact", "show", "good/1", "images", "--json"))["digest"]
    assert made[0]["facets"]["version"]["datasetVersion"] == digest
    assert made[0]["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert sorted(one["name"] for one in by_job["good.report"][0]["inputs"]) == ["good.images", "good.train"]
    assert [one["name"] for one in by_job["good.train"][-1]["outputs"]] == ["good.train", "models/digits"]
    assert by_job["good.train"][-1]["outputs"][1]["namespace"] == "s3://lake"
    expected = "parent jobType processing_engine sourceCodeLocation version dataSource storage datasetType"
    expected += " outputStatistics executionParameters documentation ownership"
    assert set(expected.split()) <= validator.facets


def test_each_try_fails_with_its_message_and_a_resumed_run_is_another_life(home, pipeline, tmp_path, validator):
    file = to_file(home, tmp_path)
    home.command("run", f"{pipeline}:bad", expect=1)
    home.command("retry", "bad/1", expect=1)
    events = read(file, 2)
    for event in events:
        validator.check(event)
    found = lives(events)
    ends = [(one[-1]["job"]["name"], one[-1]["eventType"]) for one in found.values()]
    assert sorted(ends) == [("bad", "FAIL")] * 2 + [("bad.flaky", "FAIL")] * 4
    for one in found.values():
        if one[0]["job"]["name"] == "bad.flaky":
            error = one[-1]["run"]["facets"]["errorMessage"]
            assert error["message"] == "it is broken"
            assert "ValueError" in error["stackTrace"]


def test_the_steps_of_a_flow_have_lives_of_their_own(home, tmp_path, validator):
    file = tmp_path / "flows.py"
    file.write_text(
        "from clearance import flow, task\n@task\ndef near(x: int) -> int:\n    return x\n"
        "@task(isolation='process')\ndef far(x: int) -> int:\n    return x\n"
        "@flow\ndef both() -> int:\n    return near(1) + near(2) + far(3)\n"
    )
    told = to_file(home, tmp_path)
    home.command("run", str(file))
    events = read(told, 1)
    for event in events:
        validator.check(event)
    ends = {run: [each["eventType"] for each in some] for run, some in lives(events).items()}
    assert len(ends) == 5
    assert all(types[0] == "START" and types[-1] == "COMPLETE" for types in ends.values())
    names = sorted(some[0]["job"]["name"] for some in lives(events).values())
    assert names == ["both", "both.both", "both.far", "both.near", "both.near"]


def test_a_cancelled_run_is_aborted(home, pipeline, tmp_path, validator):
    file = to_file(home, tmp_path)
    process = home.start("run", f"{pipeline}:stopped")
    wait_for(tmp_path / "started")
    home.command("cancel", "stopped/1")
    assert process.wait(30) == 1
    events = read(file, 1)
    for event in events:
        validator.check(event)
    assert sorted((one[-1]["job"]["name"], one[-1]["eventType"]) for one in lives(events).values()) == [
        ("stopped", "ABORT"), ("stopped.long", "ABORT"),
    ]  # fmt: skip


def test_events_are_posted_one_by_one_with_the_token(home, pipeline, validator):
    home.environment["MARQUEZ"] = "the-token-of-marquez"
    with receiver() as server:
        server.statuses = [503]
        home.environment["CLEARANCE_NOTIFY"] = json.dumps(
            [{"name": "ol", "kind": "openlineage", "url": f"{server.url}/api/v1/lineage", "token": "env:MARQUEZ",
              "namespace": "ours"}]
        )  # fmt: skip
        home.command("run", f"{pipeline}:bad", expect=1)
        until(lambda: json.loads(home.command("notify", "list", "--json"))[0]["pending"] == 0)
        for request in server.requests:
            assert request.headers["authorization"] == "Bearer the-token-of-marquez"
            validator.check(request.json)
            assert request.json["job"]["namespace"] == "ours"


def told(tower: Tower) -> list[dict[str, Any]]:
    """Returns what would be told of everything that has happened."""
    facts = Facts(tower.database)
    found = []
    for (number,) in tower.database.dialect.execute("SELECT number FROM run ORDER BY number"):
        for seq in range(1, tower.controller.newest_event(tower.database.rows("run_at", number)[0][2]) + 1):
            event = facts.event(number, seq)
            assert event is not None
            found += run_events(facts, event, "clearance", "/blobs")
    return found


@pytest.fixture
def tower(database_url: str, tmp_path: Path) -> Iterator[Tower]:
    made = Tower(database_url, tmp_path, Clock(NOON))
    yield made
    made.close()


def test_a_scheduled_run_has_its_nominal_time_and_assets_are_its_inputs(tower: Tower, validator):
    tower.register(timed("daily", cron("0 5 * * *", tz="Europe/Paris")), waiting("follows", A))
    tower.turn(NOON + 86_400)
    tower.settle()
    submit(tower, dag("writes", write_a))
    tower.settle()
    events = told(tower)
    for event in events:
        validator.check(event)
    first = {one[0]["job"]["name"]: one[0] for one in lives(events).values()}
    assert first["daily"]["run"]["facets"]["nominalTime"]["nominalEndTime"] == "2026-03-02T04:00:00.000000Z"
    assert first["daily"]["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2026-03-01T04:00:00.000000Z"
    assert [(one["namespace"], one["name"]) for one in first["follows"]["inputs"]] == [("s3://lake", "a")]


@task(retries=Retry(2, delay=0))
def tried() -> int:
    return 1


@task
def after(x: int) -> int:
    return x


@dag
def lived():
    after(tried())
    tried.named("other")()


FAILURES = {
    "failure": Failure("builtins.ValueError", "boom", ("builtins.ValueError",)),
    "skip": Failure("clearance.errors.Skip", "no", ("clearance.errors.Skip",)),
    "defer": Failure("clearance.errors.Defer", "", ("clearance.errors.Defer",), data=Defer(seconds=2).data),
}
KINDS = ["success", "failure", "evicted", "lost", "timeout", "defer", "skip", "cancel", "resume"]


@settings(max_examples=40, deadline=None)
@given(script=st.lists(st.sampled_from(KINDS), min_size=1, max_size=14))
def test_whatever_happens_every_launch_starts_once_and_ends_once(tmp_path_factory, script: list[str]):
    folder = tmp_path_factory.mktemp("life")
    tower = Tower(f"sqlite:///{folder}/clearance.db", folder, Clock(NOON))
    run = submit(tower, lived)
    for kind in [*script, *["success"] * 12]:
        tower.clock.now += 1
        running = [key for key in tower.engine.launched if key not in tower.engine.finished]
        if kind == "cancel":
            tower.controller.cancel(run)
        elif kind == "resume":
            tower.controller.resume(run)
        elif running:
            key = running[0]
            failure = FAILURES.get(kind)
            outcome = "failure" if failure else kind
            data = b"1"
            result = Artifact(digest_of(data), 1, "json", "builtins.int", data) if outcome == "success" else None
            event = Finished(key, outcome, result, failure or (Failure(kind, kind) if outcome != "success" else None))
            tower.engine.finished[key] = event
            tower.engine.events.append(event)
        tower.controller.turn()
    tower.settle()
    if run in tower.controller.runs:  # it waits for a time that has not come
        tower.clock.now += 1000
        tower.settle()
    events = told(tower)
    launches = tower.database.dialect.execute("SELECT count(*) FROM attempt")[0][0]
    found = lives(events)
    assert sum(one[0]["job"]["name"] != "lived" for one in found.values()) == launches
    tower.close()


@given(at=st.floats(0, 4e9), name=st.text(max_size=20))
def test_run_ids_are_uuids_of_version_7_with_the_time_of_the_run(at: float, name: str):
    found = uuid.UUID(spec.run_id(at, name))
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == int(at * 1000)
    assert spec.run_id(at, name) == str(found)
    assert spec.run_id(at, name + "x") != str(found)


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("s3://lake/a/b.csv", "s3://lake", "a/b.csv"),
        ("file:///data/x%20y.csv", "file", "/data/x y.csv"),
        ("postgresql://db:5432/shop/public/orders", "postgresql://db:5432", "shop/public/orders"),
        ("gs://bucket", "gs://bucket", "/"),
    ],
)
def test_assets_are_named_as_the_specification_names_datasets(uri: str, namespace: str, name: str):
    found = spec.asset(uri)
    assert (found["namespace"], found["name"]) == (namespace, name)
