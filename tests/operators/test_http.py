"""Requests against real servers, with and without TLS."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clearance.errors import GraphError, Refused, UsageError
from clearance.operators import http
from clearance.operators.contract import OperatorFailed
from clearance.operators.http import request

TOKEN = "t0k3n-t0k3n-t0k3n-t0k3n"


class Handler(BaseHTTPRequestHandler):
    """Echoes requests; `/to?URL` redirects, `/flaky` fails twice, `/big` answers 100,000 bytes."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        path, _, rest = self.path.partition("?")
        if path == "/to":
            self.reply(302, b"", Location=rest)
        elif path == "/see":
            self.reply(303, b"", Location=rest)
        elif path == "/flaky" and sum(seen[1] == "/flaky" for seen in self.server.seen) < 3:
            self.reply(503, b"not yet")
        elif path == "/big":
            self.reply(200, b"x" * 100_000)
        elif path == "/missing":
            self.reply(404, b"nothing here")
        else:
            told = {"method": self.command, "body": body.decode(), "host": self.headers["Host"]}
            self.reply(200, json.dumps(told).encode())

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server:
    """A server on loopback; `seen` is what it was asked."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.seen = self.server.seen = []
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def certificate(folder: Path) -> Path:
    """Writes a self-signed certificate for 127.0.0.1 with its key, and returns its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return path


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def ask(url: str, private=None, limit: int = 1 << 20, method: str = "GET", payload=None, authority: str = ""):
    return request(url, method, {}, private or {}, payload, limit=limit, patience=5.0, authority=authority)


def test_a_request_is_a_task_whose_token_stays_a_reference(bench, server):
    bench.home.environment["API_TOKEN"] = TOKEN
    bench.run(f"""
@task
def rows() -> list[int]:
    return [1, 2]

@dag
def main():
    sent = http("sent", "{server.url}/rows", method="POST", json=rows(), auth=Secret.env("API_TOKEN"),
                headers={{"X-Api-Key": Secret.env("API_TOKEN"), "X-Plain": 5}})
    keep(sent)
    http("file", "{server.url}/big", result="file")

@task
def keep(told: dict[str, str]) -> str:
    return told["body"]
""")
    assert bench.result("keep") == "[1,2]"
    headers = next(seen[2] for seen in server.seen if seen[0] == "POST")
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["X-Api-Key"] == TOKEN
    assert headers["X-Plain"] == "5"
    assert headers["Content-Type"] == "application/json"
    assert bench.fetch("file").stat().st_size == 100_000
    for path in bench.home.path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_a_failure_is_tried_again_by_the_tasks_own_policy(bench, server):
    bench.run(f"""
main = dag("main", http("flaky", "{server.url}/flaky", result="status", retries=Retry(3, delay=0.01)))
""")
    assert bench.result("flaky") == 200
    assert len(server.seen) == 3


def test_an_unexpected_status_fails_with_what_the_server_said(bench, server):
    printed = bench.run(
        f"""
main = dag("main", [http("missing", "{server.url}/missing"),
                    http("fine", "{server.url}/missing", expect=404, result="text")])
""",
        expect=1,
    )
    assert "HTTP 404" in printed
    assert "nothing here" in bench.log("missing")
    assert bench.result("fine") == "nothing here"


def test_authorization_does_not_follow_a_redirect_to_another_host(server, other):
    private = {"Authorization": "Bearer x", "X-Api-Key": "y"}
    assert ask(f"{server.url}/to?/here", private).status == 200
    assert server.seen[-1][2]["Authorization"] == "Bearer x"
    assert ask(f"{server.url}/to?{other.url}/there", private).url == f"{other.url}/there"
    assert not {"Authorization", "X-Api-Key"} & other.seen[-1][2].keys()


def test_a_body_is_never_sent_along_a_redirect(server, other):
    with pytest.raises(Refused, match="redirects a request with a body"):
        ask(f"{server.url}/to?{other.url}/there", method="POST", payload=b"private")
    assert other.seen == []
    answer = ask(f"{server.url}/see?/done", method="POST", payload=b"private")
    assert json.loads(answer.body) == {"method": "GET", "body": "", "host": server.url.removeprefix("http://")}


def test_redirects_end_somewhere_and_bodies_are_bounded(server):
    with pytest.raises(Refused, match="more than 5 redirects"):
        ask(f"{server.url}/to?{server.url}/to?{server.url}/to?x".replace("?x", "?/to?/to?/to?/to?/to?/to?/to"))
    with pytest.raises(Refused, match="more than 99999 bytes"):
        ask(f"{server.url}/big", limit=99_999)
    assert len(ask(f"{server.url}/big", limit=100_000).body) == 100_000
    with pytest.raises(UsageError):
        ask(f"{server.url}/to?http://192.0.2.1/plain")
    with pytest.raises(GraphError, match="no address of a server"):
        ask(f"{server.url}/to?file:///etc/passwd")


def test_a_certificate_is_verified_unless_its_authority_is_named(tmp_path):
    pem = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = Server(context)
    try:
        with pytest.raises(Refused, match=r"certificate of 127\.0\.0\.1 is not accepted"):
            ask(f"{server.url}/x")
        assert ask(f"{server.url}/x", authority=str(pem)).status == 200
        wrong = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(Refused, match="certificate of localhost is not accepted"):
            ask(f"{wrong}/x", authority=str(pem))
    finally:
        server.close()


def test_a_server_that_does_not_answer_is_a_failure():
    with pytest.raises(OperatorFailed, match="ConnectionRefusedError"):
        ask("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: http("x", "http://example.org/"), "not encrypted"),
        (lambda: http("x", "https://user:pass@example.org/"), "holds a password"),
        (lambda: http("x", "https://example.org/", method="get"), "use one of GET"),
        (lambda: http("x", "https://example.org/", json=1, body="1"), "not both"),
        (lambda: http("x", "https://example.org/", auth="token"), "by reference"),
        (lambda: http("x", "https://example.org/", headers={"Authorization": "x"}), "by reference"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(make, says):
    with pytest.raises(UsageError, match=says):
        make()
