"""When something was signed, as the audit log attests it: never as the signature or a certificate says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from clearance.errors import Refused
from clearance.trust.audit import export
from clearance.trust.audit.export import Proof
from clearance.trust.audit.log import decode_entry
from clearance.trust.audit.reader import AuditReader
from clearance.trust.audit.verify import verify_proof
from clearance.trust.refusal import Rejected
from clearance.types.digest import Digest

if TYPE_CHECKING:
    from clearance.trust.keys import PublicKey

SIGNED = ("bundle.signed", "statement.signed", "artifact.signed")


def time_of(proof: Proof, envelope: Digest, keys: Sequence[PublicKey]) -> float:
    """Returns when an envelope or bundle was signed, in seconds since 1970.

    Args:
        proof: that an entry of the log says so.
        envelope: digest of the bytes that were signed.
        keys: the log's.

    Raises:
        Refused: the proof does not hold.
        Rejected: `time-unattested`: its entry is about something else.
    """
    verify_proof(proof, keys)
    try:
        entry = decode_entry(proof.entry or "")
    except msgspec.MsgspecError as error:
        raise Refused(f"the entry that is proved cannot be read: {error}") from None
    if entry.action not in SIGNED or envelope not in _envelopes(entry.details):
        raise Rejected("time-unattested", f"entry {entry.number} of the audit log does not say when this was signed")
    return entry.at


def find(reader: AuditReader, envelope: Digest, keys: Sequence[PublicKey]) -> float:
    """Looks the time up in the log of this installation, newest entries first, and proves it.

    Raises:
        Rejected: `time-unattested`: there is no such entry.
        Refused: the log does not hold there.
    """
    sought = envelope.encode()
    for text in reader.newest_first():
        if sought in text:
            entry = decode_entry(text)
            if entry.action in SIGNED and envelope in _envelopes(entry.details):
                return time_of(export.inclusion(reader, entry.number), envelope, keys)
    raise Rejected("time-unattested", "the audit log does not say when this was signed: have it signed again")


def _envelopes(details: dict[str, object]) -> list[object]:
    several = details.get("envelopes")
    return [details.get("envelope"), *(several.values() if isinstance(several, dict) else ())]
