"""`clearance up` with its API, as a client of it."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from support.runs import Home


@contextmanager
def serve(home: Home, *options: str) -> Iterator[httpx.Client]:
    """Yields a client at the root of the server, which bears the token that `up` printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = home.start("up", "--port", str(port), *options)
    assert process.stdout is not None
    process.stdout.readline()
    token = process.stdout.readline().split()[1]
    assert "leading" in process.stdout.readline()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10) as client:
        deadline = time.monotonic() + 20
        while True:
            try:
                client.get("/health").raise_for_status()
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield client
    process.send_signal(signal.SIGTERM)
    process.wait(20)
