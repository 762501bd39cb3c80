"""Sensors: they look, they wait without a worker, and they end at their timeout."""

from __future__ import annotations

import datetime
import itertools
import json
import sqlite3
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from clearance.errors import GraphError
from clearance.operators import file_sensor, sensor, sql_sensor, time_sensor
from support.runs import wait_for


def test_a_sensor_holds_no_worker_while_it_waits(bench):
    """One worker; the sensor waits for what only the others, which need that worker, can bring about."""
    file = bench.write("""
import time

@sensor(poke_interval=0.2, priority=10)
def arrived(name: str = "arrived") -> str | None:
    with open(HERE / "looks", "a") as looks:
        looks.write(f"{time.time()}\\n")
    return str(HERE / name) if (HERE / name).exists() else None

@task
def busy(number: int) -> int:
    assert (HERE / "looks").exists()
    (HERE / f"busy{number}").touch()
    time.sleep(0.3)
    return number

@task
def brings(numbers: list[int]) -> int:
    while not (HERE / "go").exists():
        time.sleep(0.01)
    (HERE / "arrived").touch()
    return len(numbers)

@task
def uses(path: str) -> str:
    return path

@dag
def main():
    uses(arrived())
    brings(busy.map(number=[1, 2, 3]))
""")
    run = bench.home.start("run", f"{file}:main", "--workers", "1")
    wait_for(bench.folder / "busy3")
    told = json.loads(bench.home.command("why", "main/1", "arrived", "--json"))[0]
    if told["state"] == "deferred":
        assert "looks again" in told["reason"]
    with closing(sqlite3.connect(bench.home.path / "clearance.db")) as connection:
        held = connection.execute(
            "SELECT count(*) FROM attempt JOIN instance USING (run, number) WHERE state = 'deferred' AND outcome = ''"
        ).fetchone()
    assert held == (0,)
    (bench.folder / "go").touch()
    assert run.wait(60) == 0
    assert bench.result("uses") == str(bench.folder / "arrived")
    assert len((bench.folder / "looks").read_text().splitlines()) > 1


def test_nothing_runs_at_all_between_two_looks(bench):
    file = bench.write("""
main = dag("main", file_sensor("arrived", str(HERE / "arrived"), poke_interval=600))
""")
    run = bench.home.start("run", f"{file}:main")
    deadline = time.monotonic() + 30
    while "deferred" not in ((bench.home.path.exists() and bench.home.start("runs", "list").communicate()[0]) or ""):
        assert time.monotonic() < deadline
    with closing(sqlite3.connect(bench.home.path / "clearance.db")) as connection:
        attempts = connection.execute("SELECT outcome FROM attempt").fetchall()
    assert attempts == [("deferred",)]
    assert not any("attempt" in line and "arrived" in line for line in bench.home.processes().values())
    bench.home.command("cancel", "main/1")
    assert run.wait(30) == 1


def test_the_ready_made_sensors_wait_for_a_file_a_server_a_row_and_a_moment(bench):
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(200 if len(seen) > 2 else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        bench.run(f"""
from datetime import UTC, datetime, timedelta

@task
def later() -> None:
    import sqlite3, time
    time.sleep(0.3)
    (HERE / "file").touch()
    with sqlite3.connect(HERE / "x.db") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS done (x)")
        connection.execute("INSERT INTO done VALUES (7)")

main = dag("main", [
    later,
    file_sensor("file", str(HERE / "file"), poke_interval=0.1),
    http_sensor("server", "http://127.0.0.1:{server.server_port}/health", poke_interval=0.1),
    sql_sensor("row", f"sqlite:///{{HERE / 'x.db'}}", "SELECT max(x) FROM done", poke_interval=0.2,
               retries=Retry(20, delay=0.05, jitter=False, backoff=1.0)),
    time_sensor("moment", datetime.now(UTC) + timedelta(seconds=0.5)),
])
""")
    finally:
        server.shutdown()
        server.server_close()
    assert bench.result("file") == str(bench.folder / "file")
    assert bench.result("server") == 200
    assert bench.result("row") == 7
    assert len(seen) == 3
    assert bench.states()["moment"] == "success"


def test_a_timeout_fails_or_skips_and_a_look_that_raises_is_a_failure(bench):
    printed = bench.run(
        """
@sensor(poke_interval=0.05, timeout=0.3)
def never() -> bool:
    return False

@sensor(poke_interval=60, timeout=0.3, soft_fail=True)
def soft() -> bool:
    return False

@sensor(poke_interval=0.05)
def broken() -> bool:
    raise OSError("no such share")

main = dag("main", [never, soft, broken])
""",
        expect=1,
    )
    assert bench.states() == {"never": "failed", "soft": "skipped", "broken": "failed"}
    assert "timeout of 0.3 s is over" in printed
    assert "no such share" in printed


def test_looking_into_a_database_makes_none_and_changes_nothing(bench):
    printed = bench.run(
        """
import sqlite3
with sqlite3.connect(HERE / "there.db") as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS t (x)")

main = dag("main", [sql_sensor("missing", f"sqlite:///{HERE / 'missing.db'}", "SELECT 1"),
                    sql_sensor("writes", f"sqlite:///{HERE / 'there.db'}", "INSERT INTO t VALUES (1) RETURNING x")])
""",
        expect=1,
    )
    assert "unable to open database file" in printed
    assert "readonly database" in printed
    assert not (bench.folder / "missing.db").exists()


def test_waits_that_double(bench):
    bench.run("""
import time

@sensor(poke_interval=0.05, exponential=True)
def fourth() -> list[float]:
    with open(HERE / "looks", "a") as looks:
        looks.write(f"{time.time()}\\n")
    times = [float(line) for line in (HERE / "looks").read_text().split()]
    return times if len(times) == 5 else []

main = dag("main", fourth)
""")
    looks = bench.result("fourth")
    for number, (before, after) in enumerate(itertools.pairwise(looks)):
        assert after - before >= 0.05 * 2**number * 0.98


@sensor()
def same(x: int = 3) -> int:
    return x


def test_a_sensor_is_its_predicate_where_no_task_runs():
    assert same(0) == 0
    assert same.function(4) == 4


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sensor(poke_interval="soon"), "poke_interval is 'soon'"),
        (lambda: sensor(timeout=-1), "timeout is -1"),
        (lambda: file_sensor("x", "relative"), "give an absolute path"),
        (lambda: sql_sensor("x", "sqlite:///r", "SELECT 1"), "absolute path"),
        (lambda: time_sensor("x", datetime.datetime(2030, 1, 1)), "with a time zone"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(make, says):
    with pytest.raises(GraphError, match=says):
        make()
