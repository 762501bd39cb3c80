"""The files that are scanned: one file, a folder, or a zip such as a source bundle; each is read once and whole.

Rules: no link is followed (one that leads out of the folder is refused, one inside leads to what is read anyway); what
is no regular file, or too big, is refused; names of folders that never travel in a bundle are passed over.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from clearance.errors import ClearanceError
from clearance.store.blobs import open_regular
from clearance.trust.refusal import Rejected

MOST_BYTES = 16 * 2**20
MOST_TOTAL = 1024 * 2**20
MOST_FILES = 100_000
PASSED_OVER = frozenset(
    {".git", ".hg", ".svn", ".venv", "__pycache__", ".clearance", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
)
_UNREADABLE = (OSError, ClearanceError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class Text(msgspec.Struct, frozen=True):
    """A file: where it lies, for people; its name in the folder or zip; its bytes."""

    where: str
    name: str
    data: bytes


def read_files(path: Path) -> Iterator[Text]:
    """Yields the files, sorted by name within a folder.

    Raises:
        Rejected: `source-unreadable`, `source-too-big`, `source-none`.
    """
    total = count = 0
    try:
        for found in _files(path):
            total, count = total + len(found.data), count + 1
            if total > MOST_TOTAL or count > MOST_FILES:
                raise Rejected(
                    "source-too-big", f"{path} has more than {MOST_FILES} files or {MOST_TOTAL} bytes", str(path)
                )
            yield found
    except Rejected:
        raise
    except (
        OSError,
        ClearanceError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise Rejected("source-unreadable", f"{path} cannot be read: {error}", str(path)) from None
    if count == 0:
        raise Rejected("source-none", f"{path} holds no file: nothing was scanned", str(path))


def _files(path: Path) -> Iterator[Text]:
    if path.is_dir():
        yield from _folder(path)
        return
    with open_regular(path) as file:
        if path.suffix == ".zip":
            yield from _zip(path, zipfile.ZipFile(file))
        else:
            yield Text(str(path), path.name, _bounded(str(path), file.read(MOST_BYTES + 1)))


def _folder(root: Path) -> Iterator[Text]:
    def broken(error: OSError) -> None:
        raise error

    inside = root.resolve()
    for folder, folders, names in os.walk(root, onerror=broken):
        folders[:] = sorted(each for each in folders if each not in PASSED_OVER)
        for name in sorted([*names, *(each for each in folders if Path(folder, each).is_symlink())]):
            file = Path(folder, name)
            if not str(file).isprintable():  # bytes that are no UTF-8 among them
                raise Rejected("source-unreadable", f"{str(file)!r} cannot be shown: rename it", ascii(str(file)))
            if file.is_symlink():
                if not file.resolve().is_relative_to(inside):
                    raise Rejected("source-unreadable", f"{file} leads out of {root}: replace it by a copy", str(file))
                continue
            with open_regular(file) as opened:
                data = opened.read(MOST_BYTES + 1)
            yield Text(str(file), file.relative_to(root).as_posix(), _bounded(str(file), data))


def _zip(path: Path, opened: zipfile.ZipFile) -> Iterator[Text]:
    seen: set[str] = set()
    for entry in opened.infolist():
        if entry.is_dir():
            continue
        where = f"{path}!{entry.filename}"
        if not where.isprintable():
            raise Rejected("source-unreadable", f"{where!r} cannot be shown: rename it", ascii(where))
        if entry.filename in seen:
            raise Rejected("source-unreadable", f"{where} stands twice in the zip", where)
        seen.add(entry.filename)
        _bounded(where, b"", entry.file_size)
        yield Text(where, entry.filename, opened.read(entry))


def _bounded(where: str, data: bytes, size: int = 0) -> bytes:
    if max(len(data), size) > MOST_BYTES:
        raise Rejected(
            "source-too-big",
            f"{where} has more than {MOST_BYTES} bytes: keep data out of the source",
            where,
        )
    return data
