"""References: small frozen values that stand for big things a task takes or returns.

A task returns a reference to files in its own directory; the store keeps the bytes by digest; the
next task receives a reference whose `path` lies in *its* directory, with the digest filled in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clearance.types.digest import Digest


@dataclass(frozen=True)
class File:
    """One file.

    Attributes:
        path: where it can be read in this process.
        digest: of its bytes; empty until the store has taken it.
    """

    path: Path
    digest: Digest = Digest("")

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))


@dataclass(frozen=True)
class Tree:
    """A directory of files.

    Attributes:
        path: the directory, readable in this process.
        digest: of its manifest (names, modes, digests); empty until the store has taken it.
        metadata: JSON-serialisable facts that travel with it.
    """

    path: Path
    digest: Digest = Digest("")
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))


@dataclass(frozen=True)
class Dataset(Tree):
    """A directory that holds a dataset; its metadata may say rows, licence, source."""


@dataclass(frozen=True)
class Model(Tree):
    """A directory that holds a model: weights (safetensors), configuration. Signed when stored.

    `metadata` may hold `metrics` (name → number), `framework`, `licence`.
    """


@dataclass(frozen=True)
class Service:
    """What a task asks to be kept running: the entry point and what it needs.

    Attributes:
        entry: `module:function` that runs in the replica and never returns while healthy.
        config: JSON-serialisable arguments of the entry point.
        cpu_millis: thousandths of a CPU for the replica.
        memory: bytes for the replica.
        start_timeout: seconds until a starting replica must be healthy.
        overlap: whether a second replica may run beside the first while it takes over from it, at the same address:
            its configuration says `"takeover": true` then.
        queue: of the scheduler, that of the task which asked: filled in by the controller.
        user: who runs that task, likewise.
    """

    entry: str
    config: dict[str, Any] = field(default_factory=dict)
    cpu_millis: int = 0
    memory: int = 0
    start_timeout: float = 60.0
    overlap: bool = False
    queue: str = ""
    user: str = ""


@dataclass(frozen=True)
class Endpoint:
    """An address that answers.

    A task returns it with `service` set and `url` empty; the controller keeps the service running,
    and the task succeeds once it is healthy, with `url` filled in.

    Attributes:
        name: unique in the installation.
        url: `https://host:port`; empty until healthy.
        model: digest of the model behind it.
        authority: file with the certificate authority to trust for `url`.
        token_file: file (0600) that holds the bearer token; the token itself is never a value.
        service: what must run.
    """

    name: str
    url: str = ""
    model: Digest = Digest("")
    authority: str = ""
    token_file: str = ""
    service: Service | None = None

    @property
    def token(self) -> str:
        """Reads the bearer token from `token_file`."""
        return Path(self.token_file).read_text().strip()
