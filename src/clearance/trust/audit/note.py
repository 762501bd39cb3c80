"""Checkpoints: how large a log is and what its root hash is, as a signed note.

Source: https://c2sp.org/tlog-checkpoint and https://c2sp.org/signed-note. A checkpoint is three lines (origin, size,
root in base64) and one that gives the time in nanoseconds; an empty line; then a line for each signature. Signatures
are ECDSA on P-256 with SHA-256, whose key id is the first four bytes of the SHA-256 of the public key in DER, as
Rekor's notes have it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from clearance.errors import Refused
from clearance.trust.strict import decode_base64, encode_base64

if TYPE_CHECKING:
    from clearance.trust.keys import PublicKey, SigningKey

_BODY = re.compile(r"([^\n]+)\n(0|[1-9]\d{0,17})\n([A-Za-z0-9+/]{43}=)\nTimestamp: (\d{1,20})\n\Z")
_LINE = re.compile(r"— (\S+) (\S+)\Z")
LIMIT = 16 * 1024


class Checkpoint(msgspec.Struct, frozen=True):
    """The state of a log.

    Attributes:
        origin: names the log.
        size: number of entries.
        root: 32 bytes.
        at: seconds since 1970.
    """

    origin: str
    size: int
    root: bytes
    at: float

    @property
    def body(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\nTimestamp: {round(self.at * 1e6)}000\n"


def sign(checkpoint: Checkpoint, key: SigningKey) -> str:
    """Returns the signed note."""
    body = checkpoint.body
    signature = encode_base64(_hint(key.public) + key.sign(body.encode()))
    return f"{body}\n— {checkpoint.origin} {signature}\n"


def parse(text: str) -> tuple[Checkpoint, list[tuple[str, bytes]]]:
    """Reads a note without verifying it.

    Returns:
        The checkpoint, and name and bytes (key id of four, then the signature) of each signature.

    Raises:
        Refused: it is no checkpoint.
    """
    body, gap, lines = text.partition("\n\n")
    found = _BODY.match(body + "\n")
    signatures = [_LINE.match(line) for line in lines.splitlines()]
    if len(text) > LIMIT or not gap or found is None or not signatures or not text.endswith("\n"):
        raise Refused("this is no checkpoint of an audit log: take the text as `clearance audit export` wrote it")
    root = decode_base64(found[3], "root of the checkpoint")
    checkpoint = Checkpoint(found[1], int(found[2]), root, int(found[4]) / 1e9)
    return checkpoint, [
        (line[1], decode_base64(line[2], "signature of the checkpoint")) for line in signatures if line is not None
    ]


def verify(text: str, keys: Sequence[PublicKey]) -> Checkpoint:
    """Returns the checkpoint of a note that one of the keys signed.

    Raises:
        Refused: malformed, or signed by none of the keys.
    """
    checkpoint, signatures = parse(text)
    message = text.partition("\n\n")[0].encode() + b"\n"
    for name, raw in signatures:
        for key in keys:
            if name == checkpoint.origin and raw[:4] == _hint(key) and key.verifies(raw[4:], message):
                return checkpoint
    raise Refused(
        f"the checkpoint of {checkpoint.size} entries is signed by none of the trusted keys: give the log's key"
    )


def _hint(key: PublicKey) -> bytes:
    return hashlib.sha256(key.der).digest()[:4]
