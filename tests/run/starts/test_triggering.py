"""Schedules, assets and backfills with the real command, engine and processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.postgresql import schema
from support.runs import SOURCE, Home

PIPELINE = """
import os, time
from pathlib import Path
from clearance import Written, asset, context, dag, every, task

IMAGES, PARTS = asset("s3://lake/images"), asset("s3://lake/parts")

@task(outlets=[IMAGES])
def fetch(sleep: float = 0.0) -> int:
    time.sleep(sleep)
    return 1

@task
def split() -> list[Written]:
    return [PARTS.written("a"), PARTS.written("b")]

@task
def told(greeting: str = "hello") -> list[str]:
    interval = context.data_interval
    return [
        greeting, str(context.key), ",".join(f"{each.asset}:{each.key}" for each in context.events),
        f"{(interval.end - interval.start).total_seconds():g}" if interval else "",
    ]

@task
def slow() -> int:
    time.sleep(0.3)
    return 1

produce = dag("produce", fetch)
splitting = dag("splitting", split)
consume = dag("consume", told, schedule=IMAGES)
by_key = dag("by_key", told, schedule=PARTS, mode="key")
ticks = dag("ticks", told, schedule=every("1s"))
slowly = dag("slowly", slow, schedule=every("1h"))
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "flow.py"
    path.write_text(PIPELINE)
    return str(path)


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Waits until the condition gives something, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)
    return found


def runs(home: Home, dag: str) -> list[dict[str, Any]]:
    return json.loads(home.command("runs", "list", "--dag", dag, "--json"))


def ended(home: Home, dag: str, count: int = 1) -> list[str]:
    found = [each["id"] for each in runs(home, dag) if each["state"] == "success"]
    return found if len(found) >= count else []


def up(home: Home, *arguments: str) -> subprocess.Popen[str]:
    """Starts `clearance up` and waits until it leads."""
    process = home.start("up", "--no-api", *arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("leading"):
            return process
    raise AssertionError(f"it ended with {process.wait()}")


def test_up_registers_files_fires_their_schedules_and_starts_what_waits_for_assets(home: Home, file: str):
    process = up(home, file)
    until(lambda: ended(home, "ticks", 2))
    home.command("dag", "pause", "ticks")
    (first, *_) = ended(home, "ticks")
    assert re.fullmatch(r"ticks/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first)
    assert json.loads(home.command("artifact", "get", first, "told")) == ["hello", "None", "", "1"]
    assert "started by its schedule, data interval" in home.command("runs", "show", first)
    home.command("run", f"{file}:splitting")
    assert sorted(until(lambda: ended(home, "by_key", 2))) == ["by_key/asset-1", "by_key/asset-2"]
    got = json.loads(home.command("artifact", "get", "by_key/asset-2", "told"))
    assert got == ["hello", "b", "s3://lake/parts:b", ""]
    events = json.loads(home.command("asset", "events", "--json"))
    assert [(each["key"], each["source"][:18]) for each in events] == [
        ("b", "splitting/1 split "),
        ("a", "splitting/1 split "),
    ]
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_a_run_without_a_daemon_hands_what_it_started_on(home: Home, file: str):
    home.command("dag", "register", f"{file}:consume", "-p", "greeting=hi")
    home.command("run", f"{file}:produce")
    until(lambda: ended(home, "consume"))
    got = json.loads(home.command("artifact", "get", "consume/asset-1", "told"))
    assert got == ["hi", "None", "s3://lake/images:None", ""]
    until(lambda: not home.processes())


def test_an_event_from_outside_starts_what_waits_whoever_leads(home: Home, file: str):
    home.command("dag", "register", f"{file}:by_key")
    assert "event 1 of s3://lake/parts started nothing" in home.command("asset", "emit", "S3://lake/parts/")
    told = json.loads(home.command("asset", "emit", "s3://lake/parts", "--key", "x", "--json"))
    assert told == {"event": 2, "runs": ["by_key/asset-1"], "new": True}
    until(lambda: ended(home, "by_key"))
    assert "by_key: no event waits" in home.command("asset", "why")
    assert "fragment" in home.command("asset", "emit", "s3://lake/parts#x", expect=2)


def test_a_wrong_file_registers_nothing(home: Home, tmp_path: Path, file: str):
    bad = tmp_path / "bad.py"
    bad.write_text(PIPELINE + "\nworse = dag('worse', told, schedule=every('1h'), mode='each')\n")
    assert "waits for no asset" in home.command("dag", "register", str(bad), expect=2)
    assert "waits for no asset" in home.command("up", "--no-api", str(bad), expect=2)
    assert json.loads(home.command("dag", "list", "--json")) == []
    assert "-p belongs to one DAG" in home.command("dag", "register", file, "-p", "greeting=x", expect=2)


def test_a_controller_that_is_stopped_for_seconds_wakes_without_a_storm(home: Home, file: str):
    process = up(home, f"{file}:ticks")
    until(lambda: ended(home, "ticks"))
    process.send_signal(signal.SIGSTOP)
    time.sleep(4)
    process.send_signal(signal.SIGCONT)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    moments = sorted(each["created_at"] for each in runs(home, "ticks"))
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert max(gaps) > 2.5, "nothing fired while it was stopped"
    assert min(gaps[gaps.index(max(gaps)) + 1 :] or [1.0]) > 0.05, "and the missed ones did not come at once"
    assert len(moments) <= 6
    assert len({each["id"] for each in runs(home, "ticks")}) == len(moments)


def test_a_backfill_outlives_kill_9_of_everything(home: Home, file: str):
    home.command("dag", "register", f"{file}:slowly")
    made = home.command("backfill", "create", "slowly", "--from", "2026-03-01", "--to", "2026-03-01T06:00")
    assert "backfill slowly/backfill-1: 6 intervals" in made
    until(lambda: ended(home, "slowly"))
    home.kill_all()
    process = up(home)
    until(lambda: "done" in home.command("backfill", "show", "slowly/backfill-1"))
    process.send_signal(signal.SIGINT)
    process.wait(30)
    counts = Counter(each["state"] for each in runs(home, "slowly"))
    assert counts == {"success": 6}
    (listed,) = json.loads(home.command("backfill", "list", "--json"))
    assert listed["intervals"] == {"success": 6}


def test_wrong_orders_are_refused_in_one_line_and_nothing_is_written(home: Home, file: str):
    home.command("dag", "register", f"{file}:slowly")
    for line, told in (
        ("backfill create slowly --from yesterday --to 2026-03-01", "--from yesterday: write an ISO 8601 time"),
        ("backfill create slowly --from 2026-03-02 --to 2026-03-01", "is not after"),
        ("backfill create slowli --from 2026-03-01 --to 2026-03-02", "did you mean 'slowly'"),
        ("backfill create slowly --from 2026-03-01 --to 2026-03-02 --only mising", "did you mean 'missing'"),
        ("backfill show nothing", "no backfill 'nothing'"),
        ("backfill cancel nothing", "no backfill 'nothing'"),
        ("dag pause slowli", "did you mean 'slowly'"),
        ("dag unregister slowli", "did you mean 'slowly'"),
        ("dag register nope.py", "does not exist"),
        ("asset emit lake", "has no scheme"),
        ("asset emit s3://lake/a --key=", "--key is empty"),
        ("asset events lake", "has no scheme"),
        ("asset why slowli", "did you mean 'slowly'"),
    ):
        printed = home.command(*line.split(), expect=2)
        assert told in printed, line
        assert "Traceback" not in printed
    dry = home.command("backfill", "create", "slowly", "--from", "2026-03-01", "--to", "2026-03-01T02:00", "--dry-run")
    assert dry.splitlines()[1].split() == ["2026-03-01T00:00:00Z", "2026-03-01T01:00:00Z", "missing"]
    assert json.loads(home.command("backfill", "list", "--json")) == []
    assert home.processes() == {}


# -- two real controllers on one PostgreSQL ---------------------------------------------------------------------------

SHORT = """
import sys
from clearance.run import ledger
from clearance.run.host import lease
lease.SECONDS = ledger.SECONDS = 2.0
from clearance.cli.main import invoke
sys.exit(invoke(sys.argv[1:]))
"""
STOPPED = """
import os, signal
from clearance.store.sql.postgresql import PostgreSQL
mark = os.environ["TEST_STOP"]
kept = PostgreSQL.commit
def commit(self):
    if os.path.exists(mark) and self.execute("SELECT 1 FROM asset_event"):
        os.unlink(mark)
        os.kill(os.getpid(), signal.SIGSTOP)
    kept(self)
PostgreSQL.commit = commit
"""


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[tuple[Home, Home, str]]:
    """Two homes, as on two machines, on one PostgreSQL."""
    with schema() as url:
        made = Home(tmp_path / "first", url), Home(tmp_path / "second", url)
        for each in made:
            each.environment["TEST_STOP"] = str(tmp_path / "stop")
        yield *made, url
        for each in made:
            each.kill_all()


def controller(home: Home, *files: str, before: str = "") -> subprocess.Popen[str]:
    """Starts `clearance up` with a lease of two seconds."""
    return subprocess.Popen(
        [sys.executable, "-c", before + SHORT, "up", "--no-api", *files],
        env=home.environment | {"PYTHONPATH": str(SOURCE)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip


def lines_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"it ended with {process.wait()}, without {word!r}")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["between turns", "within a transaction"])
def test_one_is_stopped_past_its_lease_another_leads_and_the_first_wakes(
    homes: tuple[Home, Home, str], file: str, tmp_path: Path, where: str
):
    first_home, second_home, url = homes
    first = controller(first_home, file, before=STOPPED)
    lines_until(first, "leading")
    with psycopg.connect(url, autocommit=True) as connection:

        def count(sql: str) -> int:
            found = connection.execute(sql).fetchone()
            assert found is not None
            return int(found[0])

        until(lambda: count("SELECT count(*) FROM dag") == 6)
        until(lambda: count("SELECT count(*) FROM run WHERE dag = 'ticks' AND state = 'success'") >= 1)
        second = controller(second_home, file)
        lines_until(second, "standing by")
        if where == "within a transaction":
            (tmp_path / "stop").touch()
            emitting = subprocess.Popen(
                [sys.executable, "-m", "clearance.cli", "asset", "emit", "s3://lake/images"],
                env=first_home.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            until(lambda: not (tmp_path / "stop").exists())
        else:
            assert "consume/asset-1" in first_home.command("asset", "emit", "s3://lake/images")
            first.send_signal(signal.SIGSTOP)
        lines_until(second, "leading")
        events = count("SELECT count(*) FROM asset_event")
        assert events == (1 if where == "between turns" else 0), "what was not committed did not happen"
        done = subprocess.run(
            [sys.executable, "-m", "clearance.cli", "asset", "emit", "s3://lake/images"],
            env=second_home.environment, timeout=60, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        first.send_signal(signal.SIGCONT)
        if where == "within a transaction":
            emitting.wait(60)
        until(lambda: count("SELECT count(*) FROM asset_run WHERE finished_at IS NULL") == 0)
        time.sleep(2)
        for process in (second, first):
            process.send_signal(signal.SIGINT)
        for process in (first, second):
            process.wait(60)
        events = count("SELECT count(*) FROM asset_event")
        assert events >= 1 + (where == "between turns")
        assert count("SELECT count(*) FROM consumed WHERE subscription = 'consume'") == events, "none is lost"
        assert count("SELECT count(*) FROM run WHERE dag = 'consume'") == count("SELECT count(*) FROM asset_run")
        assert count("SELECT count(*) - count(DISTINCT ends_at) FROM run_cause WHERE dag = 'ticks'") == 0
        assert count("SELECT count(*) FROM run WHERE dag = 'ticks'") >= 3
