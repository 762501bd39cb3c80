"""What a service needs before its first replica starts: a bearer token, a certificate for loopback, a signed model."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec

from clearance.errors import Refused, UsageError
from clearance.types.artifact import Artifact

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


class Provision(msgspec.Struct, frozen=True):
    """Where an endpoint's secrets lie.

    Attributes:
        token_file: file (0600) that holds the bearer token.
        token_sha256: SHA-256 of the token, in hexadecimal: what a replica is told.
        certificate: the server's certificate (PEM).
        key: its private key (PEM, 0600).
        authority: certificate of the authority that callers trust (PEM).
    """

    token_file: Path
    token_sha256: str
    certificate: Path
    key: Path
    authority: Path


def check_name(name: str) -> None:
    """Checks the name of an endpoint.

    Raises:
        UsageError: other characters than a-z, 0-9 and `-`, or more than 63.
    """
    if not _NAME.match(name):
        raise UsageError(f"the endpoint name {name!r} is not accepted: use at most 63 of a-z, 0-9 and '-'")


def provision(name: str, home: Path, now: datetime.datetime | None = None) -> Provision:
    """Makes, or finds again, what the endpoint needs; renews a certificate that ends soon.

    A running replica takes up a renewed certificate within a minute. The token stays until its file is deleted.

    Args:
        name: of the endpoint.
        home: of the installation.
        now: aware time that certificates are judged by; default the clock's.

    Raises:
        UsageError: the name is not accepted.
        Refused: others may read a secret.
        StoreError: the files cannot be written.
    """
    import secrets

    from clearance.trust.keys import read_secret, write_whole
    from clearance.trust.x509 import server_files

    check_name(name)
    directory = home / "endpoints" / name
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    token_file = directory / "token"
    if not token_file.exists():
        with contextlib.suppress(FileExistsError):
            write_whole(token_file, secrets.token_urlsafe(32).encode() + b"\n", 0o600, replace=False)
    token = read_secret(token_file).strip()
    if len(token) < 32:
        raise Refused(f"the token in {token_file} is shorter than 32 characters: delete the file to get a new one")
    files = server_files(home, directory, now or datetime.datetime.now(datetime.UTC))
    digest = hashlib.sha256(token).hexdigest()
    return Provision(token_file, digest, files.certificate, files.key, files.authority)


def service_config(
    service: dict[str, Any], artifact: Artifact, provided: Provision, *, blobs: str, signature: Path, public_key: Path
) -> dict[str, Any]:
    """Returns the JSON-compatible config of a service, with what its replica needs to prove and to be who it says.

    Args:
        service: the config that the task asked for.
        artifact: of the model behind it.
        provided: what `provision` made for the endpoint.
        blobs: URL of the blobs.
        signature: file with the model's signature.
        public_key: file with the installation's public key.
    """
    return service | {
        "artifact": msgspec.to_builtins(artifact),
        "blobs": blobs,
        "signature": str(signature),
        "public_key": str(public_key),
        "certificate": str(provided.certificate),
        "key": str(provided.key),
        "authority": str(provided.authority),
        "token_sha256": provided.token_sha256,
        "directory": str(provided.token_file.parent),
    }
