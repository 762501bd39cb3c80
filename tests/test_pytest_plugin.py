"""The plugin as a project meets it: a pytest of its own, the real engine, and nothing left behind."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"

PIPELINE = """
import time
from pathlib import Path
from clearance import dag, task

@task
def number(x: int = 3) -> int:
    return x

@task(retries=5)
def double(x: int) -> int:
    return 2 * x

@task
def slow() -> None:
    Path("started").touch()
    time.sleep(600)

numbers = dag("numbers", number >> double)
slowly = dag("slowly", slow)
"""

TESTS = """
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clearance import Dag, Run
from clearance.errors import StoreError
from pipeline import double, numbers

def test_mocked(fake_clock):
    done = numbers.test({double: OSError("no")}, clock=fake_clock)
    assert done.order.count("double") == 6
    assert fake_clock.now > datetime(2026, 1, 1, tzinfo=UTC)

def test_for_real(clearance_home):
    run = numbers.run(x=20)
    assert run["double"].result == 40
    assert Dag("numbers").latest_run == run
    assert (clearance_home / "clearance.db").exists()
    Path("homes").write_text(str(clearance_home))

def test_another_home(clearance_home):
    with pytest.raises(StoreError, match="nothing is remembered"):
        Run("numbers/1")

def test_what_goes_on_is_ended(clearance_home):
    import subprocess, sys, time
    from clearance.run.host.stopping import processes_of
    command = [sys.executable, "-m", "clearance.cli", "run", "pipeline.py:slowly"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(clearance_home.glob("attempts/*/0/started")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert {process.pid} < processes_of(clearance_home)
    Path("homes").write_text(Path("homes").read_text() + "\\n" + str(clearance_home))
"""

INSTALLED = {each.name for each in importlib.metadata.entry_points(group="pytest11")}
LOADED = [] if "clearance" in INSTALLED else ["-p", "clearance.pytest_plugin"]  # a checkout that is only on the path


def test_fixtures_work_and_nothing_goes_on_after_them(tmp_path):
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "test_pipeline.py").write_text(TESTS)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CLEARANCE_")}
    environment["PYTHONPATH"] = str(SOURCE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *LOADED, "--basetemp", str(tmp_path / "temp")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    from clearance.run.host.stopping import processes_of

    for home in (tmp_path / "homes").read_text().splitlines():
        assert processes_of(Path(home)) == set()


def test_it_is_found_without_being_named_and_imports_nothing_of_ours():
    import tomllib

    entry = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert entry == {"clearance": "clearance.pytest_plugin"}
    code = "import sys, clearance.pytest_plugin; print([n for n in sys.modules if n.startswith('clearance.')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "['clearance.pytest_plugin']"
