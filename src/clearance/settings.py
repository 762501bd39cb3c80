"""The one settings object: read from `CLEARANCE_*`, then from `clearance.toml`, else the default.

`clearance.toml` is looked for in the working directory; its keys are the field names below.
The environment wins over the file. An unknown key of the file, or a value that is none, is an error, never ignored.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clearance.errors import UsageError, nearest
from clearance.types import sink
from clearance.types.nodes import parse_nodes
from clearance.types.secret import Secret

SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
ACCOUNTING = ("auto", "off", "required")


@dataclass(frozen=True)
class Settings:
    """Where state lives and how durable it is.

    Attributes:
        home: folder of everything this installation remembers (`CLEARANCE_HOME`).
        database_url: `sqlite:///path` or `postgresql://…`; empty means `home/clearance.db`
            (`CLEARANCE_DATABASE_URL`).
        blobs_url: a directory or any fsspec URL; empty means `home/blobs` (`CLEARANCE_BLOBS_URL`).
        sqlite_synchronous: SQLite's `PRAGMA synchronous` (`CLEARANCE_SQLITE_SYNCHRONOUS`).
            NORMAL survives the death of every process; FULL also survives a power cut at any moment.
        workers: how many CPUs the local engine offers; 0 means those of this machine
            (`CLEARANCE_WORKERS`).
        nodes: virtual nodes that the local engine offers instead of this machine, see `types.nodes`
            (`CLEARANCE_NODES`).
        network_accounting: whether network traffic is counted: `auto`, `off` or `required`
            (`CLEARANCE_NETWORK_ACCOUNTING`).
        pools: path of a `pools.yaml`: nodes that come and go, and what is done about sick ones (`CLEARANCE_POOLS`).
        health_root: where the file system of the machine begins whose health is watched: in a container, where its
            `/proc`, `/dev/kmsg` and `/etc/cni` are mounted (`CLEARANCE_HEALTH_ROOT`).
        health_interval: seconds between two readings of the kernel's tables (`CLEARANCE_HEALTH_INTERVAL`).
        grace: seconds between an eviction or cancel notice and the kill (`CLEARANCE_GRACE`).
        map_limit: how many elements a map may have, of up to 256 bytes on average (`CLEARANCE_MAP_LIMIT`).
        notify: where the controller tells what happens: the list `[[notify]]` of the file, or JSON text
            (`CLEARANCE_NOTIFY`).
        metrics_token: reference to a token with which `/metrics` alone can be read; empty: only with that of the API
            (`CLEARANCE_METRICS_TOKEN`).
        key_passphrase: reference to the passphrase of the signing key; empty: its file is protected by its mode
            (`CLEARANCE_KEY_PASSPHRASE`).
        identity_provider: JSON file that describes the provider whose tokens the API accepts; empty for none
            (`CLEARANCE_IDENTITY_PROVIDER`).
        policy: what the trust desk asks besides its own rules: the name of a ready-made policy, or a file of rules in
            Cedar; empty for nothing (`CLEARANCE_POLICY`).
    """

    home: Path = Path("~/.clearance")
    database_url: str = ""
    blobs_url: str = ""
    sqlite_synchronous: str = "NORMAL"
    workers: int = 0
    nodes: str = ""
    network_accounting: str = "auto"
    pools: str = ""
    health_root: str = "/"
    health_interval: float = 30.0
    grace: float = 10.0
    map_limit: int = 1_000_000
    notify: tuple[sink.Sink, ...] = ()
    metrics_token: str = ""
    key_passphrase: str = ""
    identity_provider: str = ""
    policy: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", Path(self.home).expanduser().absolute())
        if "/" in self.policy or "." in self.policy:  # a file, which another process looks for from elsewhere
            object.__setattr__(self, "policy", str(Path(self.policy).expanduser().absolute()))
        mode = self.sqlite_synchronous.upper()
        if mode not in SYNCHRONOUS:
            raise UsageError(
                f"CLEARANCE_SQLITE_SYNCHRONOUS is {self.sqlite_synchronous!r}: use one of {', '.join(SYNCHRONOUS)}"
            )
        object.__setattr__(self, "sqlite_synchronous", mode)
        if self.workers < 0:
            raise UsageError(f"workers is {self.workers}: use a positive number, or 0 for every CPU of this machine")
        if parse_nodes(self.nodes) and self.workers:
            raise UsageError(
                f"workers is {self.workers} and nodes is {self.nodes!r}: each says what is offered, so set one"
            )
        if self.network_accounting not in ACCOUNTING:
            raise UsageError(f"network_accounting is {self.network_accounting!r}: use one of {', '.join(ACCOUNTING)}")
        if self.pools:
            object.__setattr__(self, "pools", str(Path(self.pools).expanduser().absolute()))
        if not 0.1 <= self.health_interval <= 3600:
            raise UsageError(f"health_interval is {self.health_interval}: use seconds between 0.1 and 3600")
        if not 0 <= self.grace <= 3600:
            raise UsageError(f"grace is {self.grace}: use seconds between 0 and 3600")
        if self.map_limit < 1:
            raise UsageError(f"map_limit is {self.map_limit}: use a number of elements, at least 1")
        for reference in (self.metrics_token, self.key_passphrase):
            if reference:
                Secret.parse(reference)

    def environment(self) -> dict[str, str]:
        """Returns the variables that give another process of this installation the same settings."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        named["notify"] = sink.text(self.notify) if self.notify else ""
        return {f"CLEARANCE_{name.upper()}": str(value) for name, value in named.items() if value != ""}

    def make_home(self) -> None:
        """Makes the home, for its owner alone, if it is not there."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.home / 'clearance.db'}"

    @property
    def blobs(self) -> str:
        """The place of the blobs in force: a directory or an fsspec URL."""
        return self.blobs_url or str(self.home / "blobs")


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "home": Path, "workers": int, "grace": float, "health_interval": float, "map_limit": int, "notify": sink.parse,
}  # fmt: skip


def load(environment: dict[str, str] | None = None, directory: Path | None = None) -> Settings:
    """Reads the settings in force.

    Raises:
        UsageError: an unknown key in `clearance.toml`, or a value of the wrong type.
    """
    environment = dict(os.environ) if environment is None else environment
    file = (directory or Path.cwd()) / "clearance.toml"
    known = {field.name for field in fields(Settings)}
    values: dict[str, Any] = {}
    if file.is_file():
        import tomllib

        try:
            table = tomllib.loads(file.read_text())
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{file}: {error}") from None
        table.pop("bundle", None)  # what travels with a pipeline: read by graph.bundle
        for key, value in table.items():
            if key not in known:
                raise UsageError(f"{file}: unknown setting {key!r}{nearest(key, known)}")
            values[key] = value
    for name in known:
        if raw := environment.get(f"CLEARANCE_{name.upper()}"):
            values[name] = raw
    for name, convert in _CONVERT.items():
        if name in values:
            try:
                values[name] = convert(values[name])
            except (TypeError, ValueError):
                raise UsageError(
                    f"CLEARANCE_{name.upper()} is {values[name]!r}: not a valid {convert.__name__}"
                ) from None
    return Settings(**values)
