"""The same whole runs, with everything remembered in PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.postgresql import schema
from support.runs import Home, wait_for

PIPELINE = """
import os, time
from pathlib import Path
from clearance import dag, task

@task
def numbers(n: int = 3) -> list[int]:
    return list(range(n))

@task
def slow(x: int) -> int:
    here = Path(os.environ["TEST_FOLDER"])
    (here / f"slow{x}").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
    with open(here / "log", "a") as file:
        file.write(f"{x}\\n")
    return x * 2

@task
def total(xs: list[int]) -> int:
    return sum(xs)

@dag
def mapped(n: int = 3):
    total(slow.map(x=numbers(n)))
"""


@pytest.fixture
def postgresql(tmp_path: Path):
    with schema() as url:
        made = Home(tmp_path / "home", url)
        made.environment["TEST_FOLDER"] = str(tmp_path)
        (tmp_path / "pipeline.py").write_text(PIPELINE)
        yield made
        made.kill_all()


def test_a_run_that_is_killed_goes_on_from_postgresql(postgresql: Home, tmp_path: Path):
    postgresql.start("run", str(tmp_path / "pipeline.py"), "--workers", "2")
    wait_for(tmp_path / "slow1")
    postgresql.kill_all()
    (tmp_path / "go").touch()
    postgresql.command("resume", "mapped/1", "--json")
    assert json.loads(postgresql.command("artifact", "get", "mapped/1", "total")) == 6
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "1", "2"]
    assert not (postgresql.path / "clearance.db").exists()
    assert "sound" in postgresql.command("db", "check")


def test_the_database_url_is_not_visible_to_tasks(postgresql: Home, tmp_path: Path):
    file = tmp_path / "spy.py"
    file.write_text(
        "import os\nfrom clearance import dag, task\n@task\ndef spy() -> list[str]:\n"
        "    return [name for name in os.environ if name.startswith('CLEARANCE')]\n"
        'one = dag("spying", spy)\n'
    )
    postgresql.command("run", str(file))
    seen = json.loads(postgresql.command("artifact", "get", "spying/1", "spy"))
    assert "CLEARANCE_DATABASE_URL" not in seen
