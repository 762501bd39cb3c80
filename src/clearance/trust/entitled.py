"""Who else may attest here: public keys by role, as files in `home/trust/entitled/ROLE/ID.pub`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clearance.errors import UsageError, nearest
from clearance.trust.evidence import ROLES, Entitlements
from clearance.trust.keys import PublicKey, load_public_key, trust_directory, write_whole


def grant(home: Path, role: str, key: PublicKey) -> Path:
    """Lets a key say what a role says; returns the file.

    Raises:
        UsageError: a role that does not exist, or that of the installation.
    """
    Entitlements((), {role: [key]})
    folder = trust_directory(home) / "entitled" / role
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / f"{key.id}.pub"
    write_whole(file, key.pem, 0o644)
    return file


def withdraw(home: Path, role: str, id: str) -> str:
    """Lets a key say it no more; returns its whole id.

    Raises:
        UsageError: no such key has the role.
    """
    files = _files(home, role)
    found = [file for file in files if id and file.stem.startswith(id)]
    if len(found) != 1:
        near = nearest(id, [file.stem for file in files])
        raise UsageError(f"{len(found)} keys that begin with {id!r} have the role {role!r}{near}")
    found[0].unlink()
    return found[0].stem


def entitlements(home: Path, own: Sequence[PublicKey]) -> Entitlements:
    """Returns who may say what in an installation; `own` are its keys."""
    others = {role: [load_public_key(file) for file in _files(home, role)] for role in ROLES if role != "builder"}
    return Entitlements(own, others)


def granted(home: Path) -> list[tuple[str, str]]:
    """Returns role and key id of each that was granted."""
    return [(role, file.stem) for role in ROLES for file in _files(home, role)]


def _files(home: Path, role: str) -> list[Path]:
    return sorted((trust_directory(home) / "entitled" / role).glob("*.pub"))
