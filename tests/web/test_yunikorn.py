"""`/ws/v1` as YuniKorn answers it: a real client, the real server, tasks that run and wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.runs import Home
from support.serving_api import serve

PIPELINE = """
import time
from clearance import Resources, dag, task

@task(resources=Resources(cpu=1), queue="root.ml.train")
def hold(number: int) -> None:
    time.sleep(60)

@dag
def holds():
    hold.map(number=[0, 1, 2])
"""
QUEUES = """
partitions:
- name: default
  queues:
  - name: root
    submitacl: "*"
    queues:
    - name: ml
      resources: {guaranteed: {vcore: 1}, max: {vcore: 2}}
      queues:
      - name: train
        limits:
        - limit: each
          users: ["*"]
          maxresources: {vcore: 2}
    - name: default
"""


@pytest.fixture
def client(home: Home, tmp_path: Path) -> Iterator[httpx.Client]:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "queues.yaml").write_text(QUEUES)
    with serve(home, "--workers", "4") as client:
        home.command("cluster", "apply", str(tmp_path / "queues.yaml"))
        following = home.start("run", str(tmp_path / "pipeline.py"))
        client.base_url = f"{client.base_url}/ws/v1/"
        until(lambda: client.get("partitions").json()[0]["totalContainers"] == 2)
        yield client
        home.command("cancel", "holds/1")
        following.wait(30)


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_tools_that_speak_yunikorn_see_queues_applications_nodes_users_and_health(client: httpx.Client, home: Home):
    (partition,) = client.get("partitions").json()
    assert partition["capacity"]["usedCapacity"]["vcore"] == 2000
    assert partition["applications"]["total"] == 3
    root = client.get("partition/default/queues").json()
    assert [child["queuename"] for child in root["children"]] == ["root.default", "root.ml"]
    train = client.get("partition/default/queue/root.ml.train").json()
    assert train["allocatedResource"] == {"vcore": 2000}
    assert train["pendingResource"] == {"vcore": 1000}
    assert train["runningApps"] == 2
    apps = client.get("partition/default/queue/root.ml.train/applications").json()
    waiting = [app for app in apps if app["requests"]]
    assert [app["label"] for app in waiting] == ["holds/1 hold[2]"]
    assert "may use" in waiting[0]["requests"][0]["allocationLog"][0]["message"] or (
        "uses vcore=2 of 2" in waiting[0]["requests"][0]["allocationLog"][0]["message"]
    )
    one = client.get(f"partition/default/application/{waiting[0]['applicationID']}").json()
    assert one["applicationState"] == "Accepted"
    (node,) = client.get("partition/default/nodes").json()
    assert len(node["allocations"]) == 2
    assert node["available"]["vcore"] == 2000
    (user,) = client.get("partition/default/usage/users").json()
    assert user["queues"]["resourceUsage"] == {"vcore": 2000}
    assert user["queues"]["children"][0]["children"][0]["maxResources"] == {"vcore": 2000}
    health = client.get("scheduler/healthcheck").json()
    assert health["Healthy"], health
    events = client.get("events/batch").json()["EventRecords"]
    told = [each["message"] for each in events if each["objectID"] == one["applicationID"]]
    assert told == ["submitted"]
    assert client.get("config").text == QUEUES
    status = home.command("cluster", "status")
    assert "2 run, 1 wait" in status
    assert "holds/1 hold[2] waits in root.ml.train" in status
    assert "root.ml.train" in home.command("cluster", "queues", "root.ml")
    metrics = client.get(str(client.base_url).replace("/ws/v1/", "/metrics")).text
    assert 'clearance_cluster_queue_jobs{queue="root.ml.train",state="waiting"} 1.0' in metrics


def test_errors_have_yunikorns_form_and_the_token_is_asked_for(client: httpx.Client):
    answer = client.get("partition/default/queue/root.nope")
    assert answer.status_code == 404
    assert answer.json()["status_code"] == 404
    assert "root.nope" in answer.json()["message"]
    assert client.get("partition/other/queues").status_code == 404
    assert client.get("partitions", headers={"Authorization": "Bearer wrong"}).status_code == 401
    allowed = client.post("validate-conf", content=QUEUES).json()
    assert allowed == {"allowed": True, "reason": ""}
    refused = client.post("validate-conf", content=QUEUES.replace("guaranteed", "guaranted")).json()
    assert refused["allowed"] is False
    assert "guaranted" in refused["reason"]
