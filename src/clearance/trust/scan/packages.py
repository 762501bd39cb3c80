"""Which distributions are to be judged: from an environment lock, a requirements or lock file, or a folder.

Rules: each distribution has one exact version, or the input is refused: what is not pinned cannot be judged. Markers
are not evaluated: what a lock may install on any machine is judged.

Formats: pip's requirements file (https://pip.pypa.io/en/stable/reference/requirements-file-format/), `pylock.toml`
(PEP 751), `uv.lock`, `poetry.lock`, and the text of `trust.environment`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from clearance.trust.environment import environment_lock
from clearance.trust.refusal import Rejected

MOST_BYTES = 64 * 2**20
_HASH = re.compile(r"\s--hash[= ]\S+")
_COMMENT = re.compile(r"(^|\s)#.*$")
_HARMLESS = re.compile(
    r"(--(index-url|extra-index-url|find-links|no-index|require-hashes|only-binary|no-binary|trusted-host|prefer-binary"
    r"|pre|use-feature|config-settings)|-i|-f)(\s|=|$)"
)


class Pinned(msgspec.Struct, frozen=True, order=True):
    """A distribution in one version, and where that is said: `line` from 1, or 0."""

    name: str
    version: str
    where: str
    line: int


def installed(path: Path | None = None) -> tuple[Pinned, ...]:
    """Returns what is installed in a folder; by default what this interpreter imports.

    Raises:
        Rejected: `packages-none`: there is nothing, which is a wrong folder rather than a clean one.
    """
    lock = environment_lock(None if path is None else [str(path)])
    where = sys.prefix if path is None else str(path)
    found = []
    for line in lock.text.splitlines()[1:]:
        name, _, version = line.partition("==")
        found.append(Pinned(name, version, where, 0))
    return _some(found, where)


def read_packages(path: Path) -> tuple[Pinned, ...]:
    """Reads a file, or a folder of installed distributions.

    Raises:
        Rejected: `packages-none`, `packages-malformed`, `package-unpinned`.
    """
    if path.is_dir():
        return installed(path)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        text = data.decode()
    except (OSError, ValueError) as error:
        raise Rejected("packages-malformed", f"{path} cannot be read: {error}", str(path)) from None
    locked = path.suffix in (".toml", ".lock")
    return _some(list(parse_lock(text, str(path)) if locked else parse_requirements(text, str(path))), str(path))


def parse_requirements(text: str, where: str) -> Iterator[Pinned]:
    """Reads a requirements file in which every version is exact.

    Raises:
        Rejected: `package-unpinned`, or `packages-malformed`.
    """
    for number, line in _lines(text):
        if _HARMLESS.match(line):
            continue
        if line.startswith("-"):
            raise Rejected(
                "packages-malformed",
                f"{where}, line {number}: {line.split()[0]!r} brings in what is not written here: scan the lock that "
                "results (pip freeze, pip-compile --generate-hashes, uv export)",
                where,
            )
        try:
            found = Requirement(_HASH.sub("", line))
        except InvalidRequirement as error:
            reason = str(error).partition("\n")[0]
            raise Rejected("packages-malformed", f"{where}, line {number}: {reason}", where) from None
        exact = [each for each in found.specifier if each.operator in ("==", "===")]
        if found.url or len(exact) != 1 or len(found.specifier) != 1 or exact[0].version.endswith(".*"):
            raise Rejected(
                "package-unpinned",
                f"{where}, line {number}: {found.name} has no exact version, so that nothing can be said of it: "
                f"write {found.name}==VERSION",
                where,
            )
        yield Pinned(canonicalize_name(found.name), exact[0].version, where, number)


def parse_lock(text: str, where: str) -> Iterator[Pinned]:
    """Reads `pylock.toml`, `uv.lock` or `poetry.lock`; the project's own folder is passed over.

    Raises:
        Rejected: `package-unpinned`, or `packages-malformed`.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Rejected("packages-malformed", f"{where} is no TOML: {error}", where) from None
    listed: Any = document.get("packages", document.get("package"))
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise Rejected("packages-malformed", f"{where} lists no packages: give a lock file", where)
    for each in listed:
        name, version, source = each.get("name"), each.get("version"), each.get("source")
        if "directory" in each or (isinstance(source, dict) and source.keys() & {"editable", "virtual", "directory"}):
            continue
        if not isinstance(name, str) or not isinstance(version, str):
            raise Rejected(
                "package-unpinned", f"{where}: {name} has no version, so that nothing can be said of it", where
            )
        yield Pinned(canonicalize_name(name), version, where, 0)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yields the logical lines with the number on which each begins."""
    pending, begin = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        begin = begin if pending else number
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            pending += raw[:-1] + " "
            continue
        line = _COMMENT.sub("", pending + raw).strip()
        pending = ""
        if line:
            yield begin, line
    if line := _COMMENT.sub("", pending).strip():
        yield begin, line


def _some(found: list[Pinned], where: str) -> tuple[Pinned, ...]:
    if not found:
        raise Rejected("packages-none", f"{where} names no distribution: give a lock, or a folder of them", where)
    return tuple(found)
