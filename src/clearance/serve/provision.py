"""What an endpoint needs before its first replica starts: a bearer token and a certificate for loopback."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from pathlib import Path

import msgspec

from clearance.errors import Refused
from clearance.serve.endpoint import check_name


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


def provision(name: str, home: Path, now: datetime.datetime | None = None) -> Provision:
    """Makes, or finds again, what the endpoint needs; renews a certificate that ends soon.

    A running replica takes up a renewed certificate within a minute. The token stays until its file is deleted.

    Args:
        name: of the endpoint, as `deploy` accepts it.
        home: of the installation.
        now: aware time that certificates are judged by; default the clock's.

    Raises:
        UsageError: a bad name.
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
