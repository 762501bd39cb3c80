"""Services with the real engine: an endpoint that outlives its run, is restarted, refused, stopped."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.runs import Home

PIPELINE = """
from pathlib import Path
from clearance import Endpoint, Model, context, dag, task

@task
def train(weight: float = 3.0) -> Model:
    folder = context.directory / "model"
    folder.mkdir()
    (folder / "weight.txt").write_text(str(weight))
    return Model(folder, metadata={"metrics": {"loss": 0.5}})

def load(model: Model):
    weight = float((model.path / "weight.txt").read_text())
    def scale(x: float) -> float:
        return weight * x
    return scale

def load_nothing(model: Model):
    raise ValueError("these weights are of no use")

@task
def serve(model: Model) -> Endpoint:
    from clearance.serve import deploy
    return deploy("scale", model, load)

@task
def serve_badly(model: Model) -> Endpoint:
    from clearance.serve import deploy
    return deploy("bad", model, load_nothing, start_timeout=5)

good = dag("good", train >> serve)
bad = dag("bad", train >> serve_badly)
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE)
    return str(file)


def endpoint(home: Home, run: str = "good/1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(home.command("artifact", "get", run, "serve"))
    return found


def ask(found: dict[str, Any], value: object, token: str | None = None) -> tuple[int, Any]:
    bearer = Path(found["token_file"]).read_text().strip() if token is None else token
    request = urllib.request.Request(
        f"{found['url']}/v1/predict",
        data=json.dumps(value).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {bearer}"},
    )
    context = ssl.create_default_context(cafile=found["authority"])
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def service(home: Home, name: str) -> dict[str, Any]:
    listed = json.loads(home.command("services", "list", "--json"))
    return next(each for each in listed if each["name"] == name)


def until(condition: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.05)


def test_an_endpoint_outlives_its_run_and_stops_when_told(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:good")
    found = endpoint(home)
    assert ask(found, 2.0) == (200, 6.0)
    assert ask(found, 2.0, token="wrong")[0] == 401
    assert ask(found, "two")[0] == 422
    assert service(home, "scale")["state"] == "healthy"
    assert Path(found["token_file"]).read_text().strip() not in home.command("services", "logs", "scale")
    home.command("services", "stop", "scale")
    assert service(home, "scale")["state"] == "stopped"
    until(lambda: not home.processes())
    assert "no service 'scale' runs" in home.command("services", "stop", "scale", expect=2)


def replica(home: Home) -> int:
    """The process that listens for the endpoint."""
    connection = sqlite3.connect(f"file:{home.path / 'clearance.db'}?mode=ro", uri=True)
    port = json.loads(connection.execute("SELECT info FROM service").fetchone()[0])["port"]
    connection.close()
    inodes = {
        line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }  # fmt: skip
    for pid in home.processes():
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(fd).removeprefix("socket:[").removesuffix("]") in inodes:
                    return pid
            except OSError:
                continue
    raise AssertionError(f"nobody listens at {port}")


def test_a_killed_replica_comes_back_at_the_same_address(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:good")
    found = endpoint(home)
    os.kill(replica(home), signal.SIGKILL)
    until(lambda: service(home, "scale")["starts"] == 2 and service(home, "scale")["state"] == "healthy")
    assert ask(found, 2.0) == (200, 6.0)


def test_a_replica_that_hangs_is_replaced(home: Home, pipeline: str):
    home.environment["CLEARANCE_GRACE"] = "0.2"
    home.command("run", f"{pipeline}:good")
    found = endpoint(home)
    os.kill(replica(home), signal.SIGSTOP)
    until(lambda: service(home, "scale")["starts"] == 2 and service(home, "scale")["state"] == "healthy", 60)
    assert ask(found, 2.0) == (200, 6.0)


def test_the_endpoint_goes_on_when_the_controller_is_killed_and_is_adopted(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:good")
    found = endpoint(home)
    (controller,) = [pid for pid, line in home.processes().items() if "clearance.run.host.background" in line]
    os.kill(controller, signal.SIGKILL)
    assert ask(found, 2.0) == (200, 6.0)
    home.command("run", f"{pipeline}:good", "--run-id", "again")
    assert endpoint(home, "again")["name"] == "scale"
    home.command("services", "stop", "scale")
    until(lambda: not home.processes())


def test_a_newer_run_replaces_the_model_behind_the_same_name(home: Home, pipeline: str):
    home.command("run", f"{pipeline}:good")
    assert ask(endpoint(home), 2.0) == (200, 6.0)
    home.command("run", f"{pipeline}:good", "-p", "weight=5")
    found = endpoint(home, "good/2")
    assert ask(found, 2.0) == (200, 10.0)
    assert found["token_file"] == endpoint(home)["token_file"]


def test_a_service_that_never_becomes_healthy_fails_its_task_with_the_reason(home: Home, pipeline: str):
    printed = home.command("run", f"{pipeline}:bad", expect=1)
    assert "these weights are of no use" in printed
    assert service(home, "bad")["state"] == "failed"
    until(lambda: not home.processes())


def tamper(home: Home, change: str, *values: object) -> None:
    connection = sqlite3.connect(home.path / "clearance.db")
    connection.execute(change, values)
    connection.commit()
    connection.close()


def test_a_model_whose_signature_is_missing_is_refused_by_name(home: Home, pipeline: str, tmp_path: Path):
    (tmp_path / "pipeline.py").write_text(PIPELINE.replace("def serve(model: Model) -> Endpoint:", HELD_SERVE))
    process = home.start("run", f"{pipeline}:good")
    until(lambda: (tmp_path / "serving").exists())
    tamper(home, "DELETE FROM attestation WHERE kind = 'model-signature'")
    (tmp_path / "go").touch()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 3, printed
    assert "has no signature" in printed
    assert "[model-signed]" in home.command("why", "good/1", "serve")


HELD_SERVE = """def serve(model: Model) -> Endpoint:
    import os, time
    here = Path(os.environ["TEST_FOLDER"])
    (here / "serving").touch()
    while not (here / "go").exists():
        time.sleep(0.01)"""


def test_a_model_file_that_was_changed_on_disk_is_refused_by_the_replica(home: Home, pipeline: str, tmp_path: Path):
    (tmp_path / "pipeline.py").write_text(PIPELINE.replace("def serve(model: Model) -> Endpoint:", HELD_SERVE))
    process = home.start("run", f"{pipeline}:good")
    until(lambda: (tmp_path / "serving").exists())
    for blob in (home.path / "blobs").rglob("*"):
        if blob.is_file() and blob.read_bytes() == b"3.0":
            blob.chmod(0o644)
            blob.write_bytes(b"9.0")
    (tmp_path / "go").touch()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1, printed
    assert "sha256" in printed
    assert service(home, "scale")["state"] == "failed"


@pytest.fixture(autouse=True)
def folder(home: Home, tmp_path: Path) -> None:
    home.environment["TEST_FOLDER"] = str(tmp_path)
