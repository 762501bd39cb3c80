"""Inputs: every distribution in one exact version, or refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.trust.environment import environment_lock
from clearance.trust.refusal import Rejected
from clearance.trust.scan.packages import installed, parse_lock, parse_requirements, read_packages

LOCK = """\
# made by pip-compile --generate-hashes
--index-url https://pypi.example/simple
Demo.Thing[extra]==1.0 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb ; python_version < "3.13"  # via x
other===2004d  # not PEP 440

last==2.0+cu121
"""


def read(text: str) -> list[tuple[str, str, int]]:
    return [(each.name, each.version, each.line) for each in parse_requirements(text, "r.txt")]


def code(text: str) -> str:
    with pytest.raises(Rejected) as caught:
        read(text)
    return caught.value.code


def test_a_requirements_file_with_hashes_is_read_with_its_lines():
    marked = LOCK.replace(' ; python_version < "3.13"', "").replace("1.0 ", '1.0 ; python_version < "3.13" ')
    for text in (marked, marked.replace("\n", "\r\n")):
        assert read(text) == [("demo-thing", "1.0", 3), ("other", "2004d", 6), ("last", "2.0+cu121", 8)]


@pytest.mark.parametrize("line", ["demo", "demo>=1", "demo==1.*", "demo==1,!=2", "demo @ https://x.example/d.whl"])
def test_what_is_not_pinned_is_refused(line: str):
    assert code(f"fine==1\n{line}\n") == "package-unpinned"


@pytest.mark.parametrize(
    "line", ["-r other.txt", "-e .", "--requirement x", "./folder", "demo ==", "git+https://x.example"]
)
def test_what_brings_in_other_things_is_refused(line: str):
    assert code(line) == "packages-malformed"


def test_lock_files_of_three_kinds_are_read():
    pylock = '[[packages]]\nname = "A.b"\nversion = "1"\n[[packages]]\nname = "own"\ndirectory = {path = "."}\n'
    uv = '[[package]]\nname = "a-b"\nversion = "1"\n[[package]]\nname = "own"\nsource = {editable = "."}\n'
    for text in (pylock, uv):
        assert [(each.name, each.version) for each in parse_lock(text, "x")] == [("a-b", "1")]
    for text, expected in (
        ('[[packages]]\nname = "a"\nvcs = {type = "git"}\n', "package-unpinned"),
        ("[project]\nname = 'a'\n", "packages-malformed"),
        ("[[", "packages-malformed"),
        ("packages = [1]", "packages-malformed"),
    ):
        with pytest.raises(Rejected) as caught:
            list(parse_lock(text, "x"))
        assert caught.value.code == expected


def test_the_lock_of_an_environment_is_read(tmp_path: Path):
    lock = environment_lock()
    file = tmp_path / "environment.txt"
    file.write_text(lock.text)
    found = read_packages(file)
    assert {(each.name, each.version) for each in found} == {(each.name, each.version) for each in installed()}
    assert "packaging" in {each.name for each in found}


def test_nothing_is_refused_rather_than_clean(tmp_path: Path):
    for path, expected in ((tmp_path, "packages-none"), (tmp_path / "none.txt", "packages-malformed")):
        with pytest.raises(Rejected) as caught:
            read_packages(path)
        assert caught.value.code == expected
    file = tmp_path / "empty.txt"
    file.write_text("# nothing\n")
    with pytest.raises(Rejected) as caught:
        read_packages(file)
    assert caught.value.code == "packages-none"


@given(st.text())
def test_any_text_is_read_or_refused(text: str):
    for parse in (parse_requirements, parse_lock):
        with contextlib.suppress(Rejected):
            assert all(each.version for each in parse(text, "x"))
