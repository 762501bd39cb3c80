"""DSSE: a payload, its type, and signatures over both (Dead Simple Signing Envelope v1.0).

Source: https://github.com/secure-systems-lab/dsse, protocol.md and envelope.md. Stricter than it in three
things: base64 is the standard alphabet in canonical form; unknown fields are refused; a key id that is given must be
the id of the key that verifies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from clearance.errors import Refused
from clearance.trust.strict import decode, decode_base64, encode_base64

if TYPE_CHECKING:
    from clearance.trust.keys import PublicKey, SigningKey

IN_TOTO = "application/vnd.in-toto+json"


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature: `sig` in base64; `keyid` may be absent, null or empty."""

    sig: str
    keyid: str | None = None


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The envelope: `payload` in base64, its media type, at least one signature."""

    payload: str
    payloadType: str
    signatures: tuple[Signature, ...]


_encoder = msgspec.json.Encoder()


def pae(payload_type: str, payload: bytes) -> bytes:
    """Returns the bytes that are signed (Pre-Authentication Encoding)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, keys: Sequence[SigningKey], payload_type: str = IN_TOTO) -> Envelope:
    """Signs a payload with each of the keys."""
    message = pae(payload_type, payload)
    signatures = tuple(Signature(encode_base64(key.sign(message)), key.public.id) for key in keys)
    return Envelope(encode_base64(payload), payload_type, signatures)


def sign(payload: bytes, keys: Sequence[SigningKey], payload_type: str = IN_TOTO) -> bytes:
    """Returns the signed envelope as JSON."""
    return _encoder.encode(seal(payload, keys, payload_type))


def verify(data: bytes, keys: Sequence[PublicKey], payload_type: str = IN_TOTO, threshold: int = 1) -> bytes:
    """Returns the payload of an envelope that enough of the keys signed.

    Args:
        data: the envelope as JSON.
        keys: the keys that are trusted.
        payload_type: the media type that is expected.
        threshold: how many different keys must have signed.

    Raises:
        Refused: malformed, of another type, or signed by too few of the keys.
    """
    return open_envelope(decode(data, Envelope, "signed envelope"), keys, payload_type, threshold)


def open_envelope(
    envelope: Envelope, keys: Sequence[PublicKey], payload_type: str = IN_TOTO, threshold: int = 1
) -> bytes:
    """Returns the payload; see `verify`.

    Raises:
        Refused: as `verify` says.
    """
    if envelope.payloadType != payload_type:
        raise Refused(f"the envelope holds {envelope.payloadType!r} and {payload_type!r} is expected")
    if not 0 < len(envelope.signatures) <= 64:
        raise Refused(f"the envelope has {len(envelope.signatures)} signatures: 1 to 64 are accepted")
    payload = decode_base64(envelope.payload, "payload")
    message = pae(payload_type, payload)
    signers = set()
    for signature in envelope.signatures:
        raw = decode_base64(signature.sig, "signature")
        for key in keys:
            if signature.keyid in (None, "", key.id) and key.verifies(raw, message):
                signers.add(key.id)
    if len(signers) < max(threshold, 1):
        raise Refused(
            f"the envelope has {len(signers)} valid signatures of the {len(keys)} trusted keys and needs {threshold}: "
            "it was changed, or another key signed it"
        )
    return payload
