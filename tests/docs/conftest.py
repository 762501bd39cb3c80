"""The documents as tests see them: files and commands out of code blocks, run as a stranger would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.runs import Home

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# What differs from run to run: digests and keys, numbers, the name of this machine, and whether a start was told.
_VARIABLE = ((r"(?<![.\w])[0-9a-f]{12,}", "H"), (r"-?\d+(\.\d+)?", "N"), (r" on \S+$", " on host"), (r"\s+", " "),
             (r"(success|failed|deferred|up_for_retry) N s", r"\1"))  # fmt: skip
_START = re.compile(r"\brunning( \(attempt N\))?$")


@dataclass
class Command:
    """A line that begins with `$`, and what the document says it prints."""

    line: str
    printed: list[str] = field(default_factory=list)


@dataclass
class Page:
    """The files (` ```python title="…" `) and commands (` ```console `) of a document, in order."""

    files: dict[str, str]
    commands: list[Command]


def read(document: Path) -> Page:
    """Takes a document apart. Blocks of another language are for reading only."""
    files: dict[str, str] = {}
    commands: list[Command] = []
    for language, title, body in _BLOCK.findall(document.read_text()):
        if title:
            files[title] = body
        elif language == "console":
            for line in body.splitlines():
                if line.startswith("$ "):
                    commands.append(Command(line[2:]))
                elif line.strip() not in ("", "…"):
                    commands[-1].printed.append(line)
    return Page(files, commands)


def normal(line: str) -> str:
    """Returns a line without what differs from run to run."""
    for pattern, instead in _VARIABLE:
        line = re.sub(pattern, instead, line)
    return line.strip()


class Reader:
    """Follows a document in an empty folder, with an empty home."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.folder = folder
        tools = folder.parent / "bin"
        tools.mkdir()
        for name, arguments in (("clearance", "-m clearance.cli"), ("python", "")):
            (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
            (tools / name).chmod(0o755)
        self.environment = home.environment | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}

    def follow(self, document: Path) -> None:
        """Writes the files, runs the commands, and compares what they print."""
        page = read(document)
        for name, text in page.files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)
        for command in page.commands:
            done = subprocess.run(
                ["bash", "-c", command.line],
                cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            told = done.stdout + done.stderr
            allowed = (0, int(match[1])) if (match := re.search(r"# exit code (\d)", command.line)) else (0,)
            assert done.returncode in allowed, f"$ {command.line}\nexit {done.returncode}\n{told}"
            printed = {normal(line) for line in told.splitlines()}
            for line in command.printed:
                if _START.search(normal(line)):  # a start and its end in one turn are told as one
                    continue
                assert normal(line) in printed, f"$ {command.line}\nnever printed: {line}\nprinted:\n{told}"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A fresh home; whatever still runs on it is killed afterwards."""
    made = Home(tmp_path / "home")
    yield made
    made.kill_all()


@pytest.fixture
def reader(home: Home, tmp_path: Path) -> Reader:
    """Somebody who follows a document line by line."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    return Reader(home, folder)
