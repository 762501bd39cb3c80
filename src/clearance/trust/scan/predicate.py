"""What a scan says in attestations: predicates as data, for whoever is entitled to sign them.

Sources: https://github.com/in-toto/attestation/blob/main/spec/predicates/vuln.md (v0.2), and the licence report of
`trust.evidence`. A finding that was let pass stays in the report, with who let it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clearance.errors import UsageError
from clearance.trust.evidence import (
    Described,
    Licences,
    Licensed,
    ScanMetadata,
    Scanner,
    ScannerDatabase,
    Severity,
    Vulnerabilities,
)
from clearance.trust.evidence import Finding as Attested
from clearance.trust.scan.finding import Finding, Report
from clearance.trust.scan.licences import Judged, Policy

SCANNER = "https://clearance.dev/scanner"
_METHODS = ("cvss_v2", "cvss_v3", "cvss_v4")


def vulnerabilities(report: Report) -> Vulnerabilities:
    """Returns the vulnerability report of a scan of dependencies.

    Raises:
        UsageError: another scan, which knew no database.
    """
    if report.database is None:
        raise UsageError(f"a scan of {report.scanner} is no vulnerability report: scan the dependencies")
    return Vulnerabilities(
        Scanner(
            uri=SCANNER,
            version=report.version,
            db=ScannerDatabase(lastUpdate=report.database.date, version=report.database.digest),
            result=tuple(map(_attested, report.findings)),
        ),
        ScanMetadata(report.started, report.finished),
    )


def licences(judged: Iterable[Judged], policy: Policy) -> Licences:
    """Returns the licence report; of nothing at all it does not say that it is allowed."""
    components = tuple(
        Licensed(name=each.name, version=each.version, licence=each.expression or "NOASSERTION", allowed=each.allowed)
        for each in judged
    )
    annotations: dict[str, Any] = {"allow": sorted(policy.allow), "deny": sorted(policy.deny)}
    described = Described(name="licence policy", annotations=annotations)
    return Licences(components, bool(components) and all(each.allowed for each in components), described)


def _attested(finding: Finding) -> Attested:
    severity = [Severity("clearance", finding.severity.value)]
    severity += [Severity(name, finding.properties[name]) for name in _METHODS if name in finding.properties]
    if "score" in finding.properties:
        severity.append(Severity("cvss_v3_score", finding.properties["score"]))
    note = {"package": finding.subject, "aliases": finding.properties["aliases"], "text": finding.text}
    if finding.properties.get("published"):
        note["published"] = finding.properties["published"]
    if finding.suppressed:
        note["suppressed"] = finding.suppressed
    return Attested(finding.rule, tuple(severity), (note,))
