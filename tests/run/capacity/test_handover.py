"""A service that leaves its node is taken over by a replica elsewhere, and its clients see no failed request."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.runs import Home

PIPELINE = """
import os
import time
from pathlib import Path

from clearance import Endpoint, Model, Resources, context, dag, task


@task(resources=Resources(cpu=0))
def train() -> Model:
    folder = context.directory / "model"
    folder.mkdir()
    (folder / "weight.txt").write_text("3")
    return Model(folder)


def load(model: Model):
    if os.path.exists(os.environ.get("BROKEN", "/nowhere")):
        raise ValueError("these weights are of no use")
    while os.path.exists(os.environ.get("SLOW", "/nowhere")):
        time.sleep(0.05)
    weight = float((model.path / "weight.txt").read_text())

    def scale(x: float) -> float:
        return weight * x

    return scale


@task(resources=Resources(cpu=0))
def serve(model: Model) -> Endpoint:
    from clearance.serve import deploy

    return deploy("scale", model, load, resources=Resources(cpu=0.5))


@task(resources=Resources(cpu=0.75))
def fill(gate: str = "") -> None:
    while not os.path.exists(gate):
        time.sleep(0.05)


@task(resources=Resources(cpu=0.25))
def hold(gate: str = "") -> None:
    while not os.path.exists(gate):
        time.sleep(0.05)


serving = dag("serving", train >> serve)
filling = dag("filling", fill)
small = dag("small", hold)
"""


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


class Client:
    """Asks without a pause, from three threads, each request on a connection of its own."""

    def __init__(self, endpoint: dict[str, Any]) -> None:
        self._endpoint = endpoint
        self._stop = threading.Event()
        self.answers = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]

    def __enter__(self) -> Client:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int = 50) -> None:
        wanted = self.answers + count
        until(lambda: self.answers >= wanted)

    def _run(self) -> None:
        token = Path(self._endpoint["token_file"]).read_text().strip()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        context = ssl.create_default_context(cafile=self._endpoint["authority"])
        while not self._stop.is_set():
            request = urllib.request.Request(f"{self._endpoint['url']}/v1/predict", data=b"2.0", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                    assert json.load(answer) == 6.0
            except OSError as error:
                self.failures.append(repr(error))
            self.answers += 1
            time.sleep(0.005)


def service(home: Home) -> dict[str, Any]:
    (found,) = json.loads(home.command("services", "list", "--json"))
    return found


def where(home: Home) -> list[str]:
    """The nodes on which a service holds room."""
    nodes = json.loads(home.command("cluster", "nodes", "--json"))
    return [
        each["nodeID"] for each in nodes
        for member in each["allocations"] if member["applicationId"].startswith("service:")
    ]  # fmt: skip


@pytest.fixture
def leader(home: Home, tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    (tmp_path / "serving.py").write_text(PIPELINE)
    home.environment["BROKEN"] = str(tmp_path / "broken")
    home.environment["SLOW"] = str(tmp_path / "slow")
    home.environment["CLEARANCE_GRACE"] = "5"
    leading = [lead(home)]
    yield leading
    leading[-1].terminate()
    leading[-1].wait(20)


def lead(home: Home) -> subprocess.Popen[str]:
    started = home.start("up", "--no-api", "--nodes", "2x1cpu")
    assert started.stdout is not None
    assert "leading" in started.stdout.readline()
    return started


@pytest.fixture
def endpoint(home: Home, tmp_path: Path, leader: list[subprocess.Popen[str]]) -> dict[str, Any]:
    home.command("run", f"{tmp_path / 'serving.py'}:serving")
    found: dict[str, Any] = json.loads(home.command("artifact", "get", "serving/1", "serve"))
    return found


@pytest.mark.slow
def test_a_drained_service_moves_and_no_request_fails_there_and_back(home: Home, endpoint: dict[str, Any]):
    assert where(home) == ["local-0"]
    with Client(endpoint) as client:
        client.more()
        home.command("cluster", "drain", "local-0", "--reason", "its fan")
        until(lambda: where(home) == ["local-1"])
        client.more()
        told = service(home)
        assert (told["state"], told["starts"], told["url"]) == ("healthy", 2, endpoint["url"])
        assert told["message"].startswith("it has moved: its fan")
        home.command("cluster", "uncordon", "local-0")
        home.command("cluster", "drain", "local-1")
        until(lambda: where(home) == ["local-0"] and service(home)["starts"] == 3)
        client.more()
    assert client.failures == []
    home.command("services", "stop", "scale")
    assert service(home)["state"] == "stopped"
    assert where(home) == []


@pytest.mark.slow
def test_where_there_is_no_room_for_two_the_old_one_ends_first_and_the_service_says_so(
    home: Home, endpoint: dict[str, Any], tmp_path: Path
):
    gate = tmp_path / "gate"
    home.start("run", f"{tmp_path / 'serving.py'}:filling", "-p", f"gate={gate}")
    until(lambda: "filling/1" in home.command("runs", "list") and home.states("filling/1") == {"fill": "running"})
    home.command("cluster", "drain", "local-0", "--reason", "its fan")
    told = until(lambda: (found := service(home))["state"] == "backoff" and found)
    assert told["message"] == "evicted: its fan; there is no room for a replica beside it, so it ends first"
    gate.touch()
    until(lambda: service(home)["state"] == "healthy")
    assert where(home) == ["local-1"]


@pytest.mark.slow
def test_a_successor_that_fails_costs_no_answer_until_the_old_one_must_leave(
    home: Home, endpoint: dict[str, Any], tmp_path: Path
):
    (tmp_path / "broken").touch()
    home.command("cluster", "drain", "local-0", "--reason", "its fan")
    told = until(lambda: (found := service(home))["starts"] >= 2 and found["state"] == "backoff" and found)
    assert told["message"].startswith("evicted: its fan; its successor failed (") or told["starts"] > 2
    (tmp_path / "broken").unlink()
    until(lambda: service(home)["state"] == "healthy")
    assert where(home) == ["local-1"]


def kill_listener(endpoint: dict[str, Any]) -> None:
    """Kills the process that listens at the address."""
    port = int(endpoint["url"].rpartition(":")[2])
    inodes = {
        line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }  # fmt: skip
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                links = {os.readlink(each) for each in (process / "fd").iterdir()}
            except OSError:
                continue
            if links & {f"socket:[{inode}]" for inode in inodes}:
                os.kill(int(process.name), signal.SIGKILL)
                return
    raise AssertionError(f"nobody listens at {port}")


@pytest.mark.slow
def test_where_the_old_one_dies_its_successor_is_the_replica_that_starts(
    home: Home, endpoint: dict[str, Any], tmp_path: Path
):
    (tmp_path / "slow").touch()
    home.command("cluster", "drain", "local-0", "--reason", "its fan")
    until(lambda: service(home)["starts"] == 2)
    assert sorted(where(home)) == ["local-0", "local-1"]
    kill_listener(endpoint)
    until(lambda: service(home)["state"] == "starting")
    assert where(home) == ["local-1"]
    (tmp_path / "slow").unlink()
    until(lambda: service(home)["state"] == "healthy")
    assert service(home)["starts"] == 2
    with Client(endpoint) as client:
        client.more()
    assert client.failures == []


@pytest.mark.slow
def test_a_service_that_is_stopped_while_it_is_handed_over_leaves_nothing(
    home: Home, endpoint: dict[str, Any], tmp_path: Path
):
    (tmp_path / "slow").touch()
    home.command("cluster", "drain", "local-0")
    until(lambda: service(home)["starts"] == 2)
    home.command("services", "stop", "scale")
    until(lambda: where(home) == [])
    assert service(home)["state"] == "stopped"
    (tmp_path / "slow").unlink()
    home.command("cluster", "uncordon", "local-0")
    home.command("run", f"{tmp_path / 'serving.py'}:serving", "--run-id", "again")
    assert service(home)["state"] == "healthy"
    assert len(where(home)) == 1


@pytest.mark.slow
def test_a_deployment_while_it_is_handed_over_replaces_both(home: Home, endpoint: dict[str, Any], tmp_path: Path):
    (tmp_path / "slow").touch()
    home.command("cluster", "drain", "local-0")
    until(lambda: service(home)["starts"] == 2)
    started = home.start("run", f"{tmp_path / 'serving.py'}:serving", "--run-id", "newer")
    until(lambda: service(home)["state"] in ("backoff", "starting"))
    (tmp_path / "slow").unlink()
    assert started.wait(60) == 0
    until(lambda: where(home) == ["local-1"])
    assert service(home)["state"] == "healthy"


@pytest.mark.slow
def test_consolidation_moves_a_service_and_no_request_fails(home: Home, endpoint: dict[str, Any], tmp_path: Path):
    gate, never = tmp_path / "gate", tmp_path / "never"
    for dag, path in (("filling", gate), ("small", never)):
        home.start("run", f"{tmp_path / 'serving.py'}:{dag}", "-p", f"gate={path}", "--run-id", dag)
        until(lambda dag=dag: dag in home.command("runs", "list") and "running" in home.states(dag).values())
    gate.touch()
    until(lambda: home.states("filling") == {"fill": "success"})
    with Client(endpoint) as client:
        client.more()
        plan = json.loads(home.command("cluster", "consolidate", "--apply", "--min-gain", "-1000", "--json"))
        (move,) = plan["moves"]
        assert (move["job"], move["source"], move["target"]) == ("service scale", "local-0", "local-1")
        until(lambda: where(home) == ["local-1"])
        client.more()
    assert client.failures == []
    assert (service(home)["state"], service(home)["starts"]) == ("healthy", 2)
    assert home.states("small") == {"hold": "running"}
    never.touch()


@pytest.mark.slow
def test_the_next_controller_finishes_a_handover_that_was_cut_off(
    home: Home, endpoint: dict[str, Any], leader: list[subprocess.Popen[str]]
):
    with Client(endpoint) as client:
        client.more()
        home.command("cluster", "drain", "local-0", "--reason", "its fan")
        until(lambda: service(home)["starts"] == 2)
        os.kill(leader[-1].pid, signal.SIGKILL)
        leader[-1].wait(20)
        leader.append(lead(home))
        client.more()
        until(lambda: service(home)["state"] == "healthy")
        home.command("cluster", "drain", "local-0", "--reason", "its fan")
        until(lambda: where(home) == ["local-1"])
        client.more()
    assert client.failures == []
