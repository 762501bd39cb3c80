"""An audit log on a real database, which commits what it stages."""

from __future__ import annotations

from pathlib import Path

from clearance.store.database import LEASE, Batch, Database
from clearance.trust.attest import Attestor
from clearance.trust.audit.log import ORDER, AuditLog, Note
from clearance.trust.audit.reader import AuditReader

NOW = 1_772_366_400.0


class House:
    """A database, the key of an installation, and a log that is written under the lease."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.database = Database(url)
        self.database.migrate()
        self.database.write("lease_create", LEASE)
        self.database.write("lease_take", 1, "me", "socket", NOW + 100, LEASE, 0)
        self.attestor = Attestor(folder / "home")
        self.log = AuditLog(self.database, self.attestor)
        self.reader = AuditReader(self.database)
        self.now = NOW

    def enter(self, *notes: Note, epoch: int = 1, log: AuditLog | None = None) -> None:
        """Enters notes in one transaction, a second after those before."""
        self.now += 1
        log = log or self.log
        staged = log.stage(notes, self.now)
        if staged is None:
            return
        batch = Batch(ORDER)
        staged.put(batch)
        self.database.apply(batch, epoch=epoch)
        log.accept(staged)

    def fill(self, count: int, each: int = 1) -> None:
        """Enters decisions, some in a transaction."""
        for first in range(0, count, each):
            self.enter(*(Note("policy.denied", f"run/{at}", "ann", {"n": at}) for at in range(first, first + each)))
