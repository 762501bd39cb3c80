"""Collecting: blobs in a local directory that nobody names any more are taken away.

A blob is taken in three steps, so that whoever stores the same bytes at the same moment does not lose them: it loses
its name, its times are looked at once more, and only then it goes. Who finds the name gone writes the bytes anew; who
was there before has left the time of access behind, and the name is given back.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from clearance.store.blobs import LocalBlobs
from clearance.types.digest import Digest


def collect(blobs: LocalBlobs, wanted: Callable[[], set[Digest]], grace: float, dry: bool = False) -> tuple[int, int]:
    """Takes away what is not wanted.

    Args:
        blobs: where they are.
        wanted: returns the digests that are named; asked after the candidates are known.
        grace: seconds for which whatever was stored or wanted lately is left.
        dry: only count.

    Returns:
        How many blobs, and how many bytes.
    """
    limit = time.time() - grace
    candidates = [(digest, path) for digest, path in _all(blobs.root / "sha256") if _last(path) <= limit]
    named = wanted()
    count, size = 0, 0
    for digest, path in candidates:
        if digest in named:
            continue
        with contextlib.suppress(FileNotFoundError):
            bytes_there = path.stat().st_size
            if dry or _take(path, blobs.root / "tmp", limit):
                count += 1
                size += bytes_there
    return count, size


def _all(folder: Path) -> Iterator[tuple[Digest, Path]]:
    for first in os.scandir(folder):
        if first.is_dir(follow_symlinks=False) and len(first.name) == 2:
            for entry in os.scandir(first.path):
                if len(entry.name) == 62:
                    yield Digest(f"sha256:{first.name}{entry.name}"), Path(entry.path)


def _last(path: Path) -> float:
    """When a blob was stored or wanted last; the end of time for one that is gone."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return float("inf")
    return max(found.st_mtime, found.st_atime)


def _take(path: Path, temporary: Path, limit: float) -> bool:
    gone = temporary / f"gone-{os.getpid()}-{os.urandom(8).hex()}"
    path.rename(gone)
    if _last(gone) > limit:
        with contextlib.suppress(FileExistsError):  # it was stored anew meanwhile
            os.link(gone, path)
        gone.unlink()
        return False
    gone.unlink()
    return True
