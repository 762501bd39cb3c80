"""`clearance doctor`: is everything here that Clearance needs, and what would mend it?"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from clearance.cli.output import json_option, print_json, print_table, size
from clearance.settings import Settings, load

# extra → a module of each distribution in it
EXTRAS: dict[str, tuple[str, ...]] = {
    "postgresql": ("psycopg",),
    "serve": ("starlette", "uvicorn", "httptools", "uvloop"),
    "web": ("fastapi", "uvicorn", "prometheus_client"),
    "train": ("torch", "numpy", "safetensors"),
    "data": ("numpy", "pyarrow"),
    "plot": ("matplotlib",),
    "cluster": ("numpy",),
    "fast": ("numba",),
    "keyring": ("keyring",),
    "otel": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.common"),
    "notebook": ("nbclient", "nbformat", "ipykernel"),
    "trust": ("sigstore", "packaging", "license_expression", "detect_secrets", "cedarpy"),
}
_OLDEST_SQLITE = (3, 35, 0)
_LEAST_FREE = 2**30


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: `ok`, `note` (an optional thing is missing) or `fault`.
        detail: what was found.
        mend: what to do; empty where nothing is.
    """

    name: str
    status: str
    detail: str
    mend: str = ""


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check this installation; exit code 4 where something that is needed is missing."""
    found = list(checks(load()))
    if as_json:
        print_json([asdict(check) for check in found])
    else:
        print_table(
            ["check", "status", "found", "mend"],
            [[check.name, check.status, check.detail, check.mend] for check in found],
        )
    context.exit(4 if any(check.status == "fault" for check in found) else 0)


def checks(settings: Settings) -> Iterator[Check]:
    """Looks at everything in turn; writes nothing but a file of its own in the home folder, and removes it."""
    yield _judge("python", sys.version_info >= (3, 11), platform.python_version(), "use Python 3.11 or newer")
    yield _judge("platform", sys.platform == "linux", platform.platform(), "use Linux")
    yield _judge(
        "sqlite",
        sqlite3.sqlite_version_info >= _OLDEST_SQLITE,
        sqlite3.sqlite_version,
        "use a Python with SQLite 3.35 or newer",
    )
    yield _pidfd()
    yield _home(settings.home)
    yield _free(settings.home)
    yield _database(settings.database)
    yield _keys(settings.home)
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if not _installed(module)]
        if missing:
            yield Check(f"extra {extra}", "note", f"without {', '.join(missing)}", f"pip install 'clearance[{extra}]'")
        else:
            yield Check(f"extra {extra}", "ok", "installed")


def _judge(name: str, good: bool, detail: str, mend: str) -> Check:
    return Check(name, "ok", detail) if good else Check(name, "fault", detail, mend)


def _pidfd() -> Check:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError) as error:
        return Check("pidfd", "fault", str(error), "use Linux 5.3 or newer; a sandbox may forbid pidfd_open")
    return Check("pidfd", "ok", "available")


def _existing(path: Path) -> Path:
    while not path.exists() and path.parent != path:
        path = path.parent
    return path


def _home(home: Path) -> Check:
    place = _existing(home)
    if not os.access(place, os.W_OK | os.X_OK) or not place.is_dir():
        return Check("home", "fault", f"{home} cannot be written", "set CLEARANCE_HOME to a folder of your own")
    if place == home and stat.S_IMODE(home.stat().st_mode) & 0o022:
        return Check("home", "fault", f"{home} can be written by others", f"chmod go-w {home}")
    return Check("home", "ok", str(home) if place == home else f"{home} (will be made)")


def _free(home: Path) -> Check:
    free = shutil.disk_usage(_existing(home)).free
    return _judge("disk", free >= _LEAST_FREE, f"{size(free)} free", "free some space, or move CLEARANCE_HOME")


def _database(url: str) -> Check:
    if url.startswith("sqlite:///"):
        return _sqlite(Path(url.removeprefix("sqlite:///")))
    scheme, _, rest = url.partition("://")
    shown = f"{scheme}://{rest.rpartition('@')[2]}"  # no user, no password
    try:
        import psycopg
    except ModuleNotFoundError:
        return Check("database", "fault", f"{shown}: psycopg is missing", "pip install 'clearance[postgresql]'")
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return Check("database", "ok", f"{shown}: PostgreSQL {connection.info.server_version // 10000}")
    except psycopg.Error as error:
        reason = str(error).strip().partition("\n")[0]
        return Check("database", "fault", f"{shown}: {reason}", "start the server, or mend CLEARANCE_DATABASE_URL")


def _sqlite(file: Path) -> Check:
    if not file.exists():
        return Check("database", "ok", f"{file} (will be made)")
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=2)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Check("database", "fault", f"{file}: {error}", "restore it from a backup, or move it away")
    return Check("database", "ok", f"{file}, {size(file.stat().st_size)}")


def _is_private(file: Path) -> bool:
    try:
        return b"PRIVATE KEY" in file.read_bytes()[:4096]
    except OSError:
        return True


def _keys(home: Path) -> Check:
    """Private keys of the trust room and of the endpoints, and the endpoints' tokens: for their owner alone."""
    folders = [home / "trust", home / "endpoints"]
    found = [file for folder in folders if folder.is_dir() for file in sorted(folder.rglob("*")) if file.is_file()]
    files = [file for file in found if file.name == "token" or _is_private(file)]
    if not files:
        return Check("keys", "ok", "none yet")
    loose = [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]
    if loose:
        names = ", ".join(str(file.relative_to(home)) for file in loose[:5])
        return Check("keys", "fault", f"readable by others: {names}", f"chmod -R go-rwx {home}")
    return Check("keys", "ok", f"{len(files)} private files")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package around it
        return False
