"""Controllers in processes of their own, for the benches of schedules and assets: `clearance up`, stopped and woken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.common import ROOT, kill_everything

SERVER = "postgresql://postgres@127.0.0.1:5432/test"
LEASE = """
from clearance.run import ledger
from clearance.run.host import lease
lease.SECONDS = ledger.SECONDS = {seconds}
"""
CLOCK = """
import os, time
from clearance.run.controller import Controller
kept = Controller.__init__
def made(self, *arguments, **options):
    kept(self, *arguments, **options)
    def clock():
        return time.time() + float(os.path.exists({file!r}) and open({file!r}).read() or 0)
    self.clock = self.ledger._clock = clock
Controller.__init__ = made
"""
_MAIN = "import sys; from clearance.cli.main import invoke; sys.exit(invoke(sys.argv[1:]))"


@contextmanager
def up(home: Path, *files: str, url: str = "", before: str = "") -> Iterator[subprocess.Popen[str]]:
    """A controller that leads or stands by on this home; whatever is left of the home is killed afterwards.

    Args:
        home: CLEARANCE_HOME.
        *files: to register.
        url: of the database; SQLite in the home without one.
        before: Python that runs first in its process.
    """
    environment = dict(os.environ) | {"CLEARANCE_HOME": str(home), "CLEARANCE_DATABASE_URL": url}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", before + _MAIN, "up", "--no-api", *files],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(("leading", "standing by")):
                break
        else:
            raise RuntimeError(f"no controller leads: exit code {process.wait()}")
        yield process
    finally:
        for number in (signal.SIGCONT, signal.SIGINT):
            with suppress(ProcessLookupError):
                process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        kill_everything("CLEARANCE_HOME", str(home))


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Waits until the condition gives something, and returns it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise RuntimeError("it does not come")
        time.sleep(0.01)
    return found


def postgresql() -> str | None:
    """Returns the URL of a PostgreSQL that answers (`CLEARANCE_TEST_POSTGRESQL`), or None."""
    url = os.environ.get("CLEARANCE_TEST_POSTGRESQL", SERVER)
    try:
        import psycopg

        psycopg.connect(url, connect_timeout=3).close()
    except Exception:
        return None
    return url


@contextmanager
def schema(url: str) -> Iterator[str]:
    """A fresh schema of its own on the server, dropped afterwards."""
    import psycopg

    name = f"bench_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")
