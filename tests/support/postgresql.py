"""A real PostgreSQL for tests: the one that answers, else one of our own from Debian's package.

`CLEARANCE_TEST_POSTGRESQL` names it (default `postgresql://postgres@127.0.0.1:5432/test`). Every test gets a schema of
its own, dropped afterwards.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest

DEFAULT = "postgresql://postgres@127.0.0.1:5432/test"


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.Error:
        return False
    return True


def _start() -> str:
    """Starts a server in a temporary folder; it ends with the tests."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    if initdb is None:
        pytest.fail("no PostgreSQL answers and none is installed: apt-get install postgresql")
    binaries = Path(initdb).parent
    folder = Path(tempfile.mkdtemp(prefix="clearance-postgresql-"))
    account: dict[str, str] = {}
    if os.getuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        account = {"user": "postgres"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    subprocess.run(
        [initdb, "-D", data, "-U", "postgres", "-A", "trust"], check=True, capture_output=True, cwd=folder, **account
    )
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    subprocess.run(
        [*control, "-l", str(folder / "log"), "-o", options, "start"],
        check=True, stdout=subprocess.DEVNULL, cwd=folder, **account,
    )  # fmt: skip

    def stop() -> None:
        subprocess.run([*control, "-m", "immediate", "stop"], capture_output=True, cwd=folder, check=False, **account)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


@cache
def server() -> str:
    """Returns the URL of a server that answers."""
    url = os.environ.get("CLEARANCE_TEST_POSTGRESQL", DEFAULT)
    return url if _answers(url) else _start()


@contextmanager
def schema() -> Iterator[str]:
    """Yields the URL of a fresh, empty schema."""
    name = f"clearance_{secrets.token_hex(6)}"
    url = server()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once in each dialect."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'clearance.db'}"
    else:
        with schema() as url:
            yield url
