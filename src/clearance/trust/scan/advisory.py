"""An advisory in the OSV format, and whether it is about a version of a Python distribution.

Source: https://ossf.github.io/osv-schema/ (the evaluation algorithm of `affected`), PEP 440, SemVer 2.0 section 11.

Rules:

1. A version is affected if it stands in `versions`, or lies in a range: between `introduced` and `fixed` or
   `last_affected`, and before a `limit`. Ranges of commits say nothing about a version.
2. A local version (`2.0+cu121`) is the public version that it was built from: it lies where `2.0` lies.
3. What cannot be compared (a version of before PEP 440) is `UNKNOWN`, which nobody may read as safe.
"""

from __future__ import annotations

import enum
import re
from typing import Any

import msgspec
from packaging.version import Version

_SEMVER = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\Z")
_LONGEST = 1000  # characters of a version
_RANK = {"fixed": 0, "introduced": 1, "last_affected": 2}  # what counts first where two events name one version


class Verdict(enum.Enum):
    """What an advisory says about a version."""

    AFFECTED = "affected"
    CLEAR = "clear"
    UNKNOWN = "unknown"


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of these is set."""

    introduced: str = ""
    fixed: str = ""
    last_affected: str = ""
    limit: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.introduced, self.fixed, self.last_affected, self.limit))) != 1:
            raise ValueError("an event must have exactly one of introduced, fixed, last_affected and limit")


class Range(msgspec.Struct, frozen=True, omit_defaults=True):
    """Events of one kind of version: `ECOSYSTEM`, `SEMVER` or `GIT`."""

    type: str
    events: tuple[Event, ...]


class Score(msgspec.Struct, frozen=True):
    """A vector, by the name of its method: `CVSS_V3` and so on."""

    type: str
    score: str


class Package(msgspec.Struct, frozen=True, omit_defaults=True):
    """A distribution of an ecosystem."""

    ecosystem: str
    name: str


class Affected(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which versions of which package."""

    package: Package | None = None
    ranges: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()
    severity: tuple[Score, ...] = ()


class Advisory(msgspec.Struct, frozen=True, omit_defaults=True):
    """One document of the database; `database_specific` holds a word for the severity where GitHub wrote it."""

    id: str
    modified: str
    published: str = ""
    withdrawn: str = ""
    aliases: tuple[str, ...] = ()
    summary: str = ""
    details: str = ""
    severity: tuple[Score, ...] = ()
    affected: tuple[Affected, ...] = ()
    database_specific: dict[str, Any] | None = None


def parse_version(text: str) -> Version | None:
    """Returns a version by PEP 440, or None."""
    try:
        return Version(text)
    except ValueError:  # an InvalidVersion is one, and so is a number of more digits than Python reads
        return None


def judge(text: str, affected: Affected) -> Verdict:
    """Says whether a version is among those that are affected.

    Args:
        text: the version of the distribution.
        affected: an entry for that distribution; the caller has compared the names.
    """
    version = parse_version(text)
    if text in affected.versions:
        return Verdict.AFFECTED
    if version is not None:
        version = Version(version.public)
        if any(parse_version(each) == version for each in affected.versions):
            return Verdict.AFFECTED
    verdicts = {_in_range(text, version, each) for each in affected.ranges if each.type != "GIT"}
    if Verdict.AFFECTED in verdicts:
        return Verdict.AFFECTED
    return Verdict.UNKNOWN if Verdict.UNKNOWN in verdicts else Verdict.CLEAR


def fixes(text: str, affected: Affected) -> list[Version]:
    """Returns the versions after this one in which it is mended, ascending."""
    version = parse_version(text)
    named = [parse_version(event.fixed) for each in affected.ranges if each.type != "GIT" for event in each.events]
    return sorted({each for each in named if each is not None and (version is None or each > version)})


def _in_range(text: str, version: Version | None, found: Range) -> Verdict:
    if found.type == "SEMVER":
        here = _semver(text)
        keys = [_semver(_named(event)) for event in found.events if _named(event) not in ("0", "*")]
        if here is not None and all(key is not None for key in keys):
            return _walk(here, found, _semver)
    if version is None:
        return Verdict.UNKNOWN
    return _walk(version, found, parse_version)


def _walk(version: Any, found: Range, parse: Any) -> Verdict:
    """Goes along the events in order, as the specification's pseudocode does."""
    points: list[tuple[Any, int]] = []
    begins = False
    limits: list[Any] = []
    for event in found.events:
        name = _named(event)
        if event.introduced == "0":
            begins = True
        elif event.limit == "*":
            limits.append(None)
        elif (point := parse(name)) is None:
            return Verdict.UNKNOWN
        elif event.limit:
            limits.append(point)
        else:
            points.append((point, _RANK[_kind(event)]))
    if limits and not any(limit is None or version < limit for limit in limits):
        return Verdict.CLEAR
    inside = begins
    for point, rank in sorted(points, key=lambda each: (each[0], each[1])):
        if rank == _RANK["introduced"] and version >= point:
            inside = True
        elif (rank == _RANK["fixed"] and version >= point) or (rank == _RANK["last_affected"] and version > point):
            inside = False
    return Verdict.AFFECTED if inside else Verdict.CLEAR


def _named(event: Event) -> str:
    return event.introduced or event.fixed or event.last_affected or event.limit


def _kind(event: Event) -> str:
    return "introduced" if event.introduced else "fixed" if event.fixed else "last_affected"


def _semver(text: str) -> tuple[Any, ...] | None:
    match = _SEMVER.match(text)
    if match is None:
        return None
    if len(text) > _LONGEST:
        return None
    numbers = tuple(int(part or 0) for part in match.groups()[:3])
    if match[4] is None:
        return (*numbers, (1,))
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in match[4].split(".")]
    return (*numbers, (0, *parts))
