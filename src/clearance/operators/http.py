"""`http`: one request as a task.

    fetch = http("fetch", "https://example.org/rows.json", auth=Secret.env("TOKEN"))

Rules:

1. Certificates are always verified; without encryption only loopback is asked.
2. A redirect is followed up to five times, and only while no body is sent. To another host neither `auth` nor a secret
   header goes with it.
3. No more than `limit` bytes are read. What is worth another try is decided by the task's own `retries`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.errors import GraphError, Refused
from clearance.graph.origin import call_site
from clearance.operators.contract import (
    OperatorFailed,
    check_choice,
    names_of,
    operator,
    secrets_of,
    text_of,
    values_of,
)
from clearance.store.download import parse_url
from clearance.types.references import File
from clearance.types.secret import Secret

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPConnection

_RESULTS = {"json": Any, "text": str, "file": File, "status": int}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_REDIRECTS = 5
_SHOWN = 300


def http(
    name: str,
    url: Any,
    *,
    method: str = "GET",
    headers: Mapping[str, Any] | None = None,
    auth: Secret | None = None,
    json: Any = None,
    body: Any = None,
    expect: int | Sequence[int] = (),
    result: str = "json",
    limit: int = 16 << 20,
    patience: float = 60.0,
    authority: str = "",
    **how: Any,
) -> Any:
    """Makes a task that sends one request and returns what is answered.

    Args:
        name: id of the task.
        url: `https://…`, or `http://` on loopback; a constant or a result.
        method: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.
        headers: constants, results or `Secret`s by name.
        auth: sent as `Authorization: Bearer …`.
        json: sent as the body; a constant or a result.
        body: in place of `json`: text, bytes or a file, a constant or a result.
        expect: the statuses that are a success; default every 2xx.
        result: the body as `json`, `text` or `file`, or the `status` alone.
        limit: bytes that are read at most.
        patience: seconds without a byte until the request has failed.
        authority: file of certificates that are trusted in place of the system's.
        **how: options of the task; `retries` says how often a failure is tried again.

    Raises:
        GraphError: a value that is none.
    """
    site = call_site()[0]
    check_choice("method", method, _METHODS)
    check_choice("result", result, tuple(_RESULTS))
    if json is not None and body is not None:
        raise GraphError(f"task {name!r} ({site}): give json=… or body=…, not both")
    if auth is not None and not isinstance(auth, Secret):
        raise GraphError(f"task {name!r} ({site}): auth is given by reference: auth=Secret.env('TOKEN')")
    for header, value in (headers or {}).items():
        if header.lower() in ("authorization", "cookie") and not isinstance(value, Secret):
            raise GraphError(f"task {name!r} ({site}): give {header} by reference: Secret.env('NAME')")
    if isinstance(url, str):
        _checked(url)
    configuration = {
        "url": url, "method": method, "names": names_of(headers), "values": values_of(headers),
        "secrets": secrets_of(headers), "auth": auth, "json": json, "body": body,
        "expect": [expect] if isinstance(expect, int) else list(expect), "result": result, "limit": limit,
        "patience": patience, "authority": authority,
    }  # fmt: skip
    return operator(name, run_http, _RESULTS[result], configuration, how)


def run_http(
    url: Any,
    method: str,
    names: list[str],
    values: list[Any],
    secrets: dict[str, Secret],
    auth: Secret | None,
    json: Any,
    body: Any,
    expect: list[int],
    result: str,
    limit: int,
    patience: float,
    authority: str,
) -> Any:
    """Runs in the attempt's process: see `http`."""
    headers = {"User-Agent": "clearance", "Accept-Encoding": "identity"}
    headers |= {header: text_of(value) for header, value in zip(names, values, strict=True)}
    private = {header: secret.reveal() for header, secret in secrets.items()}
    if auth is not None:
        private["Authorization"] = f"Bearer {auth.reveal()}"
    payload: Any = None
    if json is not None:
        payload = msgspec.json.encode(json)
        headers.setdefault("Content-Type", "application/json")
    elif isinstance(body, File):
        payload = body.path.read_bytes()
    elif body is not None:
        payload = body if isinstance(body, bytes) else text_of(body).encode()
    answer = request(
        text_of(url), method, headers, private, payload, limit=limit, patience=patience, authority=authority
    )
    print(f"{method} {answer.url}: {answer.status}, {len(answer.body)} bytes")
    if not (answer.status in expect if expect else 200 <= answer.status < 300):
        shown = answer.body[:_SHOWN].decode(errors="replace").strip()
        raise OperatorFailed(f"{method} {answer.url}: HTTP {answer.status} {answer.reason}\n{shown}")
    if result == "status":
        return answer.status
    if result == "file":
        made = Path.cwd() / "body"
        made.write_bytes(answer.body)
        return File(made)
    if result == "text":
        return answer.body.decode(errors="replace")
    try:
        return msgspec.json.decode(answer.body) if answer.body else None
    except msgspec.DecodeError as error:
        raise OperatorFailed(f"{method} {answer.url} answers no JSON ({error}): use result='text' or 'file'") from None


class Answer(msgspec.Struct, frozen=True):
    """What a server said: the last URL, status, reason, and the body's bytes."""

    url: str
    status: int
    reason: str
    body: bytes


def request(
    url: str,
    method: str,
    headers: Mapping[str, str],
    private: Mapping[str, str],
    payload: bytes | None,
    *,
    limit: int,
    patience: float,
    authority: str = "",
) -> Answer:
    """Sends a request, follows redirects, and reads the answer.

    Args:
        url: as `http` takes it.
        method: of the request.
        headers: sent to every host.
        private: headers that are sent to the first host alone.
        payload: the body, or None.
        limit: bytes that are read at most.
        patience: seconds without a byte.
        authority: file of certificates that are trusted; empty for the system's.

    Raises:
        Refused: a certificate or a redirect that is not accepted, or more than `limit` bytes.
        OperatorFailed: no answer.
    """
    from urllib.parse import urljoin

    first = _origin(url)
    for _ in range(_REDIRECTS + 1):
        sent = {**headers, **(private if _origin(url) == first else {})}
        connection = _connect(url, patience, authority)
        try:
            status, reason, location, body = _exchange(connection, url, method, sent, payload, limit)
        finally:
            connection.close()
        if status not in (301, 302, 303, 307, 308) or not location:
            return Answer(url, status, reason, body)
        if payload is not None and status != 303:
            raise Refused(f"{url} redirects a request with a body to {location!r}: give the final address")
        target = urljoin(url, location)
        if url.startswith("https:") and not target.startswith("https:"):
            raise Refused(f"{url} redirects to {target!r}: only https is followed")
        _checked(target)
        url = target
        if status == 303:
            method, payload = ("HEAD" if method == "HEAD" else "GET"), None
    raise Refused(f"{url}: more than {_REDIRECTS} redirects: give the final address")


def _checked(url: str) -> None:
    if parse_url(url).scheme == "file":
        raise GraphError(f"{url!r} is no address of a server: use https://")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = parse_url(url)
    return parts.scheme, parts.hostname, parts.port


def _connect(url: str, patience: float, authority: str) -> HTTPConnection:
    from http.client import HTTPConnection, HTTPSConnection

    parts = parse_url(url)
    _checked(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return HTTPSConnection(host, parts.port, timeout=patience, context=_tls(authority))
    return HTTPConnection(host, parts.port, timeout=patience)


def _tls(authority: str) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=authority or os.environ.get("SSL_CERT_FILE") or None)
    except OSError as error:
        raise OperatorFailed(f"the certificates in {authority!r} cannot be read: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _exchange(
    connection: HTTPConnection,
    url: str,
    method: str,
    headers: Mapping[str, str],
    payload: bytes | None,
    limit: int,
) -> tuple[int, str, str, bytes]:
    import ssl
    from http.client import HTTPException

    parts = parse_url(url)
    path = parts.path or "/"
    try:
        connection.request(
            method, f"{path}?{parts.query}" if parts.query else path, body=payload, headers=dict(headers)
        )
        response = connection.getresponse()
        body = response.read(limit + 1)
    except ssl.SSLCertVerificationError as error:
        raise Refused(
            f"the certificate of {parts.hostname} is not accepted: {error.verify_message}; correct the URL, or name "
            "its authority"
        ) from None
    except (OSError, HTTPException, ValueError) as error:
        raise OperatorFailed(f"{method} {url}: {type(error).__name__}: {error}") from None
    if len(body) > limit:
        raise Refused(f"{url} answers more than {limit} bytes: raise limit, or use clearance.download")
    return response.status, response.reason, response.headers.get("Location", ""), body
