"""The log as anybody may read it: entries, inner hashes, checkpoints, and proofs from them.

A proof reads some ten ranges of at most 16 hashes, whatever the size of the log.
"""

from __future__ import annotations

from collections.abc import Iterator

from clearance.errors import Refused, UsageError
from clearance.store.database import Database
from clearance.trust.audit import merkle, note
from clearance.trust.audit.merkle import STEP, Edge

_WIDTH = 1 << STEP
_PAGE = 10_000
_KEPT = 4096


class AuditReader:
    """Reads the log of a database.

    Args:
        database: open, migrated.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._nodes = _Nodes(database)

    def size(self) -> int:
        """Returns the number of entries."""
        return int(self._database.rows("audit_size")[0][0])

    def edge(self) -> Edge:
        """Returns the right edge as it is stored.

        Raises:
            Refused: rows of it are missing.
        """
        size = self.size()
        return Edge(size, [self._nodes(height, index) for height, index in merkle.perfect(0, size)])

    def entry(self, number: int) -> bytes:
        """Returns an entry as it was written.

        Raises:
            UsageError: there is none of this number.
        """
        found = self._database.rows("audit_between", number, number + 1)
        if not found:
            raise UsageError(f"the audit log has no entry {number}: it has {self.size()}")
        return bytes(found[0][1])

    def entries(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yields number, entry and stored leaf hash, in their order."""
        begin, size = 0, self.size()
        while begin < size:
            for number, entry, leaf in self._database.rows("audit_between", begin, begin + _PAGE):
                yield number, bytes(entry), bytes(leaf)
            begin += _PAGE

    def newest_first(self) -> Iterator[bytes]:
        """Yields entries from the newest."""
        before = self.size()
        while rows := self._database.rows("audit_before", before, 1000):
            for number, entry in rows:
                before = number
                yield bytes(entry)

    def newest(self) -> str | None:
        """Returns the newest checkpoint as a signed note."""
        found = self._database.rows("audit_checkpoint_newest")
        return str(found[0][0]) if found else None

    def covering(self, number: int) -> str | None:
        """Returns the first checkpoint that covers an entry, as a signed note."""
        found = self._database.rows("audit_checkpoint_covering", number)
        return str(found[0][0]) if found else None

    def checkpoints(self) -> Iterator[str]:
        """Yields every checkpoint, oldest first."""
        for (text,) in self._database.rows("audit_checkpoints"):
            yield str(text)

    def inclusion(self, number: int, size: int) -> list[bytes]:
        """Returns the proof that the tree of `size` entries has an entry (RFC 6962, section 2.1.1).

        Raises:
            UsageError: it has not.
            Refused: stored hashes are missing.
        """
        if not 0 <= number < size:
            raise UsageError(f"entry {number} is not among the first {size} of the audit log")
        return merkle.prove(merkle.inclusion_ranges(number, size), self._nodes)

    def consistency(self, old: int, size: int) -> list[bytes]:
        """Returns the proof that the tree of `size` entries goes on from the one of `old` (section 2.1.2).

        Raises:
            UsageError: it has fewer.
            Refused: stored hashes are missing.
        """
        if not 0 <= old <= size:
            raise UsageError(f"the audit log has {size} entries, and the old checkpoint {old}: it was cut short")
        return merkle.prove(merkle.consistency_ranges(old, size), self._nodes)

    def checkpoint(self) -> note.Checkpoint:
        """Returns the newest checkpoint, not verified.

        Raises:
            UsageError: there is none.
        """
        text = self.newest()
        if text is None:
            raise UsageError("the audit log has no checkpoint yet: it gets one with the first result of a run")
        return note.parse(text)[0]


class _Nodes:
    """Looks hashes up by whole groups of 16, folded, and keeps some: what is there never changes, it only grows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._groups: dict[tuple[int, int], list[list[bytes]]] = {}

    def __call__(self, height: int, index: int) -> bytes:
        within = height % STEP
        base, number, offset = height - within, (index << within) // _WIDTH, index % (_WIDTH >> within)
        group = self._groups.get((base, number))
        if group is None or offset >= len(group[within]):  # it may have grown since
            group = self._group(base, number)
        if offset >= len(group[within]):
            raise Refused(
                f"the audit log lacks hashes of height {base} from {index << within} on: "
                "`clearance audit verify` names what is missing; restore the database"
            )
        return group[within][offset]

    def _group(self, base: int, number: int) -> list[list[bytes]]:
        """Returns the hashes of a group at their own height and the three above."""
        begin, end = number * _WIDTH, (number + 1) * _WIDTH
        if base:
            rows = self._database.rows("audit_nodes", base, begin, end)
        else:
            rows = self._database.rows("audit_leaves", begin, end)
        nodes = [bytes(row[0]) for row in rows]
        group = [nodes]
        while len(group) < STEP:
            pairs = iter(nodes)
            nodes = [merkle.node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)]
            group.append(nodes)
        if len(self._groups) >= _KEPT:
            del self._groups[next(iter(self._groups))]
        self._groups[base, number] = group
        return group
