"""In which order ready tasks are granted when not all of them fit."""

from __future__ import annotations

from pathlib import Path

from support.runs import Home, home  # noqa: F401

PIPELINE = """
from clearance import dag, task

@task
def work(name: str) -> None:
    pass

@dag
def hinted(hints: bool = True):
    def made(name, seconds):
        step = work.named(name)
        return (step.expect(seconds) if hints else step)(name)
    short, long = made("short", 2), made("long", 1)
    short
    long >> made("behind", 5)
"""


def order(home: Home, run: str) -> list[str]:  # noqa: F811
    """Returns the tasks in the order of their starts."""
    tasks = home.show(run)["tasks"]
    return [task["task"] for task in sorted(tasks, key=lambda task: task["started_at"])]


def test_the_longest_way_to_the_end_goes_first(home: Home, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "hinted.py"
    file.write_text(PIPELINE)
    home.command("run", str(file), "--workers", "1")
    assert order(home, "hinted/1") == ["long", "behind", "short"]
    home.command("run", str(file), "--workers", "1", "-p", "hints=false")
    assert order(home, "hinted/2") == ["short", "long", "behind"]
