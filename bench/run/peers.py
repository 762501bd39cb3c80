"""A step of a chain of no-op tasks beside Luigi, Prefect, DBOS and Airflow, in one script on one machine.

Ours: bench/run/pipelines/steps.py through the real command, durable, logs captured, in fresh processes (`process`) and
in warm ones (`worker`); from the first start to the end of the run, by the 50 tasks; measured before, between and after
the peers, median. Each peer: bench/run/peers/NAME.py says what it measures, run by the interpreter of the pinned
environment that `make peers ROOM=run` made; it gets at most `LIMIT` seconds, does not call out, and whatever it started
is ended afterwards. DBOS is measured on PostgreSQL and on SQLite, and Luigi with one and with two worker processes: the
faster counts. Like stands beside like: a task that worker isolation hands to another process beside one that DBOS
hands to another process (`dbos_queued`), and a task that a scheduler starts which others can ask, beside Luigi's with
its central scheduler (`luigi_central`). DBOS's steps, which are calls in one process, and Luigi's local scheduler,
which ends with the command, are printed too. Databases are made for the bench on the server of
CLEARANCE_TEST_POSTGRESQL, and dropped. A peer that cannot be measured counts as not reached.
"""

from __future__ import annotations

import os
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, ROOT, command, figures, fresh_home, kill_everything, show, steps

LIMIT = 90
MARK = "CLEARANCE_BENCH_PEER"
PEERS = ROOT / "bench/.peers"
SCRIPTS = Path(__file__).with_name("peers")
SERVER = "postgresql://postgres@127.0.0.1:5432/test"
QUIET = {
    "DO_NOT_TRACK": "1",
    "SCARF_NO_ANALYTICS": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_CLI_PROMPT": "false",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}
KINDS = {
    "luigi": {"luigi_central": "central_", "luigi_local": "local_"},
    "prefect": {"prefect": "step_s"},
    "dbos": {"dbos_queued": "queued_", "dbos_step": "step_s"},
    "airflow": {"airflow": "step_s"},
}
"""Of each peer, the ways that get a row of their own, and what the names of their figures hold."""


class NotMeasured(Exception):
    """Why a peer has no figure."""


@contextmanager
def database() -> Iterator[str]:
    """Makes an empty PostgreSQL database, yields its URL, and drops it."""
    address = os.environ.get("CLEARANCE_TEST_POSTGRESQL", SERVER)
    try:
        import psycopg

        server = psycopg.connect(address, autocommit=True, connect_timeout=3)
    except ImportError:
        raise NotMeasured("psycopg is not installed") from None
    except psycopg.Error as error:
        raise NotMeasured(f"no PostgreSQL answers ({str(error).strip().splitlines()[0]})") from None
    name = f"clearance_bench_{secrets.token_hex(4)}"
    server.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{address.rpartition('/')[0]}/{name}"
    finally:
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        server.close()


def measure(peer: str, *arguments: str) -> dict[str, float]:
    """Runs a peer's script and returns the figures it prints.

    Raises:
        NotMeasured: it is not installed, fails, or takes too long.
    """
    python = PEERS / peer / "bin/python"
    if not python.exists():
        raise NotMeasured(f"no {python.relative_to(ROOT)}: make peers ROOM=run")
    mark = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="clearance-bench-", ignore_cleanup_errors=True) as folder:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment = inherited | QUIET | {MARK: mark, "HOME": folder, "PREFECT_HOME": f"{folder}/prefect"}
        line = [str(python), "-P", str(SCRIPTS / f"{peer}.py"), *(each.replace("FOLDER", folder) for each in arguments)]
        process = subprocess.Popen(
            line, env=environment, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            output, trouble = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise NotMeasured(f"it took over {LIMIT} s") from None
        finally:
            kill_everything(MARK, mark)
            process.wait()
    if process.returncode or not (found := figures(output)):
        last = (trouble.strip().splitlines() or ["no output"])[-1]
        raise NotMeasured(f"exit code {process.returncode}: {last[:300]}")
    return found


def ours() -> tuple[float, float]:
    """Returns seconds a step in fresh processes, and in warm ones."""
    with fresh_home() as home:
        for _ in range(2):
            command("run", f"{PIPELINES / 'steps.py'}:chain", home=home)
            command("run", f"{PIPELINES / 'steps.py'}:chain", "-p", "worker=true", home=home)
        seconds = [each for _, _, each in steps(home)]
    return min(seconds[::2]), min(seconds[1::2])


def dbos() -> dict[str, float]:
    """Measures DBOS on both of its databases."""
    found = {f"sqlite.{key}": value for key, value in measure("dbos", "sqlite:///FOLDER/dbos.sqlite").items()}
    with database() as url:
        found |= {f"postgresql.{key}": value for key, value in measure("dbos", url).items()}
    return found


def airflow() -> dict[str, float]:
    """Measures Airflow in a database of its own."""
    with database() as url:
        return measure("airflow", url, "FOLDER")


def main() -> None:
    """Prints the figures."""
    own = [ours()]
    peers = {}
    for name, run in {
        "luigi": lambda: measure("luigi"),
        "prefect": lambda: measure("prefect"),
        "dbos": dbos,
        "airflow": airflow,
    }.items():
        try:
            peers[name] = run()
        except NotMeasured as reason:
            show(f"run.peers.{name}", f"not measured: {reason}")
            peers[name] = {}
        own.append(ours())
    process, worker = (statistics.median(times) for times in zip(*own, strict=True))
    show("run.peers.clearance.process_ms", process * 1000)
    show("run.peers.clearance.worker_ms", worker * 1000)
    best = {}
    for name, found in peers.items():
        for key, seconds in found.items():
            show(f"run.peers.{name}.{key.removesuffix('_s')}_ms", seconds * 1000)
        for kind in KINDS[name]:
            best[kind] = min((seconds for key, seconds in found.items() if KINDS[name][kind] in key), default=0.0)
    for name, against, base, least in (
        ("luigi_central", "process", process, 3),
        ("luigi_local", "process", process, 0),
        ("prefect", "process", process, 0),
        ("dbos_queued", "worker", worker, 30),
        ("dbos_step", "worker", worker, 0),
        ("airflow", "process", process, 400),
        ("airflow", "worker", worker, 0),
    ):
        ratio = best[name] / base
        value = ratio if best[name] else "not measured"
        show(f"run.peers.{name}_over_{against}", value, *((f">= {least}", ratio >= least) if least else ()))


if __name__ == "__main__":
    main()
