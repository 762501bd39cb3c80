"""What blobs cost beside what must be paid: sha256 twice (put, verify) and fdatasync once.

Prints `key: value` lines. Takes a size in MiB as its argument, else 32 and 1024.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import show

from clearance.store.blobs import LocalBlobs, chunks


def floor(source: Path, scratch: Path) -> float:
    """Returns seconds of hashing the file twice and of one fdatasync of as many bytes."""
    start = time.perf_counter()
    with source.open("rb", buffering=0) as file:
        sha256 = hashlib.sha256()
        for chunk in chunks(file):
            sha256.update(chunk)
    hashing = time.perf_counter() - start
    with source.open("rb", buffering=0) as file, scratch.open("wb", buffering=0) as copy:
        for chunk in chunks(file):
            copy.write(chunk)
        start = time.perf_counter()
        os.fdatasync(copy.fileno())
        syncing = time.perf_counter() - start
    scratch.unlink()
    return 2 * hashing + syncing


def main() -> None:
    for size in [int(argument) for argument in sys.argv[1:]] or [32, 1024]:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            root = Path(folder)
            source = root / "source"
            with source.open("wb") as file:
                for _ in range(size):
                    file.write(os.urandom(1 << 20))
                os.fsync(file.fileno())
            blobs = LocalBlobs(root / "blobs")
            ratios = []
            for turn in range(3):
                limit = floor(source, root / "scratch")
                start = time.perf_counter()
                digest, _ = blobs.put_file(source)
                blobs.materialise(digest, root / f"target-{turn}")
                ratios.append((time.perf_counter() - start) / limit)
                blobs.path(digest).unlink()
            ratio = sorted(ratios)[1]
            show(f"store.blobs.{size}_mib.over_floor", ratio, "<= 2", ratio <= 2)
    show("store.blobs.peak_memory_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


if __name__ == "__main__":
    main()
