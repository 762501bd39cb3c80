"""Collecting of blobs: what nobody names goes, and nothing that somebody stores at the same moment."""

from __future__ import annotations

import os
import time
from pathlib import Path

from clearance.store import collecting
from clearance.store.blobs import LocalBlobs
from clearance.store.collecting import collect


def old(blobs: LocalBlobs, data: bytes) -> str:
    """Stores bytes that nobody has wanted for an hour."""
    digest = blobs.put_bytes(data)
    before = time.time_ns() - 3600 * 10**9
    os.utime(blobs.path(digest), ns=(before, before))
    return digest


def test_only_what_is_old_and_named_by_nobody_goes(tmp_path: Path):
    blobs = LocalBlobs(tmp_path)
    named, stray = old(blobs, b"named"), old(blobs, b"stray")
    young = blobs.put_bytes(b"young")
    assert collect(blobs, lambda: {named}, 60.0, dry=True) == (1, 5)
    assert blobs.has(stray)
    assert collect(blobs, lambda: {named}, 60.0) == (1, 5)
    assert (blobs.has(named), blobs.has(stray), blobs.has(young)) == (True, False, True)
    assert not list((tmp_path / "tmp").iterdir())


def test_bytes_that_are_stored_again_after_the_names_were_read_stay(tmp_path: Path):
    blobs = LocalBlobs(tmp_path)
    digest = old(blobs, b"wanted again")

    def names():
        assert blobs.put_bytes(b"wanted again") == digest  # they are there: nothing is written but the time
        return set()

    assert collect(blobs, names, 60.0) == (0, 0)
    assert blobs.get_bytes(digest) == b"wanted again"
    assert not list((tmp_path / "tmp").iterdir())


def test_bytes_that_are_stored_while_they_have_no_name_are_there_afterwards(tmp_path: Path, monkeypatch):
    blobs = LocalBlobs(tmp_path)
    digest = old(blobs, b"between")
    last = collecting._last

    def between(path: Path) -> float:
        if path.parent.name == "tmp":
            blobs.put_bytes(b"between")
        return last(path)

    monkeypatch.setattr(collecting, "_last", between)
    collect(blobs, set, 60.0)
    assert blobs.get_bytes(digest) == b"between"


def test_a_blob_that_is_touched_stays_the_same_for_whoever_reads_it(tmp_path: Path):
    blobs = LocalBlobs(tmp_path / "blobs")
    digest = old(blobs, b"data")
    before = blobs.path(digest).stat()
    blobs.put_bytes(b"data")
    after = blobs.path(digest).stat()
    assert after.st_mtime_ns == before.st_mtime_ns
    assert after.st_atime_ns > before.st_atime_ns
