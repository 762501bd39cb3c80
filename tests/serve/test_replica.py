from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from clearance.serve.replica import tls_context
from support.serving import House, Replica

PROBLEM = "application/problem+json"


@pytest.fixture
def client(replica: Replica) -> Iterator[httpx.Client]:
    with replica.client() as client:
        yield client


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    return body


def test_a_prediction_is_answered(client: httpx.Client) -> None:
    response = client.post("/v1/predict", json=[{"age": 2}, {"age": 3, "name": "x"}])
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"total": 10.0, "array": [1.0, 2.0]}


def test_health_needs_no_token_and_names_the_model(replica: Replica, client: httpx.Client) -> None:
    response = client.get("/health", headers={"Authorization": ""})
    assert response.json() == {"status": "ok", "model": replica.house.config["model"]}


def test_the_model_is_described(replica: Replica, client: httpx.Client) -> None:
    described = client.get("/v1/model").json()
    assert described["files"] == ["weight.txt"]
    assert described["metadata"] == {"metrics": {"auc": 1}}
    assert described["model"] == replica.house.config["model"]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic abc", "Bearer é"])
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/model"])
def test_a_token_is_needed(client: httpx.Client, header: str, path: str) -> None:
    method = "POST" if path.endswith("predict") else "GET"
    response = client.request(method, path, headers={"Authorization": header.encode()})
    problem(response, 401)
    assert response.headers["www-authenticate"].startswith('Bearer realm="clearance"')


def test_bodies_that_are_no_json_are_refused(client: httpx.Client) -> None:
    kind = {"Content-Type": "application/json"}
    for body in (b"", b"{", b"[1,]", b"\xff", b'[{"age": NaN}]', b"[" * 1900):
        problem(client.post("/v1/predict", content=body, headers=kind), 400)
    for other in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""):
        problem(client.post("/v1/predict", content=b"[]", headers={"Content-Type": other}), 415)
    problem(client.post("/v1/predict", content=b"[]", headers=kind | {"Content-Encoding": "gzip"}), 415)
    assert client.post("/v1/predict", content=b"[]", headers={"Content-Type": 'Application/JSON; charset="UTF-8"'})


@pytest.mark.parametrize(
    ("value", "path"), [([{"age": "two"}], "$[0].age"), ([{}], "$[0]"), ({"age": 1}, "$"), ([{"age": 1}, 3], "$[1]")]
)
def test_an_input_that_does_not_fit_names_the_path(client: httpx.Client, value: Any, path: str) -> None:
    assert problem(client.post("/v1/predict", json=value), 422)["path"] == path


def test_a_predictor_may_refuse_an_input(client: httpx.Client) -> None:
    assert problem(client.post("/v1/predict", json=[{"age": 1, "name": "bad"}]), 422)["detail"] == "no such name"


def test_a_failing_predictor_leaks_nothing(client: httpx.Client) -> None:
    response = client.post("/v1/predict", json=[{"age": 1, "name": "boom"}])
    body = problem(response, 500)
    assert body["instance"].startswith("urn:uuid:")
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert client.get("/health").status_code == 200


def test_large_bodies_are_refused_whether_announced_or_not(client: httpx.Client) -> None:
    kind = {"Content-Type": "application/json"}
    problem(client.post("/v1/predict", content=b" " * 2001, headers=kind), 413)
    problem(client.post("/v1/predict", content=iter([b" " * 1000] * 3), headers=kind), 413)
    assert client.post("/v1/predict", content=iter([b" " * 999, b"[]"]), headers=kind).status_code == 200


def test_other_paths_and_methods(client: httpx.Client) -> None:
    problem(client.get("/"), 404)
    problem(client.get("/v1/predict/../../etc/passwd"), 404)
    response = client.get("/v1/predict")
    problem(response, 405)
    assert "POST" in response.headers["allow"]
    problem(client.post("/health"), 405)


def test_health_answers_while_a_prediction_runs_and_too_many_are_refused(
    replica: Replica, client: httpx.Client
) -> None:
    statuses: list[int] = []

    def predict() -> None:
        with replica.client() as other:
            statuses.append(other.post("/v1/predict", json=[{"age": 1, "name": "sleep0.8"}]).status_code)

    threads = [threading.Thread(target=predict) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert client.get("/health").status_code == 200
    response = client.post("/v1/predict", json=[])
    problem(response, 503)
    assert response.headers["retry-after"] == "1"
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]


def test_a_body_that_does_not_come_is_given_up(replica: Replica) -> None:
    connection = raw(replica)
    connection.sendall(
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\n"
        b"Authorization: Bearer " + replica.token.encode() + b"\r\n\r\n["
    )
    assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    connection.close()


def raw(replica: Replica, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    context = context or ssl.create_default_context(cafile=str(replica.house.provision.authority))
    connection = socket.create_connection(("127.0.0.1", replica.info["port"]), timeout=5)
    return context.wrap_socket(connection, server_hostname="localhost")


def test_the_standard_library_is_served_too(replica: Replica) -> None:
    context = ssl.create_default_context(cafile=str(replica.house.provision.authority))
    connection = http.client.HTTPSConnection("127.0.0.1", replica.info["port"], context=context, timeout=5)
    headers = {"Authorization": f"bearer {replica.token}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/predict", json.dumps([{"age": 1}]), headers)
    response = connection.getresponse()
    assert json.load(response)["total"] == 2.0
    connection.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_only_current_tls_is_spoken(replica: Replica) -> None:
    with raw(replica) as connection:
        assert connection.version() == "TLSv1.3"
    old = ssl.create_default_context(cafile=str(replica.house.provision.authority))
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        raw(replica, old)
    with pytest.raises(ssl.SSLCertVerificationError):
        raw(replica, ssl.create_default_context())
    with socket.create_connection(("127.0.0.1", replica.info["port"]), timeout=5) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert not plain.recv(1000).startswith(b"HTTP/1.1 200")


def test_sigterm_answers_what_is_in_flight_and_exits_with_zero(make_house: Callable[[], House]) -> None:
    replica = make_house().start()
    answers: list[httpx.Response] = []

    def predict() -> None:
        with replica.client() as client:
            answers.append(client.post("/v1/predict?token=secret", json=[{"age": 1, "name": "sleep0.8"}]))

    thread = threading.Thread(target=predict)
    thread.start()
    time.sleep(0.3)
    with replica.client() as client:
        client.get("/health")
        replica.process.terminate()
        time.sleep(0.1)
        problem(client.post("/v1/predict", json=[]), 503)
        problem(client.get("/health"), 503)
    thread.join()
    assert answers[0].json()["total"] == 2.0
    code, out, error = replica.stop()
    assert code == 0
    assert out.endswith("RETURNED\n")
    lines = [json.loads(line) for line in out.splitlines()[:-1]]
    assert {"method": "POST", "path": "/v1/predict", "status": 200}.items() <= lines[-1].items()
    assert replica.token not in out + error
    assert "secret" not in out + error


def test_a_replica_comes_back_on_the_same_port(make_house: Callable[[], House]) -> None:
    house = make_house()
    first = house.start()
    with first.client() as client:
        assert client.get("/health").status_code == 200
        first.process.kill()
        first.process.wait()
    second = house.start(port=first.info["port"])
    assert second.info == first.info
    taken = house.start(port=first.info["port"])
    assert "EngineError" in taken.stop()[2]
    assert second.stop()[0] == 0


def change_blob(house: House) -> dict[str, Any]:
    for path in (house.root / "home" / "blobs" / "sha256").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_text("9.0")
    return {}


def other_signature(house: House) -> dict[str, Any]:
    from clearance.trust.attest import Attestor
    from clearance.trust.keys import public_key_file

    Attestor(house.root / "other").public  # noqa: B018
    return {"public_key": str(public_key_file(house.root / "other"))}


def flipped_signature(house: House) -> dict[str, Any]:
    path = Path(house.config["signature"])
    data = bytearray(path.read_bytes())
    data[data.index(b'"sig":"') + 30] ^= 1
    path.write_bytes(data)
    return {}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (change_blob, "Corrupt"),
        (other_signature, "Rejected"),
        (flipped_signature, "Rejected"),
        (lambda house: {"signature": "/nowhere"}, "Refused"),
        (lambda house: {"predictor": "pipeline_code:missing"}, "UsageError"),
        (lambda house: {"predictor": "pipeline_code:coroutine"}, "UsageError"),
        (lambda house: {"predictor": "pipeline_code:none"}, "UsageError"),
        (lambda house: {"host": "0.0.0.0"}, "only loopback is served"),
        (lambda house: {"tokn": "x"}, "unknown field"),
    ],
)
def test_a_replica_refuses_to_start(
    make_house: Callable[[], House], change: Callable[[House], dict[str, Any]], error: str
) -> None:
    house = make_house()
    replica = house.start(**change(house))
    assert replica.info == {}
    replica.process.wait(20)
    assert error in replica.stop()[2]
    assert list((house.root / "work").iterdir()) == [house.root / "work" / "model"]


def test_an_answer_that_is_no_json_is_a_failure(make_house: Callable[[], House]) -> None:
    replica = make_house().start(predictor="pipeline_code:unwritable")
    with replica.client() as client:
        problem(client.post("/v1/predict", json={"any": ["thing"]}), 500)
    assert "cannot be written as JSON" in replica.stop()[2]


def test_tls_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    from clearance.errors import EngineError

    with pytest.raises(EngineError, match="provision the endpoint again"):
        tls_context(str(tmp_path / "none"), str(tmp_path / "none"))
