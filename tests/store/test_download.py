from __future__ import annotations

import datetime
import hashlib
import http.server
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from clearance.errors import Corrupt, Refused, StoreError, UsageError
from clearance.store.download import download
from clearance.trust.x509 import server_files

DATA = os.urandom(700_000)
SUM = hashlib.sha256(DATA).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves DATA under several moods, named by the first part of the path; breaks as often as `breaks` says."""

    protocol_version = "HTTP/1.1"
    breaks: ClassVar[int] = 0
    seen: ClassVar[list[tuple[str, str | None, str | None]]] = []

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        mood = self.path.split("/")[1]
        wanted = self.headers.get("Range")
        type(self).seen.append((mood, wanted, self.headers.get("If-Range")))
        start = 0
        if mood in ("status404", "status503"):
            self.send_response(int(mood[6:]))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if mood == "redirect":
            self.send_response(302)
            self.send_header("Location", self.path.split("/", 2)[2])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        tag = '"v2"' if mood == "changes" and wanted else '"v1"'
        if wanted and mood != "norange" and self.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            shown = start + 1 if mood == "wrongrange" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(DATA) - 1}/{len(DATA)}")
        else:
            self.send_response(200)
        body = DATA[start:]
        if mood == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        if mood != "untagged":
            self.send_header("ETag", tag)
        self.end_headers()
        if type(self).breaks > 0:
            type(self).breaks -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        if mood == "chunked":
            self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
            if not self.close_connection:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(body)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("home")
    (home / "server").mkdir()
    return server_files(home, home / "server", datetime.datetime.now(datetime.UTC))


@pytest.fixture
def server(authority: Any) -> Iterator[str]:
    httpd = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    Handler.breaks = 0
    Handler.seen = []
    yield f"https://localhost:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def trusted(authority: Any) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.authority))


@pytest.mark.parametrize("mood", ["plain", "norange", "chunked", "untagged", "changes", "wrongrange"])
def test_a_broken_download_ends_whole(mood: str, server: str, trusted: ssl.SSLContext, tmp_path: Path) -> None:
    Handler.breaks = 2
    path = download(f"{server}/{mood}/x.bin", sha256=SUM, to=tmp_path / "x.bin", context=trusted)
    assert path.read_bytes() == DATA
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.bin"]
    ranges = [(wanted, version) for _, wanted, version in Handler.seen]
    if mood in ("plain", "chunked"):
        assert ranges == [(None, None), ("bytes=350000-", '"v1"'), ("bytes=525000-", '"v1"')]
    if mood == "untagged":
        assert ranges == [(None, None)] * 3


def test_the_system_authorities_are_used_and_ssl_cert_file_is_honoured(
    server: str, authority: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="SSL_CERT_FILE"):
        download(f"{server}/plain", sha256=SUM, to=tmp_path / "x")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.authority))
    assert download(f"{server}/plain/y", sha256="sha256:" + SUM.upper().lower(), to=tmp_path).name == "y"


def test_a_certificate_for_another_name_is_refused(server: str, trusted: ssl.SSLContext, tmp_path: Path) -> None:
    url = server.replace("localhost", "127.0.0.2")
    with pytest.raises(Refused, match="certificate of 127"):
        download(f"{url}/plain", sha256=SUM, to=tmp_path / "x", context=trusted)


def test_a_wrong_checksum_leaves_nothing(server: str, trusted: ssl.SSLContext, tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="is expected"):
        download(f"{server}/plain", sha256="0" * 64, to=tmp_path / "x", context=trusted)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept_or_replaced(server: str, trusted: ssl.SSLContext, tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(DATA)
    download(f"{server}/plain", sha256=SUM, to=target, context=trusted)
    assert Handler.seen == []
    target.write_bytes(b"old")
    with pytest.raises(StoreError, match="404"):
        download(f"{server}/status404", sha256=SUM, to=target, context=trusted)
    assert target.read_bytes() == b"old"
    download(f"{server}/plain", sha256=SUM, to=target, context=trusted)
    assert target.read_bytes() == DATA


def test_attempts_are_bounded(server: str, trusted: ssl.SSLContext, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="in 2 attempts: HTTP 503"):
        download(f"{server}/status503", sha256=SUM, to=tmp_path / "x", attempts=2, context=trusted)
    assert len(Handler.seen) == 2
    with pytest.raises(StoreError, match="in 1 attempts"):
        download("https://localhost:1/x", sha256=SUM, to=tmp_path / "x", attempts=1)


@pytest.mark.parametrize("mood", ["plain", "chunked"])
def test_size_is_bounded(mood: str, server: str, trusted: ssl.SSLContext, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="more than 1000 bytes"):
        download(f"{server}/{mood}", sha256=SUM, to=tmp_path / "x", limit=1000, context=trusted)
    assert list(tmp_path.iterdir()) == []


def test_redirects_lead_to_https_only(server: str, trusted: ssl.SSLContext, tmp_path: Path) -> None:
    path = download(f"{server}/redirect/{server}/plain/x", sha256=SUM, to=tmp_path / "x", context=trusted)
    assert path.read_bytes() == DATA
    for target in ("http://localhost:1/x", "http://example.org/x", "file:///etc/passwd", "ftp://localhost/x"):
        with pytest.raises(Refused, match="redirects to"):
            download(f"{server}/redirect/{target}", sha256=SUM, to=tmp_path / "y", context=trusted)
    loop = f"{server}/redirect/" * 12 + f"{server}/plain"
    with pytest.raises(Refused, match="more than 10 times"):
        download(loop, sha256=SUM, to=tmp_path / "y", context=trusted)


def test_local_files_are_copied(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(DATA)
    url = f"file://{tmp_path}/a%20b"
    assert download(url, sha256=SUM, to=tmp_path / "c").read_bytes() == DATA
    with pytest.raises(StoreError, match="cannot read"):
        download(f"file://{tmp_path}/none", sha256=SUM, to=tmp_path / "d")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a b", "c"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org/x", "not encrypted"),
        ("ftp://example.org/x", "not accepted"),
        ("https:///x", "not accepted"),
        ("file://host/x", "another host"),
        ("https://user:secret@example.org/x", "holds a password"),
        ("https://example.org/a b", "percent-encode"),
        ("https://example.org/\r\nX: y", "percent-encode"),
        ("https://example.org:port/", "no URL"),
    ],
)
def test_other_urls_are_refused(url: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        download(url, sha256=SUM, to=tmp_path / "x")
    assert "secret" not in str(caught.value)


def test_a_checksum_is_required(tmp_path: Path) -> None:
    for text in ("", "abc", "md5:" + "0" * 64):
        with pytest.raises(UsageError, match="64 hexadecimal digits"):
            download("https://example.org/x", sha256=text, to=tmp_path / "x")
