"""Digests: the name of any bytes is `sha256:` and 64 hexadecimal digits."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from clearance.errors import UsageError

Digest = NewType("Digest", str)

_FORM = re.compile(r"sha256:[0-9a-f]{64}\Z")


def digest_of(data: bytes) -> Digest:
    """Returns the digest of the bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def parse_digest(text: str) -> Digest:
    """Checks the form of a digest that came from outside.

    Raises:
        UsageError: not `sha256:` and 64 lowercase hexadecimal digits.
    """
    if not _FORM.match(text):
        raise UsageError(f"{text!r} is no digest: write sha256: and 64 hexadecimal digits")
    return Digest(text)


def hex_of(digest: Digest) -> str:
    """Returns the 64 hexadecimal digits alone."""
    return digest[7:]
