"""The log as one file: what somebody needs, with the public key, to verify it without this installation.

Format `clearance-audit-v1`, text in UTF-8, a record a line: a JSON header; `E LEAF ENTRY` for each entry (hash in
hexadecimal, then the JSON text exactly as it was hashed); `C NOTE` for each checkpoint (a JSON string). A proof is one
JSON document (`Proof`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Literal

import msgspec

from clearance.errors import Refused
from clearance.trust import strict
from clearance.trust.audit import note
from clearance.trust.audit.reader import AuditReader

FORMAT: Literal["clearance-audit-v1"] = "clearance-audit-v1"
PROOF: Literal["clearance-audit-proof-v1"] = "clearance-audit-proof-v1"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: Literal["clearance-audit-v1"]
    size: int


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That an entry is in the log, or that the log goes on from an older checkpoint.

    Attributes:
        checkpoint: the signed note that it leads to.
        hashes: of the proof, in hexadecimal.
        entry: the entry's JSON text; None for a consistency proof.
        number: of the entry; or the size of the older tree.
        old: the older checkpoint, as a signed note; empty for an inclusion proof.
    """

    checkpoint: str
    hashes: tuple[str, ...]
    number: int
    entry: str | None = None
    old: str = ""
    format: Literal["clearance-audit-proof-v1"] = PROOF


def write(reader: AuditReader) -> Iterator[bytes]:
    """Yields the lines of an exported log."""
    yield msgspec.json.encode(Header(FORMAT, reader.size())) + b"\n"
    for _, entry, leaf in reader.entries():
        yield b"E %b %b\n" % (leaf.hex().encode(), entry)
    for text in reader.checkpoints():
        yield b"C %b\n" % msgspec.json.encode(text)


def read(lines: Iterable[bytes]) -> tuple[Iterator[tuple[bytes, bytes]], list[str]]:
    """Reads an exported log.

    Returns:
        Leaf hash (32 bytes) and text of each entry, to be consumed once; and a list that holds the checkpoints once
        the entries are consumed.

    Raises:
        Refused: it is no exported log; while the entries are consumed too.
    """
    waiting = iter(lines)
    first = next(waiting, b"")
    strict.decode(first, Header, "header of the exported audit log")
    checkpoints: list[str] = []

    def entries() -> Iterator[tuple[bytes, bytes]]:
        fromhex = bytes.fromhex
        for at, line in enumerate(waiting, 2):
            try:
                if line[:2] == b"E ":
                    yield fromhex(line[2:66].decode("ascii")), line[67:-1]
                elif line[:2] == b"C ":
                    checkpoints.append(msgspec.json.decode(line[2:], type=str))
                else:
                    raise ValueError("a record begins with E or C")
            except (ValueError, msgspec.MsgspecError) as error:
                raise Refused(f"line {at} of the exported audit log is malformed: {error}; export it again") from None

    return entries(), checkpoints


def is_proof(file: BinaryIO) -> bool:
    """True when a file holds a proof; it is read from its beginning again."""
    found = PROOF.encode() in file.readline(1 << 20)
    file.seek(0)
    return found


def inclusion(reader: AuditReader, number: int) -> Proof:
    """Returns the proof that the newest checkpoint covers an entry.

    Raises:
        UsageError: no such entry, or none that a checkpoint covers.
        Refused: stored hashes are missing.
    """
    size = reader.checkpoint().size
    hashes = tuple(each.hex() for each in reader.inclusion(number, size))
    return Proof(reader.newest() or "", hashes, number, reader.entry(number).decode())


def consistency(reader: AuditReader, old: str) -> Proof:
    """Returns the proof that the newest checkpoint goes on from an older one.

    Raises:
        Refused: the older one is none.
        UsageError: the log has fewer entries than it says.
    """
    before, _ = note.parse(old)
    hashes = tuple(each.hex() for each in reader.consistency(before.size, reader.checkpoint().size))
    return Proof(reader.newest() or "", hashes, before.size, None, old)
