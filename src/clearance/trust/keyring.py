"""The keys of an installation over time: the one that signs, those before it, and what was revoked.

Rules:

1. A new key takes over by a hand-over that the old key signs, and the new one too (so that nobody hands over to a key
   that is not theirs). The log keeps it, so that whoever trusts the first key can follow to the newest.
2. The old private key is destroyed. What it signed stays valid, until the key is revoked: then nothing that it signed
   is trusted, whenever that was, and its results must be made again.
3. `home/trust/keys` holds the public keys of before (`ID.pub`) and what was revoked (`ID.revoked`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from clearance.errors import Refused, UsageError, nearest
from clearance.trust import dsse
from clearance.trust.keys import (
    PublicKey,
    SigningKey,
    encrypted,
    installation_key,
    load_public_key,
    new_key,
    parse_public_key,
    public_key_file,
    trust_directory,
    write_whole,
)
from clearance.trust.strict import decode_base64, encode_base64

HANDOVER = "application/vnd.clearance.key-handover+json"


class Handover(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key hands over to another; ids in hexadecimal, `key` the new one in PEM, signatures in base64."""

    old: str
    new: str
    key: str
    by_old: str
    by_new: str

    @property
    def message(self) -> bytes:
        """What both sign."""
        said = msgspec.json.encode({"old": self.old, "new": self.new, "key": self.key})
        return dsse.pae(HANDOVER, said)


class Rotation(msgspec.Struct, frozen=True):
    """A rotation that is prepared: the file of the new private key, and the hand-over to it."""

    file: Path
    handover: Handover


class Keyring:
    """The keys in a home.

    Args:
        home: of the installation.
        passphrase: of the private key; None where its file is protected by its mode alone.
    """

    def __init__(self, home: Path, passphrase: bytes | None = None) -> None:
        self._home = home
        self._passphrase = passphrase
        self._directory = trust_directory(home) / "keys"

    @cached_property
    def current(self) -> SigningKey:
        """The key that signs; made at first use."""
        return installation_key(self._home, self._passphrase)

    def trusted(self) -> list[PublicKey]:
        """Returns the key that signs and those before it that are not revoked, newest first."""
        return self._trusted

    @cached_property
    def _trusted(self) -> list[PublicKey]:
        current = self.current.public
        found = [current, *(key for key in self._retired() if key.id != current.id)]
        return [key for key in found if not self.is_revoked(key.id)]

    def names_revoked(self, envelope: bytes) -> bool:
        """True when an envelope or bundle says that a key has signed it which is revoked."""
        gone = [key for key in self._retired() if self.is_revoked(key.id)]
        names = [name for key in gone for name in (key.id, hashlib.sha256(key.pem).hexdigest())]
        return any(name.encode() in envelope for name in names)

    def is_revoked(self, id: str) -> bool:
        """True when the key of this id was revoked."""
        return (self._directory / f"{id}.revoked").exists()

    def listed(self) -> list[dict[str, Any]]:
        """Returns `key`, `state` (`signs`, `retired`, `revoked`) and `file` of each, newest first."""
        current = self.current.public
        states = {current.id: ("signs", public_key_file(self._home))}
        for key in self._retired():
            states.setdefault(key.id, ("retired", self._directory / f"{key.id}.pub"))
        return [
            {"key": id, "state": "revoked" if self.is_revoked(id) else state, "file": str(file)}
            for id, (state, file) in states.items()
        ]

    def prepare(self) -> Rotation:
        """Makes a new key beside the current one, which hands over to it; nothing changes yet."""
        old, new = self.current, SigningKey(new_key())
        bare = Handover(old.public.id, new.public.id, new.public.pem.decode(), "", "")
        signed = msgspec.structs.replace(
            bare, by_old=encode_base64(old.sign(bare.message)), by_new=encode_base64(new.sign(bare.message))
        )
        file = self._home / "trust" / "installation.next"
        write_whole(file, new.private_pem(self._passphrase), 0o600)
        return Rotation(file, signed)

    def promote(self, rotation: Rotation) -> None:
        """Lets the new key sign from now on; the old private key is gone."""
        old = self.current.public
        self._directory.mkdir(mode=0o700, exist_ok=True)
        write_whole(self._directory / f"{old.id}.pub", old.pem, 0o644)
        write_whole(public_key_file(self._home), rotation.handover.key.encode(), 0o644)
        rotation.file.rename(self._home / "trust" / "installation.key")
        self._forget()

    def revocable(self, id: str) -> str:
        """Returns the whole id of a key that may be revoked.

        Args:
            id: of a key, or the beginning of it.

        Raises:
            UsageError: no such key, several, or the one that signs.
        """
        known = [str(each["key"]) for each in self.listed()]
        found = [key for key in known if key.startswith(id)]
        if len(found) != 1 or not id:
            near = nearest(id, known)
            raise UsageError(f"{len(found)} keys begin with {id!r}{near}: see `clearance trust keys list`")
        if found[0] == self.current.public.id:
            raise UsageError(f"{found[0][:16]} is the key that signs: run `clearance trust keys rotate` first")
        return found[0]

    def revoke(self, id: str) -> None:
        """Trusts nothing that a key has signed, from now on."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        write_whole(self._directory / f"{id}.revoked", b"", 0o644)
        self.__dict__.pop("_trusted", None)

    def protect(self, passphrase: bytes | None) -> None:
        """Writes the private key anew, encrypted with a passphrase, or bare with None."""
        write_whole(self._home / "trust" / "installation.key", self.current.private_pem(passphrase), 0o600)
        self._passphrase = passphrase

    @property
    def is_protected(self) -> bool:
        """True when the file of the private key is encrypted."""
        return encrypted(self._home / "trust" / "installation.key")

    def _forget(self) -> None:
        for name in ("current", "_trusted"):
            self.__dict__.pop(name, None)

    def _retired(self) -> list[PublicKey]:
        files = sorted(self._directory.glob("*.pub"), key=lambda file: (-file.stat().st_mtime, file.name))
        return [load_public_key(file) for file in files]


def accept_handover(said: dict[str, Any], trusted: Sequence[PublicKey]) -> PublicKey | None:
    """Returns the key to which one that is trusted hands over; None when the hand-over does not hold."""
    try:
        handover = msgspec.convert(said, Handover)
        new = parse_public_key(handover.key.encode())
        by_old = decode_base64(handover.by_old, "signature of the old key")
        by_new = decode_base64(handover.by_new, "signature of the new key")
    except (msgspec.MsgspecError, Refused):
        return None
    old = next((key for key in trusted if key.id == handover.old), None)
    if old is None or new.id != handover.new:
        return None
    message = handover.message
    return new if old.verifies(by_old, message) and new.verifies(by_new, message) else None
