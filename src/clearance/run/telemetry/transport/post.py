"""One POST, as every sink over HTTP needs it.

Rules: certificates are verified; a redirect is not followed, since the token and the body would go with it; of the
answer only the status counts. `http` is for this machine alone, which `types.sink` has checked.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clearance.errors import ClearanceError, UsageError
from clearance.types.sink import check_url

if TYPE_CHECKING:
    import http.client

LONGEST = 3600.0


class Undelivered(ClearanceError):
    """A try did not succeed; `after` is how many seconds the sink asks to be left alone."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


def post(url: str, body: bytes, headers: dict[str, str], timeout: float, authority: str = "") -> None:
    """Sends a body, and returns when the answer's status begins with 2.

    Args:
        url: `https://…`, or `http://` on this machine.
        body: what is sent.
        headers: of the request.
        timeout: seconds that all of it may take.
        authority: file with the certificate authorities to trust; empty for the system's.

    Raises:
        Undelivered: anything else; the message never holds the path of the URL, which may be a secret.
    """
    import http.client
    import ssl

    try:
        check_url(url)
    except ValueError:
        raise UsageError("the URL must begin with https:// (http:// on this machine alone)") from None
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=authority or None)
            connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    except (OSError, ValueError) as error:
        raise Undelivered(f"{host}: {error}") from None
    late = threading.Event()
    timer = threading.Timer(timeout, _abort, [connection, late])
    timer.daemon = True
    timer.start()
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        what = f"no answer within {timeout:g} s" if late.is_set() else f"{type(error).__name__}: {error}"
        raise Undelivered(f"{host}: {what}") from None
    finally:
        timer.cancel()
        connection.close()
    if 300 <= answer.status < 400:
        raise Undelivered(f"{host} answers {answer.status}, a redirect, which is not followed: correct the URL")
    if not 200 <= answer.status < 300:
        raise Undelivered(f"{host} answers {answer.status} {answer.reason}", _after(answer.getheader("Retry-After")))


def _abort(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    """Ends an exchange that goes on, be it ever so slowly."""
    late.set()
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _after(text: str | None) -> float:
    return min(float(text), LONGEST) if text and text.isdecimal() else 0.0
