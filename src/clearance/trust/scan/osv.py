"""Which distributions have known vulnerabilities: advisories against versions, aliases merged, VEX applied.

Rules:

1. Advisories about one distribution that share an id or alias are one finding; it is there if any of them says so.
2. A withdrawn advisory counts for nothing.
3. Severity: the worst CVSS v3 score; else the word that the database wrote; else unknown. Vectors of versions 2 and 4
   are kept as text.
4. A version that cannot be compared is a finding: nobody has said that it is safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from packaging.version import Version

from clearance.trust.scan.advisory import Advisory, Verdict, fixes, judge
from clearance.trust.scan.cvss import base_score, severity_of
from clearance.trust.scan.database import Database
from clearance.trust.scan.finding import Finding, Severity, in_order
from clearance.trust.scan.packages import Pinned
from clearance.trust.scan.vex import escape
from clearance.trust.vex import Document

_WORDS = {"LOW": Severity.LOW, "MODERATE": Severity.MEDIUM, "MEDIUM": Severity.MEDIUM, "HIGH": Severity.HIGH,
          "CRITICAL": Severity.CRITICAL}  # fmt: skip


class _Group(msgspec.Struct):
    ids: set[str]
    advisories: list[Advisory]
    unknown: bool = False


def vulnerabilities(
    packages: Iterable[Pinned], database: Database, vex: Sequence[Document] = (), product: str = ""
) -> tuple[Finding, ...]:
    """Returns what is known to be wrong with the packages.

    Args:
        packages: to be judged.
        database: of advisories.
        vex: statements that let findings pass.
        product: see `vex.escape`.
    """
    found = []
    for package in sorted(set(packages)):
        for group in _groups(package.version, database.about(package.name)):
            finding = _finding(package, group, database)
            passed = escape(vex, sorted(group.ids), package.name, package.version, product)
            if passed is not None:
                said = f"{passed.author} says {passed.status} in {passed.document}: {passed.reason}"
                finding = msgspec.structs.replace(finding, suppressed=said)
            found.append(finding)
    return in_order(found)


def _groups(version: str, advisories: Iterable[Advisory]) -> list[_Group]:
    """Joins the advisories that are about this version by their ids."""
    groups: list[_Group] = []
    for each in advisories:
        verdicts = {judge(version, part) for part in each.affected}
        if each.withdrawn or verdicts <= {Verdict.CLEAR}:
            continue
        made = _Group({each.id, *each.aliases}, [each], Verdict.AFFECTED not in verdicts)
        for other in [group for group in groups if not group.ids.isdisjoint(made.ids)]:
            made = _Group(made.ids | other.ids, [*other.advisories, *made.advisories], made.unknown and other.unknown)
            groups.remove(other)
        groups.append(made)
    return groups


def _finding(package: Pinned, group: _Group, database: Database) -> Finding:
    advisories = sorted(group.advisories, key=lambda each: each.id)
    rule = min((each for each in group.ids if each.startswith("CVE-")), default=advisories[0].id)
    severity, properties = _severity(advisories)
    first: Version | None = min(
        (each for one in advisories for part in one.affected for each in fixes(package.version, part)), default=None
    )
    later = _clear_of_all(package, advisories)
    what = next((each.details for each in advisories if each.details), "") or "see the advisory"
    text = f"{package.name} {package.version}: {what}"
    if group.unknown:
        text = f"{package.name} {package.version} cannot be compared with the versions of {rule}: {what}"
    if later is not None:
        mend = f"use {package.name}>={later}"
    elif first is not None:
        mend = f"use a version after {first} that no advisory names"
    else:
        mend = f"no version mends it: do without {package.name}, or say by VEX why it does not matter"
    return Finding(
        rule, severity, package.where, package.line, text, mend, f"{package.name}=={package.version}",
        {
            "advisories": " ".join(each.id for each in advisories),
            "aliases": " ".join(sorted(group.ids - {rule})),
            "database": database.source.digest,
            "database_date": database.source.date,
            "published": min((each.published for each in advisories if each.published), default=""),
            **properties,
        },
    )  # fmt: skip


def _clear_of_all(package: Pinned, advisories: Sequence[Advisory]) -> Version | None:
    """Returns the first version with a mend of which no advisory of the group says anything."""
    parts = [part for each in advisories for part in each.affected]
    for version in sorted({each for part in parts for each in fixes(package.version, part)}):
        if all(judge(str(version), part) is Verdict.CLEAR for part in parts):
            return version
    return None


def _severity(advisories: Sequence[Advisory]) -> tuple[Severity, dict[str, str]]:
    """Returns the worst, with the score and the vectors that say so."""
    vectors = sorted(
        {
            (each.type, each.score)
            for one in advisories
            for each in (*one.severity, *(score for part in one.affected for score in part.severity))
        }
    )
    properties = {kind.lower(): text for kind, text in vectors}
    scores = [score for _, text in vectors if (score := base_score(text)) is not None]
    if scores:
        return severity_of(max(scores)), {**properties, "score": f"{max(scores):.1f}"}
    words = [(one.database_specific or {}).get("severity") for one in advisories]
    known = [_WORDS[word.upper()] for word in words if isinstance(word, str) and word.upper() in _WORDS]
    return max(known, key=lambda each: each.rank, default=Severity.UNKNOWN), properties
