"""Secrets: found in any file, never shown, and never missed in silence."""

from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path

import msgspec
import pytest

from clearance.trust.refusal import Rejected
from clearance.trust.scan import sarif
from clearance.trust.scan.finding import Report
from clearance.trust.scan.reading import Text, read_files
from clearance.trust.scan.secrets import scan_secrets

# in parts, so that this file holds no secret
SECRETS = {
    "secret-aws-access-key": ("AKIA" + "QXKD4MWB2RTLPCZ7", "key = {!r}"),
    "secret-private-key": ("BEGIN RSA " + "PRIVATE KEY", "-----{}-----"),
    "secret-github-token": ("ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx", "token: {}"),
    "secret-hugging-face-token": ("hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH", "{}"),
    "secret-anthropic-key": ("sk-ant-" + "api03-Zk3vQ9xW2mN8pL5rT7yB1cD4fG6hJ0", "x = '{}'"),
    "secret-google-api-key": ("AIza" + "SyD9tSrke72PouQMnMX-a7eZSW0jkFMBWY3", "{}"),
    "secret-secret-keyword": ("correct-horse-9", "password = '{}'"),
    "secret-basic-auth-credentials": ("hunter2x9", "https://me:{}@host.example/"),
}


def scan(*texts: tuple[str, bytes]) -> list[tuple[str, int]]:
    found = scan_secrets([Text(name, name, data) for name, data in texts])
    return [(each.rule, each.line) for each in found]


@pytest.mark.parametrize("rule", SECRETS)
@pytest.mark.parametrize("name", ["a.py", "a.txt", "deep/a.yaml.lock", "a.png", "noextension", ".env"])
def test_a_secret_is_found_in_any_file_and_never_shown(rule: str, name: str):
    secret, form = SECRETS[rule]
    text = f"# a\n\n{form.format(secret)}\n"
    found = scan_secrets([Text(name, name, text.encode())])
    assert (rule, 3) in [(each.rule, each.line) for each in found]
    report = Report("secrets", "1", "x", 1, found, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
    for written in (msgspec.json.encode(report), sarif.encode([report])):
        assert secret.encode() not in written


def test_comments_that_switch_scanners_off_do_not():
    secret, form = SECRETS["secret-aws-access-key"]
    assert scan(("a.py", f"{form.format(secret)}  # pragma: allowlist secret  # nosec".encode())) != []


def test_text_in_other_encodings_is_read():
    secret, form = SECRETS["secret-aws-access-key"]
    for encoding in ("utf-16", "utf-8-sig", "latin-1"):
        assert ("secret-aws-access-key", 2) in scan(("a.py", f"# é\n{form.format(secret)}\n".encode(encoding)))
    assert scan(("a.bin", b"\xff\0\n" + form.format(secret).encode() + b"\0\xfe")) != []


@pytest.mark.parametrize("before", [0, 3480, 3495, 3999, 4000, 100_000])
def test_a_secret_in_a_long_line_is_found_and_the_lines_after_it_keep_their_number(before: int):
    secret, form = SECRETS["secret-aws-access-key"]
    long = b" " * before + form.format(secret).encode() + b" " * 9000
    found = scan(("a.txt", b"a\n" + long + b"\nb\n" + form.format(secret).encode()))
    assert found.count(("secret-aws-access-key", 2)) == 1
    assert found.count(("secret-aws-access-key", 4)) == 1


def test_what_holds_no_secret_is_clean():
    clean = (
        b"import os\n\npassword = os.environ['PASSWORD']\nurl = 'https://host.example/a'\nname = Secret('env:TOKEN')\n"
    )
    assert scan(("a.py", clean), ("b.md", b"# Title\n\nWords, and 10.0.0.1 or 8.8.8.8.\n")) == []


def test_no_network_is_asked(monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    secret, form = SECRETS["secret-github-token"]
    assert scan(("a.py", form.format(secret).encode())) != []


def test_a_blind_scanner_and_a_crash_are_refused(monkeypatch: pytest.MonkeyPatch):
    import detect_secrets.core.plugins.util as plugins
    from detect_secrets.plugins.aws import AWSKeyDetector

    with monkeypatch.context() as patch:
        patch.setattr(plugins, "get_mapping_from_secret_type_to_class", dict)
        with pytest.raises(Rejected) as caught:
            scan(("a.py", b"x"))
        assert caught.value.code == "scanner-blind"
    original = AWSKeyDetector.analyze_string

    def crash(self: AWSKeyDetector, string: str, **more: object) -> object:
        if "boom" in string:
            raise IndexError(string)
        return original(self, string, **more)

    monkeypatch.setattr(AWSKeyDetector, "analyze_string", crash)
    with pytest.raises(Rejected) as caught:
        scan(("a.py", b"boom"))
    assert caught.value.code == "scanner-crashed"
    assert "boom" not in str(caught.value)


def test_folders_and_bundles_are_read(tmp_path: Path):
    root = tmp_path / "root"
    (root / ".git").mkdir(parents=True)
    (root / ".git" / "config").write_text("x")
    (root / "b").mkdir()
    (root / "b" / "x.py").write_text("1")
    (root / "a.py").write_text("2")
    (root / "inside").symlink_to("a.py")
    assert [each.name for each in read_files(root)] == ["a.py", "b/x.py"]
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as opened:
        opened.writestr("m.py", "3")
    (only,) = read_files(tmp_path / "bundle.zip")
    assert (only.where, only.name, only.data) == (f"{tmp_path}/bundle.zip!m.py", "m.py", b"3")


def test_what_cannot_be_read_whole_is_refused(tmp_path: Path):
    def code(path: Path) -> str:
        with pytest.raises(Rejected) as caught:
            list(read_files(path))
        return caught.value.code

    root = tmp_path / "root"
    root.mkdir()
    assert code(root) == "source-none"
    (root / "out").symlink_to("/etc/hostname")
    assert code(root) == "source-unreadable"
    (root / "out").unlink()
    (root / "out").symlink_to(tmp_path)
    assert code(root) == "source-unreadable"
    (root / "out").unlink()
    os.mkfifo(root / "pipe")
    assert code(root) == "source-unreadable"
    (root / "pipe").unlink()
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.py")).write_text("x")
    assert code(root) == "source-unreadable"
    (tmp_path / "bad.zip").write_bytes(b"PK")
    assert code(tmp_path / "bad.zip") == "source-unreadable"
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.py", b" " * (17 * 2**20))
    assert code(tmp_path / "bomb.zip") == "source-too-big"
