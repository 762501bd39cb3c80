"""Tokens of workloads: an attempt proves that it is this attempt, and is nobody once its epoch is over.

A token is `clw.PAYLOAD.MAC` in base64url: the payload names the attempt, its epoch and the digest of its inputs; the
MAC is HMAC-SHA-256 under a secret of the installation (`home/trust/workload.secret`, 0600). It is valid for as long as
the attempt runs: whoever verifies asks the controller, and a token of an attempt that has ended, or of an epoch before
the newest, is refused. It needs no clock.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from clearance.errors import Refused
from clearance.trust import strict
from clearance.trust.refusal import Rejected
from clearance.types.digest import Digest, digest_of
from clearance.types.principal import Principal

PREFIX = "clw"


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which attempt.

    Attributes:
        attempt: its unique key.
        epoch: which launch of its instance it is.
        inputs: digest over the digests of its inputs by name.
        run: id of its run.
        principal: whose run it is.
    """

    attempt: str
    epoch: int
    inputs: Digest
    run: str
    principal: str


def inputs_digest(inputs: Mapping[str, Digest]) -> Digest:
    """Returns one digest over the inputs of an attempt, by name."""
    return digest_of("".join(f"{name}={digest}\n" for name, digest in sorted(inputs.items())).encode())


class Workloads:
    """Makes and verifies tokens of one installation.

    Args:
        home: of the installation; the secret is made at first use.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._secret = b""

    def token(self, workload: Workload) -> str:
        """Returns the token of an attempt."""
        payload = _text(msgspec.json.encode(workload))
        return f"{PREFIX}.{payload}.{_text(self._mac(payload))}"

    def verify(self, token: str, running: Callable[[str], int | None]) -> Workload:
        """Returns which attempt shows a token.

        Args:
            token: as `token` made it.
            running: returns the epoch in which an attempt of this key runs; None when it does not run.

        Raises:
            Rejected: `token-malformed`, `token-signature`, `token-dead`.
        """
        parts = token.split(".")
        if len(parts) != 3 or parts[0] != PREFIX or not token.isascii() or len(token) > 4096:
            raise Rejected("token-malformed", "this is no token of a workload")
        if not hmac.compare_digest(_text(self._mac(parts[1])), parts[2]):
            raise Rejected("token-signature", "the token was not made by this installation")
        try:
            found = strict.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), Workload, "token")
        except (Refused, binascii.Error):
            raise Rejected("token-malformed", "this is no token of a workload") from None
        if running(found.attempt) != found.epoch:
            raise Rejected("token-dead", f"the attempt {found.attempt} of this token does not run any more")
        return found

    def _mac(self, payload: str) -> bytes:
        if not self._secret:
            self._secret = self._load()
        return hmac.digest(self._secret, f"{PREFIX}.{payload}".encode(), hashlib.sha256)

    def _load(self) -> bytes:
        from clearance.trust.keys import read_secret, trust_directory, write_whole

        path = trust_directory(self._home) / "workload.secret"
        if not path.exists():
            with contextlib.suppress(FileExistsError):
                write_whole(path, os.urandom(32), 0o600, replace=False)
        secret = read_secret(path)
        if len(secret) != 32:
            raise Refused(f"{path} is not 32 bytes long: delete it, and running attempts get no new tokens")
        return secret


def principal_of(workload: Workload) -> Principal:
    """Returns the principal that an attempt is."""
    return Principal(f"workload:{workload.attempt}", (), ("workload",))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
