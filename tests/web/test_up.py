"""`clearance up`: the real server, asked over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from clearance.settings import Settings
from clearance.web.api import create_app
from support.runs import Home, wait_for

PIPELINE = """
import os, time
from pathlib import Path
from clearance import dag, task

@task
def wait() -> int:
    here = Path(os.environ["TEST_FOLDER"])
    (here / "started").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
    return 7

one = dag("one", wait)
"""


@pytest.fixture
def up(home: Home, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    home.environment["TEST_FOLDER"] = str(tmp_path)
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = home.start("up", "--port", str(port), "--workers", "2")
    assert process.stdout is not None
    address = process.stdout.readline().split()[1]
    token = process.stdout.readline().split()[1]
    assert "leading" in process.stdout.readline()
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=10) as client:
        deadline = time.monotonic() + 20
        while True:
            try:
                client.get(f"http://127.0.0.1:{port}/health").raise_for_status()
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield process, client
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_runs_are_submitted_to_it_and_seen_and_cancelled_over_http(home: Home, up, tmp_path: Path):
    _, client = up
    follower = home.start("run", str(tmp_path / "pipeline.py"))
    wait_for(tmp_path / "started")
    assert [run["state"] for run in client.get("/runs").json()] == ["running"]
    assert client.get("/run", params={"id": "one/1"}).json()["tasks"][0]["task"] == "wait"
    (decision,) = client.get("/why", params={"run": "one/1"}).json()
    assert decision["verdict"] == "granted"
    assert client.post("/cancel", params={"run": "one/1"}).json() == {"changed": True}
    assert follower.wait(30) == 1
    (tmp_path / "go").touch()
    assert client.post("/retry", params={"run": "one/1"}).json() == {"changed": True}
    deadline = time.monotonic() + 20
    while client.get("/run", params={"id": "one/1"}).json()["state"] != "success":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_token_or_a_wrong_one_is_refused_with_problem_json(up):
    _, client = up
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        answer = client.get("/runs", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/run", params={"id": "none/1"}).status_code == 404
    assert client.get("/runs", params={"limit": 0}).status_code == 422


def test_tasks_go_on_when_it_stops_and_the_next_one_adopts_them(home: Home, up, tmp_path: Path):
    process, _ = up
    follower = home.start("run", str(tmp_path / "pipeline.py"))
    wait_for(tmp_path / "started")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    (tmp_path / "go").touch()
    assert follower.wait(30) == 0, "the follower takes the lead"
    (task,) = json.loads(home.command("runs", "show", "one/1", "--json"))["tasks"]
    assert task["attempts"] == 1


def test_a_second_one_stands_by(home: Home, up):
    second = home.start("up", "--no-api")
    assert second.stdout is not None
    assert "standing by" in second.stdout.readline()
    up[0].send_signal(signal.SIGTERM)
    assert "leading" in second.stdout.readline()
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 0


def test_a_public_address_is_refused_with_the_mend(home: Home):
    printed = home.command("up", "--host", "0.0.0.0", expect=3)
    assert "127.0.0.1" in printed


def test_an_api_key_looks_and_with_the_role_operator_changes(home: Home, up, tmp_path: Path):
    _, client = up
    home.command("user", "add", "ann", "--role", "operator")
    home.command("user", "add", "eve", "--role", "viewer")
    home.command("user", "add", "joe")
    keys = {name: home.command("user", "add-key", name).splitlines()[0] for name in ("ann", "eve", "joe")}
    bearing = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
    looks = {name: client.get("/runs", headers=bearing[name]).status_code for name in keys}
    assert looks == {"ann": 200, "eve": 200, "joe": 403}
    assert client.post("/cancel?run=x/1", headers=bearing["eve"]).status_code == 403
    assert client.post("/cancel?run=x/1", headers=bearing["ann"]).status_code == 404
    home.command("user", "revoke", "ann")
    refused = client.get("/runs", headers=bearing["ann"])
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    wrong = {"Authorization": f"Bearer {keys['eve'][:-1]}x"}
    assert client.get("/runs", headers=wrong).status_code == 401


def test_a_token_of_the_identity_provider_opens_it_too(home: Home, tmp_path: Path):
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_numbers()

    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    jwk = {"kty": "EC", "crv": "P-256", "x": text(point.x.to_bytes(32)), "y": text(point.y.to_bytes(32))}
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [jwk]}))
    provider = {"issuer": "https://id.example", "audience": "clearance", "keys": str(tmp_path / "keys.json")}
    (tmp_path / "provider.json").write_text(json.dumps(provider))
    settings = Settings(home=home.path, identity_provider=str(tmp_path / "provider.json"))
    home.command("user", "add", "ann", "--role", "operator")
    transport = httpx.ASGITransport(create_app(settings, "t" * 40))

    def ask(method: str, path: str, headers: dict[str, str]) -> int:
        async def answer() -> int:
            async with httpx.AsyncClient(transport=transport, base_url="http://here/api/v1") as client:
                return (await client.request(method, path, headers=headers)).status_code

        return asyncio.run(answer())

    header = text(b'{"alg":"ES256"}')

    def bearing(**claims: object) -> dict[str, str]:
        said = {"iss": "https://id.example", "aud": "clearance", "sub": "ann", "exp": time.time() + 60} | claims
        message = f"{header}.{text(json.dumps(said).encode())}"
        r, s = utils.decode_dss_signature(key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
        return {"Authorization": f"Bearer {message}.{text(r.to_bytes(32) + s.to_bytes(32))}"}

    assert ask("GET", "/runs", bearing()) == 200
    assert ask("POST", "/cancel?run=x/1", bearing(sub="eve")) == 403
    assert ask("GET", "/runs", bearing(sub="eve")) == 403  # the provider knows her, and nobody gave her a role
    assert ask("POST", "/cancel?run=x/1", bearing()) in (404, 503)
    assert ask("GET", "/runs", bearing(exp=time.time() - 120)) == 401
    assert ask("GET", "/runs", bearing(aud="other")) == 401
    assert ask("GET", "/runs", {"Authorization": "Bearer a.b.c"}) == 401
