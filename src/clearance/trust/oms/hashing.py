"""Hashing a model on disk: each file is opened once, without following a link, and read as a stream.

Directories are opened relative to the one above (`openat`), so that nobody can put a link in their place meanwhile.
Files are hashed by some threads: SHA-256 lets go of the interpreter. Memory is a buffer a thread, whatever the sizes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from clearance.errors import StoreError
from clearance.trust.oms.format import WHOLE, is_safe
from clearance.trust.refusal import Rejected
from clearance.types.digest import Digest

BUFFER = 1 << 20
THREADS = min(4, len(os.sched_getaffinity(0)))
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def hash_model(model: Path, ignore: Collection[str] = ()) -> dict[str, Digest]:
    """Returns the digest of each file by its path in the model; of a model that is a file, by `.`.

    Args:
        model: a directory or a file.
        ignore: relative paths that are left out, with all that is below them.

    Raises:
        Rejected: `symbolic-link`, `not-a-file`, `path-unsafe`.
        StoreError: something cannot be read.
    """
    descriptor = _open(str(model), None, WHOLE)
    mode = os.fstat(descriptor).st_mode
    found: dict[str, Digest] = {}
    waiting: list[tuple[str, Future[Digest]]] = []
    with ThreadPoolExecutor(THREADS) as pool:
        if stat.S_ISREG(mode):
            return {WHOLE: _hash(descriptor)}
        try:
            for name, file in _files(descriptor, "", frozenset(ignore)):
                waiting.append((name, pool.submit(_hash, file)))
                if len(waiting) >= 64:
                    first, done = waiting.pop(0)
                    found[first] = done.result()
        finally:
            for name, done in waiting:
                found[name] = done.result()
    return found


def _files(directory: int, prefix: str, ignore: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Yields path and open descriptor of each file below a directory, which is closed in the end."""
    try:
        for entry in sorted(os.listdir(directory)):
            name = prefix + entry
            if name in ignore:
                continue
            if not is_safe(name) or not name.isprintable():
                raise Rejected("path-unsafe", f"{name!r} in the model: a name is a plain relative path", name)
            descriptor = _open(entry, directory, name)
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                yield from _files(descriptor, f"{name}/", ignore)
            else:
                yield name, descriptor
    finally:
        os.close(directory)


def _open(path: str, directory: int | None, name: str) -> int:
    """Opens a file or directory, and nothing else."""
    try:
        descriptor = os.open(path, _FLAGS, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Rejected(
                "symbolic-link", f"{name!r} in the model is a symbolic link: put a copy in its place", name
            ) from None
        if error.errno == errno.ENXIO:
            raise Rejected("not-a-file", f"{name!r} in the model is a socket or device", name) from None
        raise StoreError(f"cannot read {name!r} of the model: {error.strerror}") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        os.close(descriptor)
        raise Rejected("not-a-file", f"{name!r} in the model is neither a file nor a directory", name)
    return descriptor


def _hash(descriptor: int) -> Digest:
    sha256, buffer = hashlib.sha256(), bytearray(BUFFER)
    view = memoryview(buffer)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        try:
            while count := file.readinto(buffer):
                sha256.update(view[:count])
        except OSError as error:
            raise StoreError(f"a file of the model cannot be read: {error.strerror}") from None
    return Digest("sha256:" + sha256.hexdigest())
