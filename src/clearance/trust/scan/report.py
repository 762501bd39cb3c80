"""The report of one scan: who looked at what, when, and with which knowledge."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import clearance
from clearance.trust.scan.finding import Finding, Report, Source, in_order


def make_report(
    scanner: str,
    target: str,
    examined: int,
    findings: Iterable[Finding],
    started: datetime.datetime,
    finished: datetime.datetime,
    database: Source | None = None,
) -> Report:
    """Returns a report; times become UTC in RFC 3339."""
    return Report(
        scanner, clearance.__version__, target, examined, in_order(findings), _text(started), _text(finished), database
    )


def _text(moment: datetime.datetime) -> str:
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%S}Z"
