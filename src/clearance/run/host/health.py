"""Health checks of services: a thread that asks their URLs, so that a slow answer never holds the controller up.

How a replica is asked stands in what it said when it was ready: `health` (an https:// URL on this machine) and
`authority` (the certificate authority to trust). A service without `health` is judged by its process alone.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from typing import Any

INTERVAL, TIMEOUT = 2.0, 2.0


class Prober:
    """Asks every watched service each `INTERVAL` seconds.

    Args:
        wake: descriptor to which one byte is written when there are outcomes.
    """

    def __init__(self, wake: int) -> None:
        self._wake = wake
        self._watched: dict[str, dict[str, Any]] = {}
        self._outcomes: queue.SimpleQueue[tuple[str, bool, str]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, services: dict[str, dict[str, Any]]) -> None:
        """Sets which services are asked: by name, what their replica said when it was ready."""
        self._watched = services
        if services and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="health", daemon=True)
            self._thread.start()

    def outcomes(self) -> list[tuple[str, bool, str]]:
        """Returns name, whether it is well, and what was wrong, of each check since the last call."""
        found = []
        while not self._outcomes.empty():
            found.append(self._outcomes.get())
        return found

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(TIMEOUT + 1)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            for name, info in list(self._watched.items()):
                if url := info.get("health"):
                    self._outcomes.put((name, *_ask(url, info.get("authority", ""))))
                    with contextlib.suppress(OSError):
                        os.write(self._wake, b"h")


def _ask(url: str, authority: str) -> tuple[bool, str]:
    import ssl
    from http.client import HTTPException, HTTPSConnection
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    try:
        context = ssl.create_default_context(cafile=authority or None)
        connection = HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT, context=context)
        try:
            connection.request("GET", parts.path)
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, HTTPException) as error:
        return False, f"health check: {error}"
    return status == 200, f"health check: status {status}"
