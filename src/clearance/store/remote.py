"""Blobs behind an fsspec URL: object stores, SFTP, memory.

A blob is uploaded to a temporary name and then moved, since not every protocol publishes a file only when
it is closed. Whoever reads verifies, so that a store that lies is found out.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from pathlib import Path
from typing import IO, Any

from clearance.errors import StoreError, UsageError
from clearance.store.blobs import BUFFER, STALE, VerifiedStream, check, chunks, open_regular, publish
from clearance.types.digest import Digest, digest_of, hex_of, parse_digest


class RemoteBlobs:
    """The `Blobs` protocol on an fsspec filesystem, with the layout of the local directory.

    Raises:
        UsageError: no such protocol, or its library is not installed.
    """

    def __init__(self, url: str) -> None:
        import fsspec  # type: ignore[import-untyped]

        try:
            filesystem, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"blobs URL {url!r}: {error}") from None
        self._fs: Any = filesystem
        self._root: str = root.rstrip("/")
        self._temporary = self._root + "/tmp"  # noqa: S108
        self._url = url

    def put_bytes(self, data: bytes) -> Digest:
        digest = digest_of(data)
        self._upload(io.BytesIO(data), digest, len(data))
        return digest

    def put_file(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        with open_regular(Path(path)) as source:
            sha256 = hashlib.sha256()
            size = 0
            for chunk in chunks(source):
                sha256.update(chunk)
                size += len(chunk)
            digest = Digest("sha256:" + sha256.hexdigest())
            source.seek(0)
            self._upload(source, digest, size)
        return digest, size

    def open(self, digest: Digest) -> IO[bytes]:
        stream = VerifiedStream(self._reading(digest), digest, self._path(digest))
        return io.BufferedReader(stream, BUFFER)

    def get_bytes(self, digest: Digest) -> bytes:
        with self.open(digest) as stream:
            return stream.read()

    def materialise(self, digest: Digest, target: Path, executable: bool = False) -> None:
        with self._reading(digest) as source:

            def fill(copy: IO[bytes]) -> None:
                sha256 = hashlib.sha256()
                while chunk := source.read(BUFFER):
                    sha256.update(chunk)
                    copy.write(chunk)
                check(digest, sha256.hexdigest(), self._path(digest))

            publish(target, fill, executable)

    def has(self, digest: Digest) -> bool:
        return bool(self._fs.exists(self._path(digest)))

    def size(self, digest: Digest) -> int:
        try:
            return int(self._fs.size(self._path(digest)))
        except FileNotFoundError:
            raise self._missing(digest) from None

    def sweep(self, older_than: float = STALE) -> int:
        """See `Blobs.sweep`; a protocol that tells no time of change keeps its temporary names."""
        removed = 0
        with contextlib.suppress(FileNotFoundError):
            for entry in self._fs.ls(self._temporary, detail=True):
                changed = entry.get("LastModified") or entry.get("mtime") or entry.get("created")
                seconds = changed.timestamp() if hasattr(changed, "timestamp") else changed
                if isinstance(seconds, (int, float)) and seconds <= time.time() - older_than:
                    self._fs.rm_file(entry["name"])
                    removed += 1
        return removed

    def _path(self, digest: Digest) -> str:
        digits = hex_of(parse_digest(digest))
        return f"{self._root}/sha256/{digits[:2]}/{digits[2:]}"

    def _missing(self, digest: Digest) -> StoreError:
        return StoreError(f"blob {digest} is not in {self._url}: run the task that makes it again")

    def _reading(self, digest: Digest) -> IO[bytes]:
        try:
            stream: IO[bytes] = self._fs.open(self._path(digest), "rb")
        except FileNotFoundError:
            raise self._missing(digest) from None
        return stream

    def _upload(self, source: IO[bytes], digest: Digest, size: int) -> None:
        path = self._path(digest)
        if self._fs.exists(path) and self._fs.size(path) == size:
            return
        temporary = f"{self._temporary}/{os.getpid()}-{os.urandom(8).hex()}"
        sha256 = hashlib.sha256()
        try:
            self._fs.makedirs(self._temporary, exist_ok=True)
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            with self._fs.open(temporary, "wb") as file:
                for chunk in chunks(source):
                    sha256.update(chunk)
                    file.write(bytes(chunk))
            if sha256.hexdigest() != hex_of(digest):
                raise StoreError(f"what should be {digest} changed while it was stored: close it before returning it")
            self._fs.mv(temporary, path)
        except OSError as error:
            raise StoreError(f"cannot write to {self._url}: {error}") from None
        finally:
            with contextlib.suppress(OSError):
                if self._fs.exists(temporary):
                    self._fs.rm_file(temporary)
