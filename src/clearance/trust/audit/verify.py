"""Verifying a log or a proof offline: with its text and the public key, nothing else.

Every entry is hashed again, numbered from 0, and compared with the hash beside it; the root over all must be that of
the newest checkpoint, which a trusted key must have signed. Where it is not, the older checkpoints say between which
entries the change lies. Keys that a trusted key handed over to (`key.rotated` entries) are trusted from then on; a
revoked one (`key.revoked`) signs nothing later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from clearance.errors import Refused
from clearance.trust.audit import merkle, note
from clearance.trust.audit.export import Proof
from clearance.trust.audit.log import ROUTINE, SIGNED, Entry, decode_entry

if TYPE_CHECKING:
    from clearance.trust.keys import PublicKey

LATE = 1.0  # seconds after a checkpoint in which results may wait for the next
WITNESSES = 100  # checkpoints that are tried, newest first, until one is signed by a trusted key
NAMED = 20  # problems of one kind that are told one by one


class Problem(msgspec.Struct, frozen=True):
    """What is wrong; `entry` is the number of the first entry that it concerns, -1 for none.

    Codes: `entry-edited`, `entry-dropped`, `entry-moved`, `entry-malformed`, `range-edited`, `log-truncated`,
    `log-forked`, `no-checkpoint`, `checkpoint-forged`, `not-covered`, `clock-went-back`.
    """

    code: str
    entry: int
    text: str


class Report(msgspec.Struct, frozen=True):
    """What was verified.

    Attributes:
        size: entries that were read.
        covered: entries that a valid checkpoint covers.
        origin: of the log, as the checkpoint names it.
        at: time of the newest checkpoint, seconds since 1970.
        keys: ids of the keys that are trusted at its end.
        problems: what is wrong; none when the log holds.
    """

    size: int
    covered: int
    origin: str
    at: float
    keys: tuple[str, ...]
    problems: tuple[Problem, ...]


def verify(
    entries: Iterable[tuple[bytes, bytes]],
    checkpoints: list[str],
    keys: Sequence[PublicKey],
    witnessed: Sequence[str] = (),
) -> Report:
    """Verifies a log.

    Args:
        entries: stored leaf hash and text of each, in their order.
        checkpoints: signed notes, oldest first; read once the entries are consumed.
        keys: the keys that are trusted from outside.
        witnessed: checkpoints that were kept elsewhere: the log must go on from each.
    """
    return _Verification(keys).run(entries, checkpoints, witnessed)


def verify_proof(proof: Proof, keys: Sequence[PublicKey]) -> note.Checkpoint:
    """Verifies a proof, and returns the checkpoint to which it leads.

    Raises:
        Refused: it does not hold, or no trusted key signed its checkpoint.
    """
    checkpoint = note.verify(proof.checkpoint, keys)
    try:
        hashes = [bytes.fromhex(each) for each in proof.hashes]
    except ValueError:
        raise Refused("the proof's hashes are not hexadecimal: export it again") from None
    if proof.entry is None:
        old = note.verify(proof.old, keys)
        if old.origin != checkpoint.origin or old.size != proof.number:
            raise Refused("the proof is about another log than its checkpoint: export it again")
        if not merkle.extends(old.size, old.root, checkpoint.size, checkpoint.root, hashes):
            raise Refused(
                f"the log of {checkpoint.size} entries does not go on from its checkpoint of {old.size}: "
                "it was changed in between, `clearance audit verify` names where"
            )
        return checkpoint
    leaf = merkle.leaf_hash(proof.entry.encode())
    if not merkle.includes(leaf, proof.number, checkpoint.size, hashes, checkpoint.root):
        raise Refused(f"entry {proof.number} is not in the log of {checkpoint.size} entries: it was changed")
    return checkpoint


class _Verification:
    def __init__(self, keys: Sequence[PublicKey]) -> None:
        self.keys = list(keys)
        self.revoked: dict[str, int] = {}
        self.problems: list[Problem] = []
        self.leaves: list[bytes] = []
        self.numbers: list[int] = []
        self.last_decided = -1
        self.last_signed = (-1, 0.0)
        self._counts: dict[str, int] = {}

    def tell(self, code: str, entry: int, text: str) -> None:
        count = self._counts[code] = self._counts.get(code, 0) + 1
        if count <= NAMED:
            self.problems.append(Problem(code, entry, text))

    def run(self, entries: Iterable[tuple[bytes, bytes]], checkpoints: list[str], witnessed: Sequence[str]) -> Report:
        size = self._read(entries)
        self._order()
        newest = self._newest(checkpoints)
        if newest is None:
            self.tell("no-checkpoint", -1, "no checkpoint is signed by a trusted key: give the log's public key")
        elif newest.size > size:
            self.tell(
                "log-truncated", size,
                f"entries {size} to {newest.size - 1} are dropped: the checkpoint covers {newest.size}",
            )  # fmt: skip
        elif self._root(newest.size) != newest.root and not self.problems:
            self._locate(checkpoints, newest)
        covered = min(newest.size, size) if newest else 0
        signed, at = self.last_signed
        if newest is not None and (self.last_decided >= covered or (signed >= covered and at > newest.at + LATE)):
            self.tell(
                "not-covered", covered, f"entries from {covered} on are covered by no checkpoint: were they added?"
            )
        for text in witnessed:
            self._witness(text, size)
        for code, count in self._counts.items():
            if count > NAMED:
                self.problems.append(Problem(code, -1, f"and {count - NAMED} more"))
        return Report(
            size, 0 if self.problems else covered, newest.origin if newest else "", newest.at if newest else 0.0,
            tuple(key.id for key in self.keys), tuple(self.problems),
        )  # fmt: skip

    def _read(self, entries: Iterable[tuple[bytes, bytes]]) -> int:
        """Hashes every entry again, and takes the keys that are handed over."""
        sha256, decode, leaves, numbers = hashlib.sha256, decode_entry, self.leaves, self.numbers
        at, position, signed = 0.0, 0, -1
        for stored, text in entries:
            leaf = sha256(b"\0" + text).digest()
            leaves.append(leaf)
            try:
                entry = decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.tell("entry-malformed", position, f"the entry at place {position} is no entry: it was edited")
                numbers.append(-1)
                position += 1
                continue
            if leaf != stored:
                self.tell(
                    "entry-edited", entry.number,
                    f"entry {entry.number} ({entry.action} {entry.subject}) was edited: it has not the hash it had",
                )  # fmt: skip
            if entry.at < at:
                self.tell("clock-went-back", entry.number, f"entry {entry.number} is earlier than the one before it")
            at = entry.at
            numbers.append(entry.number)
            if entry.action.startswith("key."):
                self._key(entry)
            if entry.action == SIGNED:
                signed = position
            elif entry.action not in ROUTINE:
                self.last_decided = position
            position += 1
        self.last_signed = (signed, at)
        return position

    def _key(self, entry: Entry) -> None:
        from clearance.trust.keyring import accept_handover

        if entry.action == "key.rotated":
            accepted = accept_handover(entry.details, self.keys)
            if accepted is not None:
                self.keys.append(accepted)
        elif entry.action == "key.revoked":
            self.revoked.setdefault(str(entry.details.get("key", "")), entry.number)

    def _order(self) -> None:
        """Names what is not where its number says."""
        numbers = self.numbers
        if numbers == list(range(len(numbers))):
            return
        known = {*numbers}
        highest = max(numbers, default=-1)
        for number in range(highest + 1):
            if number not in known:
                self.tell("entry-dropped", number, f"entry {number} is missing: it was dropped")
        highest = -1
        for number in numbers:
            if 0 <= number <= highest:
                self.tell("entry-moved", number, f"entry {number} stands behind entry {highest}: it was moved")
            highest = max(highest, number)

    def _newest(self, texts: list[str]) -> note.Checkpoint | None:
        """Returns the newest checkpoint that a trusted key signed."""
        for text in reversed(texts[-WITNESSES:]):
            try:
                return self._verified(text)
            except Refused as error:
                self.tell("checkpoint-forged", -1, str(error))
        return None

    def _verified(self, text: str) -> note.Checkpoint:
        checkpoint, _ = note.parse(text)
        keys = [key for key in self.keys if self.revoked.get(key.id, checkpoint.size) >= checkpoint.size]
        return note.verify(text, keys)

    def _root(self, size: int) -> bytes:
        """Returns the root over the first entries."""
        sha256 = hashlib.sha256
        peaks: list[bytes] = []
        for height, index in merkle.perfect(0, size):
            begin = index << height
            nodes = self.leaves[begin : begin + (1 << height)]
            while len(nodes) > 1:
                pairs = iter(nodes)
                nodes = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            peaks.append(nodes[0])
        return merkle.fold(peaks)

    def _locate(self, texts: list[str], newest: note.Checkpoint) -> None:
        """Names the entries between the last checkpoint that holds and the first that does not."""
        good, bad = 0, newest.size
        low, high = 0, len(texts) - 1
        while low <= high:
            middle = (low + high) // 2
            try:
                checkpoint = self._verified(texts[middle])
            except Refused as error:
                self.tell("checkpoint-forged", -1, str(error))
                break
            if checkpoint.size <= len(self.leaves) and self._root(checkpoint.size) == checkpoint.root:
                good, low = max(good, checkpoint.size), middle + 1
            else:
                bad, high = min(bad, checkpoint.size), middle - 1
        entries = f"entry {good} was" if bad == good + 1 else f"one of the entries {good} to {bad - 1} was"
        self.tell("range-edited", good, f"{entries} edited, and its hash with it: the signed checkpoints differ there")

    def _witness(self, text: str, size: int) -> None:
        try:
            old = self._verified(text)
        except Refused as error:
            self.tell("checkpoint-forged", -1, f"a checkpoint that was kept elsewhere: {error}")
            return
        if old.size > size:
            self.tell(
                "log-truncated", size, f"entries {size} to {old.size - 1} are dropped: a checkpoint kept elsewhere "
                f"covers {old.size}",
            )  # fmt: skip
        elif self._root(old.size) != old.root:
            self.tell(
                "log-forked", -1, f"the first {old.size} entries are not those of the checkpoint kept elsewhere: "
                "the log was written anew",
            )  # fmt: skip
