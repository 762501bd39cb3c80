"""The log as its one writer has it: entries become rows of the transaction that makes them true.

`AuditLog.stage` decides what is to be written and touches nothing; once that is committed, `accept` goes on from it.
What is not committed never was: a controller that lost its lease leaves no entry, and the next goes on where the
committed rows end.

A controller of another home on the same database has a key of its own. It goes on with the log and enters `key.joined`
first: whoever verifies must be given its key too, or is told from where on nobody whom they trust has signed.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from clearance.errors import Refused
from clearance.store.database import Batch, Database
from clearance.trust.audit import note
from clearance.trust.audit.merkle import Edge, Node, leaf_hash
from clearance.trust.audit.reader import AuditReader

if TYPE_CHECKING:
    from clearance.trust.keys import PublicKey, SigningKey

ORDER = ("audit_add", "audit_seal", "audit_node_add")
OPENED = "log.opened"
JOINED = "key.joined"
SIGNED = "artifact.signed"
ROUTINE = frozenset({OPENED, "run.submitted", SIGNED})  # these alone may wait for a checkpoint
INTERVAL = 0.1  # seconds between checkpoints over routine entries
SLACK = 2.0  # seconds that a clock may be set back by its time service: entries then keep the later time


class Note(msgspec.Struct, frozen=True):
    """What is to be entered.

    Attributes:
        action: `noun.verb`, for example `policy.denied`.
        subject: what it is about: a run, a digest, a key id, a user.
        actor: the principal who did it; empty for the controller itself.
        details: JSON-compatible facts.
    """

    action: str
    subject: str
    actor: str = ""
    details: dict[str, Any] = {}


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the log; `at` in seconds since 1970, and the rest as in `Note`."""

    number: int
    at: float
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


class Signer(Protocol):
    """What the log needs of `attest.Attestor`."""

    @property
    def ready(self) -> bool:
        """True once the key is loaded."""

    @property
    def key(self) -> SigningKey:
        """The key that signs checkpoints."""

    def verifiers(self) -> Sequence[PublicKey]:
        """Returns the keys that this installation has ever signed checkpoints with and has not revoked."""


class Staged(msgspec.Struct, frozen=True):
    """Rows that are to be committed, and how the log stands afterwards; `checkpoint` covers all, or is empty."""

    edge: Edge
    at: float
    entries: list[tuple[int, bytes, bytes]]
    nodes: list[Node]
    checkpoint: str

    def put(self, batch: Batch) -> None:
        """Adds the rows to a transaction."""
        last = self.edge.size - 1
        for number, entry, leaf in self.entries:
            batch.add("audit_add", number, entry, leaf, self.checkpoint if number == last else "")
        if not self.entries:
            batch.guard("audit_seal", self.checkpoint, last)
        for each in self.nodes:
            batch.add("audit_node_add", *each)


_encoder = msgspec.json.Encoder(enc_hook=str)
decode_entry = msgspec.json.Decoder(Entry).decode


class AuditLog:
    """Appends to the log of a database.

    Args:
        database: open, migrated.
        signer: signs checkpoints.

    Raises:
        Refused: the log does not end where its newest checkpoint says.
    """

    def __init__(self, database: Database, signer: Signer) -> None:
        self._database = database
        self._signer = signer
        reader = AuditReader(database)
        self._edge = reader.edge()
        self._at = self._signed_at = 0.0
        self._origin = ""
        self._checked = True
        self._covered = True
        if self._edge.size:
            self._origin = str(decode_entry(reader.entry(0)).details.get("origin", ""))
            self._at = decode_entry(reader.entry(self._edge.size - 1)).at
        newest = reader.newest()
        if newest is None:
            self._covered = self._edge.size == 0
            return
        checkpoint, _ = note.parse(newest)
        self._at = max(self._at, checkpoint.at)
        self._covered = checkpoint.size == self._edge.size
        self._checked = False
        if checkpoint.size > self._edge.size or (self._covered and checkpoint.root != self._edge.root()):
            raise Refused(
                f"the audit log has {self._edge.size} entries and does not end as its checkpoint of {checkpoint.size} "
                "says: `clearance audit verify` names what was changed; restore the database"
            )
        self._newest = newest

    @property
    def due(self) -> float:
        """When a checkpoint must cover what waits for one, seconds since 1970."""
        return math.inf if self._covered or not self._signer.ready else self._signed_at + INTERVAL

    @property
    def size(self) -> int:
        """Number of entries that are committed."""
        return self._edge.size

    def stage(self, notes: Sequence[Note], now: float, seal: bool = False) -> Staged | None:
        """Returns what is to be written with this transaction; None for nothing.

        Args:
            notes: what happened, oldest first.
            now: seconds since 1970.
            seal: let a checkpoint cover everything, though the key must be loaded for it.

        Raises:
            Refused: the clock stands before the newest entry.
        """
        seal = seal or now >= self.due or any(each.action not in ROUTINE for each in notes)
        if not notes and (self._covered or not seal):
            return None
        if now < self._at - SLACK:
            raise Refused(
                f"the clock says {now:.3f} and the newest entry of the audit log {self._at:.3f} (seconds since 1970): "
                "set the clock of this machine, nothing is entered before what was"
            )
        at = max(round(now, 6), self._at)
        signs = seal or (self._signer.ready and at >= self._signed_at + INTERVAL)
        if signs and not self._is_own():
            notes = [Note(JOINED, self._signer.key.public.id, "", {"after": self._edge.size}), *notes]
        edge, entries = self._edge.copy(), []
        nodes: list[Node] = []
        number = edge.size
        if number == 0:
            self._origin = self._origin or f"clearance.dev/log/{secrets.token_hex(8)}"
            notes = [Note(OPENED, self._origin, "", {"origin": self._origin}), *notes]
        for each in notes:
            entry = _encoder.encode(Entry(number, at, each.actor, each.action, each.subject, each.details))
            leaf = leaf_hash(entry)
            entries.append((number, entry, leaf))
            edge.append(leaf, nodes)
            number += 1
        checkpoint = ""
        if signs:
            checkpoint = note.sign(note.Checkpoint(self._origin, edge.size, edge.root(), at), self._signer.key)
        return Staged(edge, at, entries, nodes, checkpoint)

    def accept(self, staged: Staged) -> None:
        """Goes on from what is committed now."""
        self._edge, self._at, self._covered = staged.edge, staged.at, bool(staged.checkpoint)
        if self._covered:
            self._signed_at = staged.at

    def _is_own(self) -> bool:
        """Returns, before the first signature, whether this installation signed what it goes on from."""
        if self._checked:
            return True
        self._checked = True
        try:
            note.verify(self._newest, self._signer.verifiers())
        except Refused:
            return False
        return True
