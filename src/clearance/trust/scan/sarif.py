"""Reports as SARIF 2.1.0, which code hosts and editors show.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. What VEX or a person has let pass is kept as
a suppressed result: a viewer shows who said so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import msgspec

from clearance.trust.scan.finding import Finding, Report, Severity

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Severity.LOW: "note", Severity.MEDIUM: "warning", Severity.HIGH: "error", Severity.CRITICAL: "error",
    Severity.UNKNOWN: "error",
}  # fmt: skip
_SCORES = {
    Severity.LOW: "3.0", Severity.MEDIUM: "5.5", Severity.HIGH: "8.0", Severity.CRITICAL: "9.5",
    Severity.UNKNOWN: "8.0",
}  # fmt: skip


def encode(reports: Sequence[Report]) -> bytes:
    """Returns one log with a run for each report, as indented JSON."""
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report) for report in reports]}
    return msgspec.json.format(msgspec.json.encode(log), indent=2) + b"\n"


def _run(report: Report) -> dict[str, Any]:
    first = {finding.rule: finding for finding in reversed(report.findings)}
    rules = sorted(first)
    properties: dict[str, Any] = {"target": report.target, "examined": report.examined}
    if report.database is not None:
        properties["database"] = report.database
    return {
        "tool": {
            "driver": {
                "name": f"clearance {report.scanner}",
                "version": report.version,
                "rules": [_rule(first[rule]) for rule in rules],
            }
        },
        "invocations": [{"executionSuccessful": True, "startTimeUtc": report.started, "endTimeUtc": report.finished}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, rules.index(finding.rule)) for finding in report.findings],
        "properties": properties,
    }


def _rule(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.rule,
        "shortDescription": {"text": finding.text},
        "help": {"text": finding.mend},
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
        "properties": {
            "security-severity": finding.properties.get("score", _SCORES[finding.severity]),
            "tags": ["security"],
        },
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.where)}}
    if finding.line:
        place["region"] = {"startLine": finding.line}
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.text} Mend: {finding.mend}"},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"clearance/v1": _fingerprint(finding)},
        "properties": {"severity": finding.severity, "subject": finding.subject, **finding.properties},
    }
    if finding.suppressed:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": finding.suppressed}]
    return result


def _fingerprint(finding: Finding) -> str:
    """Returns what stays when lines move."""
    parts = (finding.rule, finding.where, finding.subject, finding.text)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _uri(where: str) -> str:
    path = PurePosixPath(where)
    return ("file://" if path.is_absolute() else "") + quote(str(path), errors="surrogateescape")
