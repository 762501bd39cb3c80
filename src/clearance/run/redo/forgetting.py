"""Taking away what is no longer wanted: rows by the controller first, then the files that nothing names any more.

Rules:

1. Rows go in a transaction of the controller, under its lease, between two turns. Only then are files looked at, so
   that a crash leaves files too many, never one too few; the next time they are found again.
2. A file is wanted while a result, a cache entry, a version or a service names it, or somebody wanted it lately: who
   stores bytes that are there already touches them, and that time is compared once more when the file has no name.
3. Runs are taken away only when somebody says so; of what a kept result or cache entry needs, its signatures stay. No
   number or id of such a run is given again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clearance.errors import ClearanceError, UsageError
from clearance.run import rows
from clearance.run.ledger import PRUNING, Ledger
from clearance.store.blobs import Blobs, LocalBlobs
from clearance.store.collecting import collect
from clearance.store.database import Database
from clearance.store.serializers import reachable
from clearance.types.artifact import Artifact
from clearance.types.digest import Digest, hex_of

RUNS_AT_ONCE = 100
_PAGE = 2000
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def forget(database: Database, ledger: Ledger, what: str, before: float, dry: bool) -> dict[str, Any]:
    """Writes into the ledger what is to be taken away.

    Args:
        database: as it is committed.
        ledger: gets the writes.
        what: `cache` (entries not used since) or `runs` (that ended).
        before: seconds since 1970.
        dry: only count.

    Returns:
        `taken`, and whether there is `more`.
    """
    if what == "cache":
        unused = [digest for (digest,) in database.rows("cache_entries_unused", before)]
        if not dry:
            for digest in unused:
                ledger.add("cache_entry_drop", digest)
            ledger.add("prune_versions", before)
        return {"taken": len(unused), "more": False}
    if what != "runs":
        raise UsageError(f"forget {what!r}: cache or runs")
    found = database.rows("runs_old", before, 1_000_000 if dry else RUNS_AT_ONCE)
    for number, dag in [] if dry else found:
        for statement in PRUNING:
            ledger.add(statement, number)
        ledger.add("pruned_add", dag, number)
    return {"taken": len(found), "more": not dry and len(found) == RUNS_AT_ONCE}


def wanted_blobs(database: Database, blobs: Blobs) -> set[Digest]:
    """Returns the digest of every blob that a stored result, a failed attempt, a cache entry or a service names."""
    wanted: set[Digest] = set()
    for artifact in (*_artifacts(database), *_left(database), *_cached(database)):
        if artifact.inline is None:
            wanted.add(artifact.digest)
        with contextlib.suppress(ClearanceError):  # a manifest that is missing or broken names nothing
            wanted.update(reachable(artifact, blobs))
    for service in rows.services(database):
        for text in (service.spec, service.endpoint, service.info):
            wanted.update(Digest(found) for found in _DIGEST.findall(text))
    return wanted


def _artifacts(database: Database) -> Iterator[Artifact]:
    run, number = 0, -1
    while page := database.rows("artifacts_all", run, number, _PAGE):
        for _, _, data in page:
            yield rows.artifact_decoder.decode(bytes(data))
        run, number = page[-1][:2]


def _left(database: Database) -> Iterator[Artifact]:
    """Yields what attempts have left that failed."""
    last = (0, -1, -1)
    while page := database.rows("attempts_left", *last, '%"left":%', _PAGE):
        for *_, failure in page:
            if (left := rows.failure_of(failure).left) is not None:
                yield left
        last = page[-1][:3]


def _cached(database: Database) -> Iterator[Artifact]:
    last = ""
    while page := database.rows("cache_results", last, _PAGE):
        for _, data in page:
            if data is not None:
                yield rows.artifact_decoder.decode(bytes(data))
        last = page[-1][0]


def collect_files(database: Database, blobs: Blobs, home: Path, grace: float, dry: bool) -> dict[str, int]:
    """Takes away the blobs and bundles that nothing names.

    Args:
        database: for reading.
        blobs: of this installation; only those in a local directory are taken away.
        home: of this installation.
        grace: seconds for which whatever was wanted lately is left.
        dry: only count.

    Returns:
        `blobs`, their `bytes`, and `bundles`.
    """
    found, size = 0, 0
    if isinstance(blobs, LocalBlobs):
        found, size = collect(blobs, lambda: wanted_blobs(database, blobs), grace, dry)
        if not dry:
            blobs.sweep(max(grace, 3600.0))
    return {"blobs": found, "bytes": size, "bundles": _collect_bundles(database, home / "bundles", grace, dry)}


def _collect_bundles(database: Database, folder: Path, grace: float, dry: bool) -> int:
    limit = time.time() - grace
    candidates = [each for each in _folders(folder) if each.stat().st_mtime <= limit]
    used = {hex_of(bundle) for (bundle,) in database.rows("bundles_used") if bundle}
    taken = 0
    for each in candidates:
        if each.name in used:
            continue
        taken += 1
        if dry:
            continue
        gone = each if each.name.startswith(".gone-") else each.with_name(f".gone-{os.getpid()}-{each.name}")
        if gone != each:
            each.rename(gone)
            if gone.stat().st_mtime > limit:  # somebody has just unpacked it again
                gone.rename(each)
                taken -= 1
                continue
        shutil.rmtree(gone, ignore_errors=True)
    return taken


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()]
