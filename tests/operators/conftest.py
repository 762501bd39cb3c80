"""Pipelines of one test each, run by the real command in a home of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.postgresql import database_url as database_url
from support.runs import Home
from support.runs import home as home

HEAD = """
import os
from pathlib import Path
from clearance import Defer, File, Resources, Retry, Secret, Tree, context, dag, task
from clearance.operators import *

HERE = Path(os.environ["TEST_FOLDER"])
"""


class Bench:
    """Writes a pipeline, runs it, and reads what came of it."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.home = home
        self.folder = folder
        home.environment["TEST_FOLDER"] = str(folder)

    def write(self, source: str) -> str:
        """Writes the pipeline of this test and returns its path."""
        file = self.folder / "pipeline.py"
        file.write_text(HEAD + source)
        return str(file)

    def run(self, source: str, *arguments: str, dag: str = "main", expect: int = 0) -> str:
        """Runs a DAG of the pipeline and returns what was printed."""
        return self.home.command("run", f"{self.write(source)}:{dag}", *arguments, expect=expect)

    def result(self, task: str, run: str = "main/1") -> Any:
        """Returns a plain result."""
        return json.loads(self.home.command("artifact", "get", run, task))

    def fetch(self, task: str, run: str = "main/1") -> Path:
        """Returns a copy of a file or tree."""
        output = self.folder / f"fetched-{task}"
        self.home.command("artifact", "get", run, task, "-o", str(output))
        return output

    def log(self, task: str, run: str = "main/1") -> str:
        return self.home.command("logs", run, task)

    def states(self, run: str = "main/1") -> dict[str, str]:
        return self.home.states(run)


@pytest.fixture
def bench(home: Home, tmp_path: Path) -> Bench:
    return Bench(home, tmp_path)
