"""An offline database of advisories: a folder or zip of OSV JSON, read once, known by the digest of its bytes.

Rules:

1. Fails closed: a database that is missing, empty, damaged, too old or from the future is refused, never "no finding".
2. What was hashed is what is read: each file is read once, from one open file, through no link.
3. The index lies at `HOME/trust/osv-index/DIGEST-2.bin` and begins with its own digest; one that does not hold is made
   again. Its name says nothing about where the database lies or when it was changed.

Databases: https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip, or a clone of
https://github.com/github/advisory-database.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
from packaging.utils import canonicalize_name

from clearance.errors import ClearanceError, Refused
from clearance.store.blobs import open_regular
from clearance.trust import strict
from clearance.trust.keys import write_whole
from clearance.trust.refusal import Rejected
from clearance.trust.scan.advisory import Advisory
from clearance.trust.scan.finding import Source
from clearance.types.digest import digest_of, hex_of

ECOSYSTEM = "PyPI"
MOST_BYTES = 16 * 2**20
MOST_TOTAL = 8 * 2**30
MOST_FILES = 1_000_000
FORM = 2
TOLERANCE = datetime.timedelta(days=1)  # clocks differ, and databases are written somewhere else
MEND = "download PyPI/all.zip from osv.dev again"


class Database(msgspec.Struct, frozen=True):
    """What is known about distributions, by normalised name (PEP 503).

    Attributes:
        source: its digest, date, number of advisories.
        packages: the advisories of each name as msgpack, decoded when they are asked for.
    """

    source: Source
    packages: dict[str, msgspec.Raw]

    def about(self, name: str) -> tuple[Advisory, ...]:
        """Returns the advisories that name a distribution; they may be withdrawn."""
        found = self.packages.get(canonicalize_name(name))
        return () if found is None else _advisories.decode(found)


_advisories = msgspec.msgpack.Decoder(tuple[Advisory, ...])
_databases = msgspec.msgpack.Decoder(Database)


def open_database(path: Path, cache: Path | None = None) -> Database:
    """Reads a database, or its index where the bytes are known already.

    Args:
        path: a zip, or a folder with `*.json` files at any depth.
        cache: a folder for indexes; it is made when missing.

    Raises:
        Rejected: `database-missing`, `database-empty`, `database-malformed`.
    """
    if not path.exists():
        raise Rejected("database-missing", f"there is no vulnerability database at {path}: {MEND}, or say --database")
    try:
        if path.is_dir():
            documents = dict(_folder(path))
            digest = _digest_of_all(documents)
            return _indexed(digest, path, cache, iter(documents.items()))
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            return _indexed(digest, path, cache, _zip(file))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise Rejected("database-malformed", f"the vulnerability database {path} is damaged: {error}; {MEND}") from None
    except (OSError, ClearanceError) as error:
        if isinstance(error, Rejected):
            raise
        raise Rejected("database-malformed", f"the vulnerability database {path} cannot be read: {error}") from None


def require_fresh(source: Source, now: datetime.datetime, most: datetime.timedelta) -> None:
    """Checks that a database knows of late.

    Raises:
        Rejected: `database-stale`, or `database-early`: its newest advisory is from the future, so that its date would
            never be old.
    """
    date = datetime.datetime.fromisoformat(source.date)
    if date > now + TOLERANCE:
        raise Rejected(
            "database-early", f"the vulnerability database {source.name} says {source.date}, after now: {MEND}"
        )
    if now - date > most:
        raise Rejected(
            "database-stale",
            f"the vulnerability database {source.name} ends {source.date[:10]}, {(now - date).days} days ago, and "
            f"{most.days} are allowed: {MEND}, or say --max-age",
        )


def _indexed(digest: str, path: Path, cache: Path | None, documents: Iterator[tuple[str, bytes]]) -> Database:
    file = None if cache is None else cache / f"{digest}-{FORM}.bin"
    if file is not None and (found := _read_index(file)) is not None:
        return msgspec.structs.replace(found, source=msgspec.structs.replace(found.source, name=str(path)))
    made = _build(digest, str(path), documents)
    if file is not None:
        data = msgspec.msgpack.encode(made)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(file, hex_of(digest_of(data)).encode() + data, 0o600)
    return made


def _read_index(file: Path) -> Database | None:
    """Returns an index that is whole; None where it must be made again."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    if hex_of(digest_of(data[64:])).encode() != data[:64]:
        return None
    return _databases.decode(data[64:])


def _build(digest: str, name: str, documents: Iterator[tuple[str, bytes]]) -> Database:
    packages: dict[str, dict[str, Advisory]] = {}
    newest = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    seen: set[str] = set()
    for document, data in documents:
        try:
            found = strict.decode(data, Advisory, f"advisory {document}")
            newest = max(newest, _moment(found.modified))
        except (Refused, ValueError) as error:
            raise Rejected("database-malformed", f"{name}: {document}: {error}; {MEND}", document) from None
        if found.id in seen:
            raise Rejected("database-malformed", f"{name}: {document}: {found.id} stands twice; {MEND}", document)
        seen.add(found.id)
        for affected in found.affected:
            package = affected.package
            if package is None or package.ecosystem != ECOSYSTEM:
                continue
            key = canonicalize_name(package.name)
            here = packages.setdefault(key, {}).get(found.id)
            parts = (*here.affected, affected) if here is not None else (affected,)
            packages[key][found.id] = msgspec.structs.replace(found, affected=parts, details=_first_line(found))
    if not packages:
        raise Rejected("database-empty", f"the vulnerability database {name} says nothing about {ECOSYSTEM}: {MEND}")
    encoded = {key: msgspec.Raw(msgspec.msgpack.encode(tuple(each.values()))) for key, each in packages.items()}
    return Database(Source(f"sha256:{digest}", newest.isoformat(), len(seen), name), encoded)


def _moment(text: str) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone")
    return found.astimezone(datetime.UTC)


def _first_line(found: Advisory) -> str:
    """Returns what a person reads of it: the summary, or the beginning of the details."""
    text = " ".join((found.summary or found.details).split())
    return text if len(text) <= 200 else text[:197] + "…"


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    def broken(error: OSError) -> None:
        raise error

    total = count = 0
    for folder, folders, names in os.walk(path, onerror=broken):
        folders[:] = sorted(each for each in folders if each != ".git")
        for name in sorted(names):
            if name.endswith(".json"):
                file = Path(folder, name)
                with open_regular(file) as opened:
                    data = opened.read(MOST_BYTES + 1)
                total, count = total + len(data), count + 1
                _check_bounds(str(file), len(data), total, count)
                yield file.relative_to(path).as_posix(), data


def _zip(file: IO[bytes] | io.FileIO) -> Iterator[tuple[str, bytes]]:
    total = 0
    seen: set[str] = set()
    with zipfile.ZipFile(file) as opened:
        for count, entry in enumerate(opened.infolist(), 1):
            if entry.is_dir() or not entry.filename.endswith(".json"):
                continue
            total += entry.file_size
            _check_bounds(entry.filename, entry.file_size, total, count)
            if entry.filename in seen:
                raise Rejected("database-malformed", f"{entry.filename} stands twice in the zip; {MEND}")
            seen.add(entry.filename)
            yield entry.filename, opened.read(entry)


def _check_bounds(name: str, size: int, total: int, count: int) -> None:
    if size > MOST_BYTES or total > MOST_TOTAL or count > MOST_FILES:
        raise Rejected(
            "database-malformed",
            f"{name}: more than {MOST_BYTES} bytes in a file, {MOST_TOTAL} in all, or {MOST_FILES} files; {MEND}",
        )


def _digest_of_all(documents: dict[str, bytes]) -> str:
    """Returns the digest of a folder: of its files' names and digests, sorted."""
    lines = [f"{hex_of(digest_of(data))}  {name}\n" for name, data in sorted(documents.items())]
    return hex_of(digest_of("".join(lines).encode("utf-8", "surrogateescape")))
