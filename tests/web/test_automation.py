"""Approvals, assets, backfills and schedules over HTTP: a real client and the real server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.runs import Home
from support.serving_api import serve

PIPELINE = """
from datetime import UTC, datetime
from clearance import asset, cron, dag, task
from clearance.operators import approval

LAKE = asset("s3://lake/a")

@task(cache=True)
def work() -> int:
    return 1

release = approval("release", message="ship it?")
named = dag("named", approval("sign", message="ship it?", approvers=["ann", "group:ml"]) >> work)
shipped = dag("shipped", release >> work)
nightly = dag("nightly", work, schedule=cron("0 5 * * *"), start=datetime(2026, 1, 1, tzinfo=UTC))
fed = dag("fed", work, schedule=LAKE)
"""


@pytest.fixture
def client(home: Home, tmp_path: Path) -> Iterator[httpx.Client]:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    with serve(home, "--workers", "2") as client:
        client.base_url = f"{client.base_url}/api/v1/"
        yield client


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def refused(answer: httpx.Response, status: int, text: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert text in answer.json()["detail"]


def test_a_decision_is_listed_and_made(home: Home, client: httpx.Client, tmp_path: Path):
    follower = home.start("run", f"{tmp_path / 'pipeline.py'}:shipped")
    (waiting,) = until(lambda: client.get("approvals").json())
    assert (waiting["run"], waiting["task"], waiting["message"]) == ("shipped/1", "release", "ship it?")
    assert client.get("approvals", params={"run": "other/1"}).json() == []
    which = {"run": "shipped/1", "task": "release"}
    refused(client.post("approvals/decide", params=which | {"decision": "rejected"}), 400, "say why")
    refused(client.post("approvals/decide", params=which | {"decision": "perhaps"}), 422, "decision")
    refused(client.post("approvals/decide", params={"run": "no/1", "task": "x", "decision": "approved"}), 404, "no run")
    answer = client.post("approvals/decide", params=which | {"decision": "approved", "note": "go"}).json()
    assert (answer["decision"], answer["note"], answer["changed"]) == ("approved", "go", True)
    assert follower.wait(30) == 0
    assert client.get("approvals").json() == []
    assert client.get("cache/explain", params={"run": "shipped/1", "task": "work"}).json()["outcome"] == "miss"


def test_a_decision_is_in_the_name_of_whoever_bears_the_key(home: Home, client: httpx.Client, tmp_path: Path):
    for name, group in (("ann", ()), ("eve", ()), ("joe", ("--group", "ml"))):
        home.command("user", "add", name, "--role", "operator", *group)
    bearing = {
        name: {"Authorization": f"Bearer {home.command('user', 'add-key', name).splitlines()[0]}"}
        for name in ("ann", "eve", "joe")
    }
    follower = home.start("run", f"{tmp_path / 'pipeline.py'}:named")
    until(lambda: client.get("approvals").json())
    which = {"run": "named/1", "task": "sign", "decision": "approved"}
    refused(client.post("approvals/decide", params=which), 403, "ann")  # the owner is not among them
    refused(client.post("approvals/decide", params=which, headers=bearing["eve"]), 403, "ann")
    answer = client.post("approvals/decide", params=which, headers=bearing["joe"]).json()
    assert (answer["by"], answer["changed"]) == ("joe", True)
    assert follower.wait(30) == 0
    entered = json.loads(home.command("audit", "log", "--action", "task.approved", "--json"))
    assert [entry["actor"] for entry in entered] == ["joe"]


def test_an_event_that_is_sent_again_under_its_id_is_the_same(home: Home, client: httpx.Client, tmp_path: Path):
    home.command("dag", "register", f"{tmp_path / 'pipeline.py'}:fed")
    assert [each["dag"] for each in client.get("assets/why").json()] == ["fed"]
    event = {"asset": "s3://lake/a", "key": "monday", "id": "load-7"}
    first = client.post("assets/emit", params=event).json()
    assert first["new"]
    (run,) = first["runs"]
    again = client.post("assets/emit", params=event).json()
    assert again == {"event": first["event"], "runs": [], "new": False}
    refused(client.post("assets/emit", params=event | {"key": "tuesday"}), 400, "names event")
    assert "was told before" in home.command("asset", "emit", "s3://lake/a", "--key", "monday", "--id", "load-7")
    (seen,) = client.get("assets/events", params={"asset": "s3://lake/a"}).json()
    assert seen["source"] == "@load-7"
    until(lambda: client.get("run", params={"id": run}).json()["state"] == "success")
    refused(client.post("assets/emit", params={"asset": "s3://lake/a#part"}), 400, "fragment")


def test_a_backfill_is_made_paused_gone_on_with_and_cancelled(home: Home, client: httpx.Client, tmp_path: Path):
    home.command("dag", "register", f"{tmp_path / 'pipeline.py'}:nightly")
    assert [each["paused"] for each in client.get("dags").json()] == [False]
    assert client.post("dags/pause", params={"dag": "nightly"}).json() == {"changed": True}
    assert client.post("dags/pause", params={"dag": "nightly"}).json() == {"changed": False}
    assert client.post("dags/unpause", params={"dag": "nightly"}).json() == {"changed": True}
    refused(client.post("dags/pause", params={"dag": "nightyl"}), 404, "'nightly'")
    fires = client.get("schedules/next", params={"dag": "nightly", "count": 2, "from": "2026-03-01"}).json()
    assert fires == ["2026-03-01T05:00:00+00:00", "2026-03-02T05:00:00+00:00"]
    asked = {"dag": "nightly", "from": "2026-03-01", "to": "2026-03-05"}
    dry = client.post("backfills", params=asked | {"dry_run": True}).json()
    assert len(dry["intervals"]) == 3
    refused(client.post("backfills", params=asked | {"from": "march"}), 400, "ISO 8601")
    answer = client.post("backfills", params=asked)
    assert answer.status_code == 201
    which = {"id": answer.json()["id"]}
    until(lambda: client.get("backfill", params=which).json()["state"] == "done")
    assert [each["id"] for each in client.get("backfills").json()] == [which["id"]]
    refused(client.get("backfill", params={"id": "none"}), 404, "no backfill")
    for name in ("pause", "resume", "cancel"):
        refused(client.post(f"backfills/{name}", params=which), 400, "is done: make another")


def test_every_route_asks_for_the_token(client: httpx.Client):
    for path in ("approvals", "assets/events", "assets/why", "backfills", "dags"):
        refused(client.get(path, headers={"Authorization": ""}), 401, "token")
    for path in ("approvals/decide", "assets/emit", "backfills", "backfills/cancel", "dags/pause"):
        refused(client.post(path, headers={"Authorization": ""}), 401, "token")
