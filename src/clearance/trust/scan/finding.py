"""One finding of a scanner, the report of a scan, and which findings refuse."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec


class Severity(enum.StrEnum):
    """How bad it is; `UNKNOWN` is treated as the worst, since nobody has said that it is not."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """0 for low to 4 for unknown."""
        return list(Severity).index(self)


class Finding(msgspec.Struct, frozen=True):
    """Something that a scanner found.

    Attributes:
        rule: what is broken: the id of an advisory, or of a rule of the scanner.
        severity: how bad it is.
        where: the file or the folder, as it was given.
        line: in it, from 1; 0 where it has none.
        text: what is wrong, one line. It never holds a secret.
        mend: what to do.
        subject: what it is about where that is no file: `name==version` of a distribution.
        properties: facts for programs.
        suppressed: why it does not count; empty where it does.
    """

    rule: str
    severity: Severity
    where: str
    line: int
    text: str
    mend: str
    subject: str = ""
    properties: dict[str, str] = {}
    suppressed: str = ""


class Source(msgspec.Struct, frozen=True):
    """What a scanner knew.

    Attributes:
        digest: of the database's bytes.
        date: when its newest entry was changed, RFC 3339.
        entries: how many there are.
        name: where it was read.
    """

    digest: str
    date: str
    entries: int
    name: str


class Report(msgspec.Struct, frozen=True):
    """What one scan looked at, and what it found.

    Attributes:
        scanner: `dependencies`, `licences`, `secrets` or `code`.
        version: of the scanner.
        target: what was scanned.
        examined: how many things were looked at (distributions, files).
        findings: sorted by place.
        started: RFC 3339.
        finished: RFC 3339.
        database: what was known; only dependencies have one.
    """

    scanner: str
    version: str
    target: str
    examined: int
    findings: tuple[Finding, ...]
    started: str
    finished: str
    database: Source | None = None


def refused(findings: Iterable[Finding], least: Severity = Severity.LOW) -> list[Finding]:
    """Returns the findings that refuse: not suppressed, and at least so severe."""
    return [each for each in findings if not each.suppressed and each.severity.rank >= least.rank]


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Returns the findings by file, line, subject and rule."""
    return tuple(sorted(findings, key=lambda each: (each.where, each.line, each.subject, each.rule)))
