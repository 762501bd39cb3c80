"""Secrets in tasks that really run: what they write carries none, in any isolation, and nothing at rest does."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clearance.engine import secrets
from clearance.errors import UsageError
from clearance.types import masking
from clearance.types.secret import Secret
from support.runs import Home, home  # noqa: F401

VALUE = 's3cr/t "quoted" päss'
PIPELINE = """
import base64, json, os, subprocess, sys, time, urllib.parse
from clearance import Secret, dag, task

@task
def show(token: Secret) -> dict:
    value = token.reveal()
    print("raw", value)
    sys.stdout.write(value[:5]); sys.stdout.flush(); time.sleep(0.05); print(value[5:])
    print(base64.b64encode(b"user:" + value.encode()).decode())
    print(urllib.parse.quote(value, safe=""), json.dumps(value))
    subprocess.run(["echo", "child", value])
    os.write(2, b"end " + value[:3].encode())
    return {"token": value, value: [value]}

@task(isolation="worker")
def warm(token: Secret) -> str:
    print("warm", token.reveal())
    return token.reveal()

@task
def fail(token: Secret, after: dict, again: str) -> int:
    raise ValueError(f"cannot log in with {token.reveal()}")

@dag
def leak(token: Secret = Secret.env("MY_TOKEN")):
    fail(token, show(token), warm(token))
"""


def test_nothing_that_a_task_writes_carries_its_secret(home: Home, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "leak.py"
    file.write_text(PIPELINE)
    home.environment["MY_TOKEN"] = VALUE
    printed = home.command("run", str(file), expect=1)
    assert "cannot log in with ***" in printed
    logs = home.command("logs", "leak/1", "show") + home.command("logs", "leak/1", "warm")
    assert "raw ***" in logs
    assert "child ***" in logs
    assert "warm ***" in logs
    assert logs.count("***") >= 6
    assert "end s3c" in logs  # what only began like it comes in the end
    shown = json.dumps(home.show("leak/1"))
    assert '"MY_TOKEN"' in shown
    home.command("artifact", "show", "leak/1", "show")
    for path in home.path.rglob("*"):
        if path.is_file() and path.suffix != ".sock":
            data = path.read_bytes()
            assert VALUE[:8].encode() not in data, path
            assert b'"quoted"' not in data, path


def test_a_missing_secret_fails_its_task_and_a_value_is_no_reference(home: Home, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "leak.py"
    file.write_text(PIPELINE)
    home.environment.pop("MY_TOKEN", None)
    printed = home.command("run", str(file), expect=1)
    assert "env:MY_TOKEN is missing: export MY_TOKEN" in printed
    refused = home.command("run", str(file), "-p", "token=hunter22", expect=2)
    assert "hunter22" not in refused
    assert "give a reference" in refused


@pytest.fixture
def vault() -> Iterator[str]:
    """A server that speaks the part of Vault's HTTP interface that is read."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers["X-Vault-Token"] != "root-token":
                status, body = 403, b'{"errors": ["permission denied"]}'
            elif self.path == "/v1/secret/data/app":
                fields = b'{"value": "from-vault", "other": "else-where"}'
                status, body = 200, b'{"data": {"data": ' + fields + b', "metadata": {}}}'
            elif self.path == "/v1/kv1/app":
                status, body = 200, b'{"data": {"value": "version-one"}}'
            elif self.path == "/v1/moved":
                status, body = 307, b""
            else:
                status, body = 404, b'{"errors": []}'
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_vault_is_asked_over_http(vault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "masker", masking.Masker())
    monkeypatch.setenv("VAULT_ADDR", vault)
    monkeypatch.setenv("VAULT_TOKEN", "root-token")
    assert Secret.vault("secret/data/app").reveal() == "from-vault"
    assert Secret.vault("secret/data/app", "other").reveal() == "else-where"
    assert Secret.vault("kv1/app").reveal() == "version-one"
    assert masking.masker.text("from-vault, root-token") == "***, ***"
    for secret, problem in [
        (Secret.vault("secret/data/app", "none"), "has no field 'none'"),
        (Secret.vault("secret/data/none"), "answers 404"),
        (Secret.vault("moved"), "answers 307"),
    ]:
        with pytest.raises(UsageError, match=problem):
            secret.reveal()
    monkeypatch.setenv("VAULT_TOKEN", "wrong-token")
    with pytest.raises(UsageError, match="answers 403"):
        Secret.vault("secret/data/app").reveal()
    monkeypatch.setenv("VAULT_ADDR", "http://vault.example.org:8200")
    with pytest.raises(UsageError, match="must begin with https"):
        Secret.vault("secret/data/app").reveal()


def test_files_and_keyrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "masker", masking.Masker())
    path = tmp_path / "token"
    path.write_text("from a file\n")
    assert Secret.file(str(path)).reveal() == "from a file"
    with pytest.raises(UsageError, match="cannot be read"):
        Secret.file(str(tmp_path / "none")).reveal()
    path.write_text("abc")
    with pytest.raises(UsageError, match="under 4 characters"):
        Secret.file(str(path)).reveal()

    keyring = pytest.importorskip("keyring", reason="the extra `keyring` is not installed")
    from keyrings.alt.file import PlaintextKeyring

    backend = PlaintextKeyring()
    backend.file_path = str(tmp_path / "keyring.cfg")
    monkeypatch.setattr(keyring.core, "_keyring_backend", backend)
    keyring.set_password("database", "ana", "in the ring")
    assert Secret.keyring("database", "ana").reveal() == "in the ring"
    with pytest.raises(UsageError, match="run `keyring set database bob`"):
        Secret.keyring("database", "bob").reveal()


def test_a_secret_is_not_revealed_when_its_log_cannot_be_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(forms: object) -> None:
        raise OSError("nobody there")

    monkeypatch.setattr(masking, "masker", masking.Masker())
    monkeypatch.setattr(masking, "announce", refuse)
    monkeypatch.setenv("SOME_TOKEN", "a-secret-value")
    with pytest.raises(OSError, match="nobody there"):
        secrets.reveal(Secret.env("SOME_TOKEN"))
    assert not masking.masker
