"""The manifest of a directory: which files it holds, by path, executable bit, size and digest.

Rules:

1. The manifest is canonical JSON: no spaces, fields in the order of `Entry`, entries sorted by the UTF-8 bytes of
   their path. Its sha256 is the digest of the tree, so equal trees have equal digests.
2. Of a file's mode only "the owner may execute it" is kept; owners and times are not.
3. A tree holds regular files. Symbolic links (inside the tree too), devices, sockets and pipes are refused;
   empty directories are left out.
4. A path is relative, UTF-8, with `/` between parts, and has no empty, `.` or `..` part.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from clearance.errors import Corrupt, StoreError, UsageError
from clearance.store.blobs import Blobs
from clearance.types.digest import Digest, digest_of, parse_digest


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a tree; `size` in bytes."""

    path: str
    executable: bool
    size: int
    digest: Digest


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All files of a tree, sorted by path."""

    entries: tuple[Entry, ...]
    version: int = 1

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.entries)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Manifest)


def encode(manifest: Manifest) -> bytes:
    """Returns the canonical JSON."""
    return _encoder.encode(manifest)


def decode(data: bytes) -> Manifest:
    """Reads and checks canonical JSON.

    Raises:
        Corrupt: not what `encode` writes, or a path that must not be in a tree.
    """
    try:
        manifest = _decoder.decode(data)
        if manifest.version != 1:
            raise ValueError(f"version {manifest.version} is unknown: upgrade clearance")
        _check(manifest)
        if encode(manifest) != data:
            raise ValueError("it is not canonical JSON")
    except (msgspec.MsgspecError, ValueError, StoreError, UsageError) as error:
        raise Corrupt(f"a tree manifest cannot be trusted: {error}") from None
    return manifest


def tree_digest(manifest: Manifest) -> Digest:
    """Returns the digest of the canonical JSON."""
    return digest_of(encode(manifest))


def store_tree(root: Path, blobs: Blobs, move: bool = False) -> Manifest:
    """Keeps every file of a directory as a blob.

    Args:
        root: the directory.
        blobs: where the files go.
        move: the caller owns the directory and will not write to it again (see `Blobs.put_file`).

    Raises:
        StoreError: no directory, or something in it that a tree cannot hold.
    """
    entries = []
    for name, path in _files(root, ""):
        executable = bool(path.stat(follow_symlinks=False).st_mode & stat.S_IXUSR)
        # What is taken over becomes read-only and loses the bit: a program is copied, so that its source keeps it.
        digest, size = blobs.put_file(path, move and not executable)
        entries.append(Entry(name, executable, size, digest))
    entries.sort(key=lambda entry: entry.path.encode())
    return Manifest(tuple(entries))


def materialise_tree(manifest: Manifest, blobs: Blobs, target: Path) -> None:
    """Makes the directory `target`, which must not exist, with every file verified and read-only.

    Raises:
        Corrupt: a file's bytes do not have its digest.
        StoreError: a blob is missing, or `target` exists.
    """
    try:
        target.mkdir(parents=True)
    except FileExistsError:
        raise StoreError(f"cannot write the tree {target}: it exists already") from None
    made = {target}
    for entry in manifest.entries:
        path = target / entry.path
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        blobs.materialise(entry.digest, path, entry.executable)


def _files(directory: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    try:
        listing = list(os.scandir(directory))
    except OSError as error:
        raise StoreError(f"cannot read the directory {directory}: {error.strerror}") from None
    for entry in listing:
        path = Path(entry.path)
        if entry.is_symlink():
            raise StoreError(f"{path} is a symbolic link: a tree holds files only, put a copy in its place")
        if entry.is_dir(follow_symlinks=False):
            yield from _files(path, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            name = prefix + entry.name
            _check_path(name)
            yield name, path
        else:
            raise StoreError(f"{path} is a device, socket or pipe: a tree holds files only, remove it")


def _check_path(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise StoreError(f"the file name {path!r} is not UTF-8: rename it") from None
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise StoreError(f"{path!r} must not be a path in a tree: write relative paths without '.' and '..'")


def _check(manifest: Manifest) -> None:
    before: bytes | None = None
    paths = {entry.path for entry in manifest.entries}
    for entry in manifest.entries:
        _check_path(entry.path)
        parse_digest(entry.digest)
        if before is not None and entry.path.encode() <= before:
            raise ValueError(f"{entry.path!r} stands twice or out of order")
        before = entry.path.encode()
        parts = entry.path.split("/")
        for count in range(1, len(parts)):
            if "/".join(parts[:count]) in paths:
                raise ValueError(f"{entry.path!r} lies below a file")
        if entry.size < 0:
            raise ValueError(f"{entry.path!r} has a negative size")
