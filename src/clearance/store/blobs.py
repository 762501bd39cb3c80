"""Blobs: immutable bytes known by their sha256, in a local directory or behind any fsspec URL.

Rules:

1. A blob is visible under its digest only when it is whole and on the disk: bytes go to a temporary name on the
   same filesystem, then fdatasync, mode 0444, an atomic link or rename, and fsync of the directory.
2. Every read is verified against the digest in the same pass that reads the bytes.
3. A crash leaves at most a temporary name, which `sweep` collects; it is never mistaken for a blob.
4. Memory stays flat: `BUFFER` bytes at a time, whatever the size.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

from clearance.errors import Corrupt, StoreError, UsageError
from clearance.types.digest import Digest, digest_of, hex_of, parse_digest

BUFFER = 1 << 20
STALE = 24 * 3600.0


class Blobs(Protocol):
    """What every place for blobs can do. Safe for many threads and processes at once."""

    def put_bytes(self, data: bytes) -> Digest:
        """Keeps the bytes and returns their digest; bytes that are there already are not written again."""

    def put_file(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        """Keeps a regular file and returns (digest, size in bytes).

        Args:
            path: a regular file; a symbolic link is refused.
            move: the caller owns the file and will not write it again, so that a local store may take
                it over (it becomes read-only) instead of copying it. `path` stays readable either way.

        Raises:
            StoreError: no regular file, or it changed while it was read.
        """

    def open(self, digest: Digest) -> IO[bytes]:
        """Returns a reading stream that raises `Corrupt` at its end when the bytes do not match.

        Raises:
            StoreError: no such blob.
        """

    def get_bytes(self, digest: Digest) -> bytes:
        """Returns the verified bytes.

        Raises:
            Corrupt: the bytes do not have that digest.
            StoreError: no such blob.
        """

    def materialise(self, digest: Digest, target: Path, executable: bool = False) -> None:
        """Makes `target` a verified, read-only file with the blob's bytes.

        A local store makes a hard link when it can (same filesystem, not executable), else a copy.

        Raises:
            Corrupt: the bytes do not have that digest; `target` is not made.
            StoreError: no such blob, or `target` exists.
        """

    def has(self, digest: Digest) -> bool:
        """True when a blob of that digest is there; its bytes are not read."""

    def size(self, digest: Digest) -> int:
        """Returns bytes.

        Raises:
            StoreError: no such blob.
        """

    def sweep(self, older_than: float = STALE) -> int:
        """Removes temporary names that nobody has written to for so many seconds; returns how many."""


def open_blobs(url: str) -> Blobs:
    """Opens a place for blobs.

    Args:
        url: a directory, a `file://` URL, or any other URL that fsspec understands (`memory://`, `s3://…`).

    Raises:
        UsageError: no such protocol, or its library is not installed.
    """
    protocol, separator, rest = url.partition("://")
    if not separator:
        return LocalBlobs(Path(url))
    if protocol in ("file", "local"):
        from urllib.parse import unquote

        if not rest.startswith("/"):
            raise UsageError(f"blobs URL {url!r} names a host: write file:///absolute/path")
        return LocalBlobs(Path(unquote(rest)))
    from clearance.store.remote import RemoteBlobs

    return RemoteBlobs(url)


class VerifiedStream(io.RawIOBase):
    """A reading stream that compares the digest of what went through when it comes to the end."""

    def __init__(self, raw: IO[bytes], digest: Digest, where: str) -> None:
        super().__init__()
        self._raw = raw
        self._digest = digest
        self._where = where
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._raw.read(len(buffer))
        if not data:
            check(self._digest, self._hash.hexdigest(), self._where)
            return 0
        self._hash.update(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._raw.close()
        super().close()


def check(digest: Digest, found: str, where: str) -> None:
    """Compares a digest with hexadecimal digits that were computed from the bytes at `where`.

    Raises:
        Corrupt: they differ.
    """
    if hex_of(digest) != found:
        raise Corrupt(
            f"{where} holds bytes of sha256:{found} and should hold {digest}: the disk or a program changed them; "
            "delete that file and run the task that made it again"
        )


def chunks(file: IO[bytes]) -> Iterator[memoryview]:
    """Yields what is left of a file, `BUFFER` bytes at a time; a view is valid until the next one."""
    buffer = bytearray(BUFFER)
    view = memoryview(buffer)
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        yield view[:count]


def open_regular(path: Path) -> io.FileIO:
    """Opens a regular file for reading without following a symbolic link at its end and without blocking.

    Raises:
        StoreError: missing, a symbolic link, or not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StoreError(f"{path} is a symbolic link: give the file itself") from None
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreError(f"{path} is not a regular file: give a file (a directory is a Tree)")
    return io.FileIO(descriptor, "rb")


def publish(target: Path, fill: Callable[[IO[bytes]], None], executable: bool = False) -> None:
    """Makes a read-only file that appears whole or not at all, and never replaces one.

    Raises:
        StoreError: `target` exists, or cannot be written.
    """
    temporary = target.with_name(f".{os.getpid()}-{os.urandom(6).hex()}.partial")
    try:
        with temporary.open("xb", buffering=0) as file:
            fill(file)
            os.fchmod(file.fileno(), 0o555 if executable else 0o444)
        try:
            os.link(temporary, target)
        except PermissionError:  # a filesystem without hard links
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            temporary.rename(target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


class LocalBlobs:
    """Blobs in a directory: `root/sha256/<2 hexadecimal digits>/<62>`, temporary names in `root/tmp`."""

    def __init__(self, root: Path) -> None:
        self._root = Path(root).absolute()
        self._temporary = self._root / "tmp"
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._temporary.mkdir(exist_ok=True)
            (self._root / "sha256").mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot use {root} for blobs: {error.strerror}; set CLEARANCE_BLOBS_URL") from None

    @property
    def root(self) -> Path:
        """The directory."""
        return self._root

    def path(self, digest: Digest) -> Path:
        """Returns where a blob of that digest lies, or would lie."""
        digits = hex_of(parse_digest(digest))
        return self._root / "sha256" / digits[:2] / digits[2:]

    def put_bytes(self, data: bytes) -> Digest:
        digest = digest_of(data)
        if not self._present(digest, len(data)):
            with self._writing() as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                self._settle(file, digest)
        return digest

    def put_file(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        path = Path(path)
        with open_regular(path) as source:
            before = os.fstat(source.fileno())
            # A second name may belong to somebody who still writes: only a file with one name is taken over.
            if move and before.st_nlink == 1 and before.st_dev == self._root.stat().st_dev:
                return self._take_over(path, source)
            if move:
                digest = _hash(source)
                _unchanged(path, before, source)
                if self._present(digest, before.st_size):
                    return digest, before.st_size
                source.seek(0)
            with self._writing() as file:
                sha256 = hashlib.sha256()
                for chunk in chunks(source):
                    sha256.update(chunk)
                    file.write(chunk)
                _unchanged(path, before, source)
                digest = Digest("sha256:" + sha256.hexdigest())
                if not self._present(digest, before.st_size):
                    self._settle(file, digest)
                return digest, before.st_size

    def open(self, digest: Digest) -> IO[bytes]:
        return io.BufferedReader(VerifiedStream(self._reading(digest), digest, str(self.path(digest))), BUFFER)

    def get_bytes(self, digest: Digest) -> bytes:
        with self._reading(digest) as file:
            data = file.readall()
        check(digest, hashlib.sha256(data).hexdigest(), str(self.path(digest)))
        return data

    def materialise(self, digest: Digest, target: Path, executable: bool = False) -> None:
        where = str(self.path(digest))
        with self._reading(digest) as file:
            if not executable and os.fstat(file.fileno()).st_dev == target.parent.stat().st_dev:
                check(digest, _hash(file).removeprefix("sha256:"), where)
                try:
                    _link(file, target)
                    return
                except FileExistsError:
                    raise StoreError(f"cannot write {target}: it exists already") from None
                except OSError:
                    file.seek(0)  # no hard links here, or too many: copy

            def fill(copy: IO[bytes]) -> None:
                sha256 = hashlib.sha256()
                for chunk in chunks(file):
                    sha256.update(chunk)
                    copy.write(chunk)
                check(digest, sha256.hexdigest(), where)

            publish(target, fill, executable)

    def has(self, digest: Digest) -> bool:
        return self.path(digest).exists()

    def size(self, digest: Digest) -> int:
        with self._reading(digest) as file:
            return os.fstat(file.fileno()).st_size

    def sweep(self, older_than: float = STALE) -> int:
        limit = time.time() - older_than
        removed = 0
        for entry in os.scandir(self._temporary):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime <= limit:
                    os.unlink(entry.path)
                    removed += 1
        return removed

    def _reading(self, digest: Digest) -> io.FileIO:
        try:
            return io.FileIO(self.path(digest), "rb")
        except FileNotFoundError:
            raise StoreError(
                f"blob {digest} is not in {self._root}: run the task that makes it again, or restore the blobs"
            ) from None
        except OSError as error:
            raise StoreError(f"cannot read blob {digest} in {self._root}: {error.strerror}") from None

    def _present(self, digest: Digest, size: int) -> bool:
        """True when the blob is there with that size; makes sure that its name is on the disk too.

        Its time of access says that it was wanted just now, so that `store.collecting` leaves it.
        """
        path = self.path(digest)
        try:
            found = path.stat()
            if found.st_size != size:
                return False
            os.utime(path, ns=(time.time_ns(), found.st_mtime_ns))
        except FileNotFoundError:
            return False
        sync_directory(path.parent)
        return True

    @contextlib.contextmanager
    def _writing(self) -> Iterator[io.FileIO]:
        temporary = self._temporary / f"{os.getpid()}-{os.urandom(8).hex()}"
        try:
            with io.FileIO(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "rb+") as file:
                yield file
        except OSError as error:
            raise StoreError(
                f"cannot write to {self._root}: {error.strerror}; make room, or set CLEARANCE_BLOBS_URL"
            ) from None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _settle(self, file: io.FileIO, digest: Digest) -> None:
        """Gives a whole file its name."""
        os.fdatasync(file.fileno())
        os.fchmod(file.fileno(), 0o444)
        path = self.path(digest)
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            sync_directory(path.parent.parent)
        try:
            _link(file, path)
        except FileExistsError:
            if path.stat().st_size != os.fstat(file.fileno()).st_size:  # what lies there is broken: mend it
                spare = self._temporary / f"{os.getpid()}-{os.urandom(8).hex()}"
                _link(file, spare)
                spare.rename(path)
        sync_directory(path.parent)

    def _take_over(self, path: Path, source: io.FileIO) -> tuple[Digest, int]:
        os.fchmod(source.fileno(), 0o444)
        before = os.fstat(source.fileno())
        digest = _hash(source)
        _unchanged(path, before, source)
        if not self._present(digest, before.st_size):
            try:
                self._settle(source, digest)
            except OSError as error:
                raise StoreError(f"cannot take {path} into {self._root}: {error.strerror}") from None
        return digest, before.st_size


def _hash(file: io.FileIO) -> Digest:
    sha256 = hashlib.sha256()
    for chunk in chunks(file):
        sha256.update(chunk)
    return Digest("sha256:" + sha256.hexdigest())


def _unchanged(path: Path, before: os.stat_result, file: io.FileIO) -> None:
    after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise StoreError(f"{path} changed while it was stored: close it before the task returns")


def _link(file: io.FileIO, target: Path) -> None:
    """Names the open file itself, whatever its path leads to by now (linkat(2) through /proc)."""
    descriptor = file.fileno()
    # A directory descriptor, though ignored for an absolute path, is what makes Python call linkat and follow.
    os.link(f"/proc/self/fd/{descriptor}", target, src_dir_fd=descriptor, follow_symlinks=True)


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
