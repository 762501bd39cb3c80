"""Downloads with a required checksum: whole and verified, or not there at all.

Rules:

1. `https://` with a verified certificate and name, TLS 1.2 at least; `http://` for loopback only; `file://` for the
   same machine. A redirect leads to `https` (or stays on loopback), never anywhere weaker.
2. The bytes go to a temporary file beside the target; after checksum and fsync they get the target's name.
3. A broken connection is resumed with `Range` and `If-Range` (RFC 9110 sections 13.1.5 and 14.2) under a strong
   entity tag or else the date of change; a server that does not know ranges makes the download start again.
4. Never more than `limit` bytes are kept, whatever the server says of its size.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearance.errors import Corrupt, Refused, StoreError, UsageError
from clearance.store.blobs import BUFFER, chunks, open_regular, sync_directory

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPConnection, HTTPResponse
    from urllib.parse import SplitResult

_REDIRECTS = 10
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)\Z")
_DIGITS = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Broken(Exception):
    """The attempt broke off; what has arrived may be resumed."""


def download(
    url: str,
    *,
    sha256: str,
    to: Path | str,
    timeout: float = 60.0,
    attempts: int = 5,
    limit: int | None = None,
    context: ssl.SSLContext | None = None,
) -> Path:
    """Fetches a file and returns its path; a file that is there with that checksum is not fetched again.

    Args:
        url: `https://…`, `file:///…`, or `http://` for loopback.
        sha256: 64 hexadecimal digits of what the bytes must be.
        to: path of the file that is made or replaced; a directory takes the last part of the URL as name.
        timeout: seconds without a byte until an attempt counts as broken.
        attempts: how many in all; each goes on where the last one broke.
        limit: bytes that are accepted at most; None means no limit.
        context: TLS settings; default the system's authorities (`SSL_CERT_FILE` is honoured).

    Raises:
        UsageError: a checksum that is none, or a URL that is not accepted.
        Refused: a redirect or a certificate that is not accepted, or more than `limit` bytes.
        Corrupt: the bytes have another checksum.
        StoreError: not to be had after all attempts.
    """
    match = _DIGITS.match(sha256.lower())
    if not match:
        raise UsageError(f"sha256 is {sha256!r} for {url}: write the 64 hexadecimal digits that its publisher names")
    wanted = match[1]
    if attempts < 1:
        raise UsageError(f"attempts is {attempts}: use 1 or more")
    parts = parse_url(url)
    target = Path(to)
    if target.is_dir():
        target = target / (parts.path.rpartition("/")[2] or "download")
    if target.is_file() and _digest(target) == wanted:
        return target
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}-{os.urandom(6).hex()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x+b") as file:
            transfer = _Transfer(url, file, timeout, limit, context)
            if parts.scheme == "file":
                transfer.copy(parts)
            else:
                transfer.run(attempts)
            found = transfer.sha256.hexdigest()
            if found != wanted:
                raise Corrupt(f"{url} has sha256 {found} and {wanted} is expected: check the URL and the checksum")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
        sync_directory(target.parent)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return target


class _Transfer:
    """One file on its way: what has arrived, its hash, and what identifies the version that is fetched."""

    def __init__(self, url: str, file: Any, timeout: float, limit: int | None, context: ssl.SSLContext | None) -> None:
        self.sha256 = hashlib.sha256()
        self._url = url
        self._file = file
        self._timeout = timeout
        self._limit = limit
        self._context = context
        self._size = 0
        self._version = ""

    def copy(self, parts: SplitResult) -> None:
        """Copies a local file."""
        from urllib.parse import unquote

        with open_regular(Path(unquote(parts.path))) as source:
            for chunk in chunks(source):
                self._take(chunk)

    def run(self, attempts: int) -> None:
        """Fetches until the end, resuming after breaks."""
        reason = ""
        for attempt in range(attempts):
            if attempt:
                time.sleep(min(0.1 * 2**attempt, 10.0))
            try:
                self._attempt()
                return
            except _Broken as error:
                reason = str(error)
        raise StoreError(f"cannot fetch {self._url} in {attempts} attempts: {reason}; try again later")

    def _attempt(self) -> None:
        url = self._url
        for _ in range(_REDIRECTS):
            connection, response = self._request(url)
            try:
                if response.status in (301, 302, 303, 307, 308):
                    url = self._redirect(url, response)
                    continue
                self._receive(response)
                return
            finally:
                connection.close()
        raise Refused(f"{self._url} redirects more than {_REDIRECTS} times: give the final address")

    def _request(self, url: str) -> tuple[HTTPConnection, HTTPResponse]:
        import http.client
        import ssl

        parts = parse_url(url)
        headers = {"User-Agent": "clearance", "Accept": "*/*", "Accept-Encoding": "identity"}
        if self._size:
            headers |= {"Range": f"bytes={self._size}-", "If-Range": self._version}
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = self._context or ssl.create_default_context()
            context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
            connection = http.client.HTTPSConnection(host, parts.port, timeout=self._timeout, context=context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=self._timeout)
        path = parts.path or "/"
        try:
            connection.request("GET", f"{path}?{parts.query}" if parts.query else path, headers=headers)
            return connection, connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise Refused(
                f"the certificate of {host} is not accepted: {error.verify_message}; "
                "correct the URL, or name its authority in SSL_CERT_FILE"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _Broken(f"{type(error).__name__}: {error}") from None

    def _redirect(self, url: str, response: HTTPResponse) -> str:
        from urllib.parse import urljoin

        target = urljoin(url, response.headers.get("Location", ""))
        before = parse_url(url)
        try:
            after = parse_url(target)
        except UsageError as error:
            raise Refused(f"{url} redirects to {target!r}, which is not accepted: {error}") from None
        if after.scheme == "file" or (before.scheme == "https" and after.scheme != "https"):
            raise Refused(f"{url} redirects to {target!r}: only https is followed")
        return target

    def _receive(self, response: HTTPResponse) -> None:
        if response.status == 206:
            match = _RANGE.match(response.headers.get("Content-Range", ""))
            if not match or int(match[1]) != self._size:
                self._restart()
                raise _Broken("the server sent another range than the one asked for")
        elif response.status == 200:
            self._restart()
        elif response.status == 416 and self._size:
            self._restart()
            raise _Broken("the server refuses the range")
        elif response.status in _RETRIED:
            raise _Broken(f"HTTP {response.status} {response.reason}")
        else:
            raise StoreError(f"cannot fetch {self._url}: HTTP {response.status} {response.reason}; check the URL")
        tag = response.headers.get("ETag", "")
        self._version = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        length = response.headers.get("Content-Length", "")
        if self._limit is not None and length.isdecimal() and self._size + int(length) > self._limit:
            raise self._too_large()
        self._drain(response)
        if response.length:
            self._broke(f"{response.length} bytes are missing")

    def _drain(self, response: HTTPResponse) -> None:
        import http.client

        while True:
            try:
                chunk = response.read1(BUFFER)
            except (OSError, http.client.HTTPException) as error:
                self._broke(f"{type(error).__name__}: {error}")
            if not chunk:
                return
            self._take(chunk)

    def _broke(self, reason: str) -> None:
        if not self._version:  # nothing says that the next answer is of the same bytes
            self._restart()
        raise _Broken(reason)

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.sha256 = hashlib.sha256()
        self._size = 0

    def _take(self, chunk: bytes | memoryview) -> None:
        self._size += len(chunk)
        if self._limit is not None and self._size > self._limit:
            raise self._too_large()
        self.sha256.update(chunk)
        self._file.write(chunk)

    def _too_large(self) -> Refused:
        return Refused(f"{self._url} has more than {self._limit} bytes: raise limit, or give another URL")


def parse_url(url: str) -> SplitResult:
    """Returns the parts of a URL that may be fetched: https, file, or http on loopback.

    Raises:
        UsageError: another one, one that is none, or one that holds a password.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}") from None
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url) or not url.isascii():
        raise UsageError(f"{url!r} is no URL: percent-encode spaces, control characters and other letters")
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"the URL of {parts.hostname} holds a password: take it out")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"{url!r} names another host: write file:///absolute/path")
    elif parts.scheme == "http":
        if not _loopback(parts.hostname or ""):
            raise UsageError(f"{url!r} is not encrypted: use https://")
    elif parts.scheme != "https" or not parts.hostname:
        raise UsageError(f"{url!r} is not accepted: use https://, or file:/// for this machine")
    return parts


def _loopback(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for chunk in chunks(file):
            sha256.update(chunk)
    return sha256.hexdigest()
