"""`clearance schedule next`, and the schedule in `clearance dag show`."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import pytest

DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[3] / "shared/data")) / "flow"

PIPELINE = """
from clearance import asset, cron, dag, every, task
@task
def a() -> int: ...
plain = dag("plain", a)
daily = dag("daily", a, schedule=cron("30 2 * * *", tz="Europe/Paris"), catchup=True)
lake = dag("lake", a, schedule=asset("s3://lake/a") & asset("s3://lake/b"))
mixed = dag("mixed", a, schedule=every("12h") | asset("s3://lake/a"))
zones = dag("zones", a, schedule=cron("0 0 * * *", tz="Asia/Tokyo") | cron("0 0 * * *", tz="Europe/Paris"))
"""


@pytest.fixture
def scheduled(tmp_path: Path) -> Path:
    file = tmp_path / "pipe.py"
    file.write_text(PIPELINE)
    return file


def test_a_dag_prints_its_next_fires_with_their_offsets(clearance, scheduled):
    done = clearance("schedule", "next", 3, f"{scheduled}:daily", "--from", "2026-03-28T00:00:00+00:00")
    assert done == (0, "2026-03-28T02:30:00+01:00\n2026-03-29T03:00:00+02:00\n2026-03-30T02:30:00+02:00\n", "")


def test_the_shared_vectors_come_out_in_their_own_form(clearance):
    file = DATA / "cron_vectors.json"
    if not file.is_file():
        pytest.skip(f"{file} is missing")
    for one in json.loads(file.read_text())["vectors"]:
        done = clearance(
            "schedule", "next", 6, "--cron", one["expr"], "--tz", one["tz"], "--from", one["start"], "--json"
        )
        assert (done.code, json.loads(done.out)) == (0, one["next"])


def test_the_shared_invalid_expressions_are_2_and_one_line(clearance):
    file = DATA / "cron_vectors.json"
    if not file.is_file():
        pytest.skip(f"{file} is missing")
    for expression in json.loads(file.read_text())["invalid"]:
        done = clearance("schedule", "next", 1, "--cron", expression)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_a_time_without_offset_is_on_the_clock_of_the_schedule(clearance, scheduled):
    arguments = ("schedule", "next", 1, "--cron", "0 * * * *", "--json")
    done = clearance(*arguments, "--tz", "Asia/Tokyo", "--from", "2026-01-01T08:30")
    assert json.loads(done.out) == ["2026-01-01T09:00:00+09:00"]
    assert json.loads(clearance(*arguments, "--from", "2026-01-01").out) == ["2026-01-01T01:00:00+00:00"]
    done = clearance("schedule", "next", 1, f"{scheduled}:mixed", "--from", "2026-01-01T08:30")
    assert done.out == "2026-01-01T12:00:00+00:00\n"
    done = clearance("schedule", "next", 1, f"{scheduled}:zones", "--from", "2026-01-01T08:30")
    assert (done.code, done.err) == (
        2,
        "error: --from 2026-01-01T08:30 has no offset, and the schedule several zones, Asia/Tokyo, Europe/Paris: "
        "add one\n",
    )


def test_without_a_start_it_is_after_now(clearance):
    done = clearance("schedule", "next", 1, "--cron", "* * * * *")
    assert datetime.fromisoformat(done.out.strip()).timestamp() > datetime.now().timestamp() - 60


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pipe.py:plain"], "dag 'plain' (pipe.py:5) has no schedule: give it one, schedule=cron('0 5 * * *')"),
        (["pipe.py:lake"], "waits for asset('s3://lake/a') & asset('s3://lake/b'): no time of its own fires it"),
        (["pipe.py:dayly"], "holds no dag 'dayly'; did you mean 'daily'?"),
        ([], "say either a DAG, for example pipeline.py:digits, or --cron"),
        (["pipe.py:daily", "--cron", "0 5 * * *"], "say either a DAG"),
        (["pipe.py:daily", "--tz", "UTC"], "--tz belongs to --cron"),
        (["--tz", "UTC"], "say either a DAG"),
        (["--cron", "61 * * * *"], "'61 * * * *': minute is 61: 0 to 59"),
        (["--cron", ""], "'' has 0 fields: write five"),
        (["--cron", "0 5 * * *", "--tz", "Europe/Pariss"], "tz is 'Europe/Pariss': no such time zone; did you mean"),
        (["--cron", "0 5 * * *", "--tz", ""], "tz is ''"),
        (["--cron", "0 5 * * *", "--from", "tomorrow"], "--from tomorrow: write an ISO 8601 time such as"),
    ],
)
def test_wrong_usage_is_2_and_one_line(clearance, scheduled, arguments, says):
    done = clearance("schedule", "next", 1, *arguments)
    assert done.code == 2
    assert says in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("number", [0, -1, "x", 100001])
def test_a_number_that_is_none_is_2(clearance, number):
    assert clearance("schedule", "next", "--cron", "* * * * *", "--", number).code == 2


def test_a_schedule_that_ends_prints_what_there_is(clearance):
    done = clearance("schedule", "next", 5, "--cron", "0 0 1 1 *", "--from", "9998-06-01", "--json")
    assert json.loads(done.out) == ["9999-01-01T00:00:00+00:00"]


def test_show_says_the_schedule(clearance, scheduled):
    out = clearance("dag", "show", f"{scheduled}:daily").out
    assert out.splitlines()[-1] == "schedule: cron('30 2 * * *', tz='Europe/Paris'), catch-up on"
    assert "schedule" not in clearance("dag", "show", f"{scheduled}:plain").out
    data = json.loads(clearance("dag", "show", f"{scheduled}:daily", "--json").out)
    assert data["schedule"] == {"type": "cron", "expr": "30 2 * * *", "tz": "Europe/Paris"}
    assert data["catchup"] is True
