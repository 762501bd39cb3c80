"""`--nodes`: a run is spread over virtual nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.runs import Home

PIPELINE = """
import os

from clearance import context, dag, task


@task
def alone() -> int:
    print(context.node, os.environ["CLEARANCE_NODE"])
    return 1


@task(gang=2)
def together() -> int:
    print(context.rank, context.node)
    return context.size


nodes = dag("nodes", alone >> together)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    made.kill_all()


def test_a_gang_of_a_run_lies_on_the_nodes_that_the_capacity_desk_chose(home: Home, tmp_path: Path):
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE)
    home.command("run", str(file), "--run-id", "n", "--nodes", "rack=2x1cpu")
    assert home.command("logs", "n", "alone").split()[-2:] == ["rack-0", "rack-0"]
    lines = home.command("logs", "n", "together").splitlines()
    assert sorted(line.split()[-2:] for line in lines) == [["0", "rack-0"], ["1", "rack-1"]]


def test_nodes_that_are_none_and_nodes_beside_workers_are_wrong_usage(home: Home, tmp_path: Path):
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE)
    assert "no group of nodes" in home.command("run", str(file), "--nodes", "2", expect=2)
    assert "give one" in home.command("run", str(file), "--nodes", "2x1cpu", "--workers", "1", expect=2)
    assert "no group of nodes" in home.command("up", "--no-api", "--nodes", "two", expect=2)


def test_nodes_on_the_command_line_win_over_workers_of_the_environment(home: Home, tmp_path: Path):
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE)
    home.environment["CLEARANCE_WORKERS"] = "1"
    home.command("run", f"{file}", "--run-id", "n", "--nodes", "2x1cpu")
    assert home.command("logs", "n", "alone").split()[-1] == "local-0"
