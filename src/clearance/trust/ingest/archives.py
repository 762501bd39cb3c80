"""Reads archives member by member into temporary files, never to a path of theirs, within bounds.

Rules:

1. A member's name is relative, plain and stands once (capital letters apart too); its way is a file or folder, never a
   link or device.
2. A zip has one reading: its directory and its members say the same names and sizes, nothing lies before the first.
3. What is read is counted as it is read, not as the archive says; a checksum that is wrong is a refusal.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO, cast

from clearance.trust.ingest.judgement import Limits, Unfit

_CHUNK = 1 << 20
_IN_MEMORY = 8 << 20
_END = b"PK\x05\x06"
_ENDS_WITHIN = 22 + 65535
_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_ENCRYPTED = 0x1
_STRANGE = frozenset(map(chr, (*range(32), 127)))


class Budget:
    """How much archives may still become.

    Args:
        limits: of one judgement.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._bytes = limits.expanded
        self._entries = limits.entries

    def entry(self) -> None:
        """Counts a file."""
        self._entries -= 1
        if self._entries < 0:
            raise Unfit("too-many", f"there are more than {self.limits.entries:,} files", "split it")

    def copy(self, source: IO[bytes], packed: int) -> BinaryIO:
        """Returns what a source gives, as a temporary file.

        Args:
            source: of a member.
            packed: bytes that it has in its archive.
        """
        target = cast(BinaryIO, tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 - the caller closes it
        most, size = packed * self.limits.ratio + _CHUNK, 0
        while data := source.read(_CHUNK):
            size += len(data)
            self._bytes -= len(data)
            if size > most or self._bytes < 0:
                target.close()
                raise Unfit("archive-bomb", f"it becomes more than {size:,} bytes of {packed:,}", "unpack it yourself")
            target.write(data)
        return target


def hides_zip(file: BinaryIO) -> bool:
    """Returns whether a file ends as a zip does: readers of zips look at the end, and ignore what stands before."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _ENDS_WITHIN))
    tail = file.read()
    at = tail.rfind(_END)
    while at >= 0:
        if len(tail) - at >= 22 and int.from_bytes(tail[at + 20 : at + 22], "little") <= len(tail) - at - 22:
            return True
        at = tail.rfind(_END, 0, at)
    return False


def name_of(name: str, seen: set[str]) -> str:
    """Returns a member's name.

    Raises:
        Unfit: it leads elsewhere, is odd, or stands twice.
    """
    plain = name.rstrip("/")
    parts = plain.split("/")
    if not plain or plain.startswith("/") or "\\" in plain or ":" in parts[0] or set(parts) & {"..", ".", ""}:
        raise Unfit("archive-path", f"its member {name[:200]!r} leads out of it", "pack it with plain relative names")
    if not _STRANGE.isdisjoint(plain):
        raise Unfit("archive-path", f"its member {name[:200]!r} has an odd name", "pack it with plain relative names")
    if plain.casefold() in seen:
        raise Unfit("archive-duplicate", f"its member {name[:200]!r} stands twice", "pack it anew")
    seen.add(plain.casefold())
    return posixpath.normpath(plain)


def zipped(file: BinaryIO, budget: Budget) -> Iterator[tuple[str, BinaryIO]]:
    """Yields the name and content of each file in a zip.

    Raises:
        Unfit: see the rules.
    """
    seen: set[str] = set()
    size = file.seek(0, 2)
    try:
        with zipfile.ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
            if size and (not members or members[0].header_offset):
                raise Unfit("archive-polyglot", "something lies before its first member", "pack it anew")
            end = 0
            for member in members:
                budget.entry()
                name = name_of(member.orig_filename, seen)
                mode = member.external_attr >> 16
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise Unfit("archive-link", f"its member {name!r} is a link or a device", "pack the file itself")
                if member.flag_bits & _ENCRYPTED:
                    raise Unfit("archive-encrypted", f"its member {name!r} is encrypted", "decrypt it first")
                if member.header_offset < end:
                    raise Unfit("archive-overlap", f"its member {name!r} overlaps another", "pack it anew")
                end = _agrees(file, member)
                if member.is_dir():
                    continue
                with archive.open(member) as source:
                    content = budget.copy(source, member.compress_size)
                yield name, content
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError, EOFError, zlib.error,
            lzma.LZMAError, struct.error) as error:  # fmt: skip
        raise Unfit("archive-broken", f"it cannot be read: {error}") from None


def _agrees(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Compares a member with what the directory says of it, and returns the offset of its end."""
    file.seek(member.header_offset)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size:
        raise Unfit("archive-broken", f"its member {member.filename!r} is cut off")
    mark, _, flags, method, _, _, crc, packed, size, length, extra = _LOCAL.unpack(head)
    name = file.read(length)
    told = member.orig_filename.encode("utf-8" if flags & 0x800 else "cp437", "replace")
    counted = bool(flags & 0x8) or 0xFFFFFFFF in (packed, size)
    same = mark == b"PK\x03\x04" and name == told and method == member.compress_type
    if not counted:
        same &= (crc, packed, size) == (member.CRC, member.compress_size, member.file_size)
    if not same or flags & _ENCRYPTED:
        raise Unfit("archive-polyglot", f"its directory and its member {member.filename!r} disagree", "pack it anew")
    return int(member.header_offset + _LOCAL.size + length + extra + member.compress_size)


def tarred(file: BinaryIO, budget: Budget) -> Iterator[tuple[str, BinaryIO]]:
    """Yields the name and content of each file in a tar.

    Raises:
        Unfit: see the rules.
    """
    seen: set[str] = set()
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                budget.entry()
                if member.isdir() and member.name.strip("./") == "":
                    continue
                name = name_of(member.name.removeprefix("./"), seen)
                if member.isdir():
                    continue
                source = archive.extractfile(member) if member.isreg() else None
                if source is None or member.issparse():
                    raise Unfit("archive-link", f"its member {name!r} is a link or a device", "pack the file itself")
                yield name, budget.copy(source, member.size)
            if archive.offset > file.seek(0, 2) or not _ends(file, archive.offset):
                raise Unfit("archive-broken", "it is cut off, or something follows its end", "pack it anew")
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise Unfit("archive-broken", f"it cannot be read: {error}") from None


def _ends(file: BinaryIO, at: int) -> bool:
    """Returns whether nothing but zeros follows."""
    file.seek(at)
    while data := file.read(_CHUNK):
        if data.strip(b"\0"):
            return False
    return True


_OPENERS: dict[bytes, tuple[str, Callable[[BinaryIO], IO[bytes]]]] = {
    b"\x1f\x8b": ("gzip", lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="rb"))),
    b"BZh": ("bzip2", lambda file: cast("IO[bytes]", bz2.BZ2File(file))),
    b"\xfd7zXZ\x00": ("xz", lambda file: cast("IO[bytes]", lzma.LZMAFile(file))),  # noqa: SIM115 - `expanded` closes it
}


def compressed(head: bytes) -> str | None:
    """Returns how a file that begins like this is compressed; None: it is not."""
    return next((name for magic, (name, _) in _OPENERS.items() if head.startswith(magic)), None)


def expanded(file: BinaryIO, budget: Budget) -> BinaryIO:
    """Returns the content of a compressed file.

    Raises:
        Unfit: it is broken, or becomes too large.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(6)
    file.seek(0)
    opened = next(opener for magic, (_, opener) in _OPENERS.items() if head.startswith(magic))
    budget.entry()
    try:
        with opened(file) as source:
            return budget.copy(source, size)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise Unfit("archive-broken", f"it cannot be read: {error}") from None
