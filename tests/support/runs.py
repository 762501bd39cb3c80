"""Runs of the real command in a home of their own, and what the tests want to know of its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "src"


class Home:
    """A CLEARANCE_HOME and the command that works on it."""

    def __init__(self, path: Path, database_url: str = "") -> None:
        self.path = path
        self.environment = dict(os.environ) | {
            "CLEARANCE_HOME": str(path),
            "CLEARANCE_GRACE": "2",
            "CLEARANCE_NETWORK_ACCOUNTING": "off",  # homes are killed here, which would leave tables behind
            "PYTHONPATH": str(SOURCE),
            "CLEARANCE_DATABASE_URL": database_url,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts the command in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "clearance.cli", *arguments],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, cwd=self.path.parent,
        )  # fmt: skip

    def command(self, *arguments: str, expect: int = 0) -> str:
        """Runs the command to its end and returns what it printed."""
        process = self.start(*arguments)
        try:
            printed, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == expect, f"{arguments}: exit {process.returncode}\n{printed}"
        return printed

    def show(self, run: str) -> dict[str, Any]:
        """Returns a run as `runs show --json` prints it."""
        return json.loads(self.command("runs", "show", run, "--json"))

    def states(self, run: str) -> dict[str, str]:
        """Returns the state of each task."""
        return {task["task"]: task["state"] for task in self.show(run)["tasks"]}

    def processes(self) -> dict[int, str]:
        """Returns pid and command line of every process that belongs to this home."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    line = (entry / "cmdline").read_bytes()
                    environment = (entry / "environ").read_bytes()
                except OSError:
                    continue
                home = str(self.path).encode()
                if home in line.split(b"\0") or b"CLEARANCE_HOME=" + home in environment.split(b"\0"):
                    found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace")
        return found

    def kill_all(self) -> None:
        """kill -9 of everything that belongs to this home, until nothing is left."""
        deadline = time.monotonic() + 10
        while found := self.processes():
            assert time.monotonic() < deadline, f"these do not end: {found}"
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.01)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A fresh home; whatever still runs on it is killed afterwards."""
    made = Home(tmp_path / "home")
    yield made
    made.kill_all()


def wait_for(path: Path, seconds: float = 30.0) -> None:
    """Waits until a file appears that a task writes."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.005)
