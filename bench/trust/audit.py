"""The audit log: a million entries in durable batches, one entry beside a bare commit, proofs, and verifying it all.

Prints `key: value` lines. CPU seconds of this process alone; SQLite with `synchronous=FULL`, so that a commit is one
fsync of the write-ahead log. `ENTRIES` in the environment makes it smaller.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import show

from clearance.store.database import LEASE, Batch, Database
from clearance.trust.attest import Attestor
from clearance.trust.audit import export, merkle, note
from clearance.trust.audit.log import ORDER, AuditLog, Note
from clearance.trust.audit.reader import AuditReader
from clearance.trust.audit.verify import verify
from clearance.types.digest import digest_of

BATCH = 100


def opened(folder: Path, name: str) -> Database:
    database = Database(f"sqlite:///{folder / name}", synchronous="FULL")
    database.migrate()
    database.write("lease_create", LEASE)
    database.write("lease_take", 1, "me", "socket", 4e9, LEASE, 0)
    return database


def notes(first: int, count: int) -> list[Note]:
    """Returns what a controller says of that many signed results."""
    digest = digest_of(b"artifact")
    return [
        Note("artifact.signed", digest, "", {"run": "main/1", "task": f"train[{number}]", "launch": 1,
             "envelopes": {"provenance": digest}})
        for number in range(first, first + count)
    ]  # fmt: skip


def append(database: Database, log: AuditLog, said: list[Note], now: float) -> None:
    batch = Batch(ORDER)
    staged = log.stage(said, now)
    assert staged is not None
    staged.put(batch)
    database.apply(batch, epoch=1)
    log.accept(staged)


def single(folder: Path, attestor: Attestor) -> dict[str, tuple[float, float]]:
    """Returns the median microseconds of a commit with one event, and of one with an entry beside it, in pairs.

    By `wall` and by `cpu`; hashes are within, and signatures of checkpoints as often as a controller makes them.
    """
    database = opened(folder, "single.db")
    log = AuditLog(database, attestor)
    order = ("event_add", *ORDER)
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(1500):
        for entered in (False, True):
            said = notes(number, 1)
            batch = Batch(order)
            batch.add("event_add", 1 + entered, number, 1.5, -1, "success", '{"task":"train","attempt":1}')
            wall, cpu = time.perf_counter(), time.process_time()
            staged = log.stage(said, time.time()) if entered else None
            if staged is not None:
                staged.put(batch)
            database.apply(batch, epoch=1)
            if staged is not None:
                log.accept(staged)
            found[entered].append(((time.perf_counter() - wall) * 1e6, (time.process_time() - cpu) * 1e6))
    database.close()
    return {
        name: (
            statistics.median(each[at] for each in found[False]),
            statistics.median(each[at] for each in found[True]),
        )
        for at, name in enumerate(("wall", "cpu"))
    }


def main() -> None:
    entries = int(os.environ.get("ENTRIES", "1000000"))
    with tempfile.TemporaryDirectory(prefix="clearance-bench-") as name:
        folder = Path(name)
        attestor = Attestor(folder / "home")
        attestor.key.sign(b"warm")
        database = opened(folder, "audit.db")
        log = AuditLog(database, attestor)
        said = [notes(first, BATCH) for first in range(0, entries, BATCH)]
        start = time.process_time()
        for batch in said:
            append(database, log, batch, time.time())
        rate = entries / (time.process_time() - start)
        del said
        show("trust.audit.entries_per_cpu_second", rate, ">= 80000", rate >= 80_000)
        cost = single(folder, attestor)
        bare, audited = cost["wall"]
        show("trust.audit.bare_commit_us", bare)
        show("trust.audit.single_append_ratio", audited / bare, "<= 1.3", audited / bare <= 1.3)
        show("trust.audit.single_append_cpu_us", cost["cpu"][1] - cost["cpu"][0])
        reader = AuditReader(database)
        if (sealed := log.stage((), time.time(), seal=True)) is not None:
            last = Batch(ORDER)
            sealed.put(last)
            database.apply(last, epoch=1)
        size = log.size
        rng = random.Random(1)
        checkpoint = note.verify(reader.newest() or "", attestor.verifiers())
        start = time.process_time()
        proofs = [(number, reader.inclusion(number, size)) for number in rng.sample(range(size), 2000)]
        each_ms = (time.process_time() - start) / len(proofs) * 1e3
        show("trust.audit.inclusion_proof_ms", each_ms, "<= 0.2", each_ms <= 0.2)
        for number, proof in proofs[:200]:
            leaf = merkle.leaf_hash(reader.entry(number))
            assert merkle.includes(leaf, number, size, proof, checkpoint.root)
        olds = [note.parse(text)[0] for text in reader.checkpoints()][:: max(1, entries // BATCH // 200)]
        start = time.process_time()
        found = [(old, reader.consistency(old.size, size)) for old in olds]
        show("trust.audit.consistency_proof_ms", (time.process_time() - start) / len(olds) * 1e3)
        holds = all(merkle.extends(old.size, old.root, size, checkpoint.root, proof) for old, proof in found)
        show("trust.audit.consistency_holds", holds, "True", holds)
        file = folder / "audit.log"
        with file.open("wb") as out:
            out.writelines(export.write(reader))
        show("trust.audit.export_mb", file.stat().st_size / 1e6)
        start = time.process_time()
        with file.open("rb") as lines:
            report = verify(*export.read(lines), attestor.verifiers())
        whole = time.process_time() - start
        assert not report.problems
        assert report.covered == size
        show("trust.audit.verify_cpu_s", whole, "<= 4", whole <= 4)
        database.close()


if __name__ == "__main__":
    main()
