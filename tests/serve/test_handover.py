"""A replica hands its listening socket to a successor: clients see no failed request, whatever connections they use."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from clearance.serve import handover
from support.serving import House, Replica


@pytest.fixture
def house(make_house: Callable[[], House]) -> House:
    return make_house()


def read_on(replica: Replica) -> Replica:
    """Reads what a replica writes, which would stand still when nobody does."""
    stdout = replica.process.stdout
    assert stdout is not None
    threading.Thread(target=lambda: [None for _ in stdout], daemon=True).start()
    return replica


def end(replica: Replica) -> int:
    """Tells a replica to end, and returns how it did."""
    replica.process.send_signal(signal.SIGTERM)
    return replica.process.wait(20)


class Callers:
    """Clients that ask without a pause: one on new connections, one that keeps its own."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._stop = threading.Event()
        self.answers = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(kept,)) for kept in (False, False, True, True)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int = 30) -> None:
        """Waits until so many more were answered."""
        wanted, deadline = self.answers + count, time.monotonic() + 30
        while self.answers < wanted:
            assert time.monotonic() < deadline, self.failures[:3]
            time.sleep(0.01)

    def _ask(self, kept: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if kept else 0)
        with self._replica.client(limits=limits) as client:
            while not self._stop.is_set():
                try:
                    response = client.post("/v1/predict", json=[{"age": 2}])
                    if response.status_code != 200:
                        self.failures.append(f"{response.status_code} {response.text}")
                except httpx.HTTPError as error:
                    self.failures.append(f"{type(error).__name__} {error}")
                self.answers += 1


def test_no_request_fails_when_a_successor_takes_over(house: House) -> None:
    first = read_on(house.start())
    with Callers(first) as callers:
        callers.more()
        second = read_on(house.start(port=first.info["port"], takeover=True))
        assert second.info["url"] == first.info["url"]
        callers.more()
        assert end(first) == 0
        callers.more()
        third = read_on(house.start(port=first.info["port"], takeover=True))
        assert end(second) == 0
        callers.more()
    assert callers.failures == []
    assert third.process.poll() is None
    assert end(third) == 0


def test_who_starts_a_request_slowly_on_the_old_replica_is_still_answered(house: House) -> None:
    first = house.start()
    with first.client() as client, first.client() as idle:
        assert idle.get("/health").status_code == 200
        slow: list[int] = []

        def ask() -> None:
            slow.append(client.post("/v1/predict", json=[{"age": 1, "name": "sleep1.5"}]).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        second = house.start(port=first.info["port"], takeover=True)
        first.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        response = idle.get("/v1/model")
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        thread.join()
        assert slow == [200]
        first.process.communicate(timeout=20)
        assert idle.get("/v1/model").status_code == 200
    second.stop()


def test_a_replica_whose_successor_died_refuses_and_ends_as_ever(house: House) -> None:
    first = house.start()
    second = house.start(port=first.info["port"], takeover=True)
    second.process.kill()
    second.process.communicate()
    with first.client() as client:
        assert client.get("/health").status_code == 200
    code, _, _ = first.stop()
    assert code == 0


def test_nobody_offers_or_another_port_is_wanted(house: House, tmp_path: Path) -> None:
    assert handover.take(tmp_path, 1) is None
    assert handover.take(tmp_path / "nowhere", 1) is None
    first = house.start()
    directory = Path(house.config["directory"])
    assert handover.take(directory, first.info["port"] + 1) is None
    taken = handover.take(directory, first.info["port"])
    assert taken is not None
    assert taken[0].getsockname() == ("127.0.0.1", first.info["port"])
    assert os.stat(directory / "listener.sock").st_mode & 0o777 == 0o600
    for each in taken:
        assert isinstance(each, socket.socket)
        each.close()
    first.stop()
