"""Shared by every test: the seconds each room spent are printed at the end."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples each time, so that a change is judged by what it changes; HYPOTHESIS_PROFILE=search looks further.
settings.register_profile("steady", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

_seconds: dict[str, float] = collections.defaultdict(float)
_counts: dict[str, int] = collections.defaultdict(int)


def pytest_configure() -> None:
    """Tests change the working directory and start processes: a relative PYTHONPATH would be lost."""
    if path := os.environ.get("PYTHONPATH"):
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in path.split(os.pathsep) if part)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    parts = report.nodeid.partition("::")[0].split("/")
    room = parts[1] if len(parts) > 2 else "(top)"
    _seconds[room] += report.duration
    if report.when == "call":
        _counts[room] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _seconds:
        return
    terminalreporter.section("seconds per room")
    for room, seconds in sorted(_seconds.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{room:12} {seconds:7.1f} s  {_counts[room]} tests")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty CLEARANCE_HOME, in a working directory without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLEARANCE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CLEARANCE_DATABASE_URL", raising=False)
    return tmp_path / "home"
