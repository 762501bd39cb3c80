"""Vulnerabilities of distributions: aliases, severities, mends, and VEX."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clearance.trust.refusal import Rejected
from clearance.trust.scan.advisory import Verdict, judge
from clearance.trust.scan.database import open_database
from clearance.trust.scan.finding import Finding, Severity, refused
from clearance.trust.scan.osv import vulnerabilities
from clearance.trust.scan.packages import Pinned
from clearance.trust.scan.vex import read_document

from .conftest import advisory

NOW = datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC)
DEMO = Pinned("demo", "1.0", "lock.txt", 7)
CRITICAL = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]


def scan(file: Path, *packages: Pinned, **more: Any) -> tuple[Finding, ...]:
    return vulnerabilities(packages or (DEMO,), open_database(file), **more)


def test_known_vulnerabilities_of_the_public_database_are_found(public_database: Path):
    """By hand from the advisories: three name pip 19.1, none 23.3."""
    old = scan(public_database, Pinned("pip", "19.1", "x", 0))
    assert {each.rule for each in old} == {"CVE-2019-20916", "CVE-2021-3572", "CVE-2023-5752"}
    assert {each.rule: each.mend for each in old}["CVE-2019-20916"] == "use pip>=19.2"
    assert {each.rule: each.severity for each in old}["CVE-2023-5752"] == "low"
    assert scan(public_database, Pinned("pip", "23.3", "x", 0)) == ()


def test_ranges_say_what_the_makers_of_the_database_list(public_database: Path):
    """Each version in the list `versions` lies in the ranges, as they are judged here without that list."""
    known = open_database(public_database)
    verdicts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)
    for name in known.packages:
        for affected in (part for each in known.about(name) for part in each.affected):
            if any(each.type != "GIT" for each in affected.ranges):
                ranges = msgspec.structs.replace(affected, versions=())
                for version in affected.versions:
                    verdicts[judge(version, ranges)] += 1
    assert verdicts == {Verdict.AFFECTED: 25716, Verdict.CLEAR: 0, Verdict.UNKNOWN: 23}


def test_a_finding_says_where_what_and_the_mend(database):
    (found,) = scan(database(advisory(severity=CRITICAL, aliases=["CVE-2026-5"])))
    assert (found.rule, found.severity, found.where, found.line) == ("CVE-2026-5", "critical", "lock.txt", 7)
    assert (found.text, found.mend, found.subject) == ("demo 1.0: demo is broken", "use demo>=2.0", "demo==1.0")
    assert found.properties["score"] == "9.8"
    assert found.properties["database_date"].startswith("2026-01-02")
    assert found.properties["database"].startswith("sha256:")


def test_aliases_are_one_finding_and_the_worst_counts(database):
    file = database(
        advisory("PYSEC-2026-1", aliases=["CVE-2026-5"]),
        advisory(
            "GHSA-aaaa", aliases=["CVE-2026-5"], severity=CRITICAL, events=[{"introduced": "0"}, {"fixed": "2.1"}]
        ),
        advisory("PYSEC-2026-2", aliases=["CVE-2026-6"]),
    )
    first, second = scan(file)
    assert (first.rule, first.severity, first.mend) == ("CVE-2026-5", "critical", "use demo>=2.1")
    assert first.properties["advisories"] == "GHSA-aaaa PYSEC-2026-1"
    assert second.rule == "CVE-2026-6"


def test_aliases_are_followed_through_an_advisory_that_joins_them(database):
    file = database(advisory("A-1"), advisory("B-1"), advisory("C-1", aliases=["A-1", "B-1"]))
    (found,) = scan(file)
    assert found.properties["advisories"] == "A-1 B-1 C-1"


def test_a_withdrawn_advisory_counts_for_nothing(database):
    assert scan(database(advisory(withdrawn="2026-01-03T00:00:00Z"))) == ()


def test_the_severity_is_the_word_of_the_database_where_there_is_no_score(database):
    newer = [{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}]
    (found,) = scan(database(advisory(severity=newer, database_specific={"severity": "MODERATE"})))
    assert found.severity == "medium"
    assert found.properties["cvss_v4"].startswith("CVSS:4.0/")
    (found,) = scan(database(advisory(severity=newer)))
    assert found.severity == "unknown"
    assert refused([found], Severity.CRITICAL) == [found]


def test_a_version_that_cannot_be_compared_is_a_finding(database):
    (found,) = scan(database(advisory()), Pinned("demo", "2004d", "x", 0))
    assert "cannot be compared" in found.text


def test_a_mend_that_another_advisory_of_the_same_hole_undoes_is_not_offered(database):
    never = advisory("GHSA-b", aliases=["PYSEC-2026-1"], events=[{"introduced": "0"}])
    (found,) = scan(database(advisory(), never))
    assert found.mend == "use a version after 2.0 that no advisory names"
    (found,) = scan(database(never))
    assert found.mend.startswith("no version mends it")


def vex(*statements: dict[str, Any], **more: Any) -> bytes:
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://a.example/vex/1", "author": "Security",
        "timestamp": "2026-01-10T00:00:00Z", "version": 1, "statements": list(statements),
    }  # fmt: skip
    return json.dumps(document | more).encode()


def says(status: str = "not_affected", product: Any = "pkg:pypi/demo@1.0", **more: Any) -> dict[str, Any]:
    products = [{"@id": product}] if isinstance(product, str) else [product]
    reason = {
        "not_affected": {"justification": "vulnerable_code_not_present"},
        "affected": {"action_statement": "wait"},
    }
    return {
        "vulnerability": {"name": "CVE-2026-5"}, "products": products, "status": status,
        **reason.get(status, {}), **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("statements", "passes"),
    [
        ([says()], True),
        ([says("fixed")], True),
        ([says("affected")], False),
        ([says("under_investigation")], False),
        ([says(product="pkg:pypi/Demo")], True),
        ([says(product="pkg:pypi/demo@1.0.0")], True),
        ([says(product="pkg:pypi/demo@1.1")], False),
        ([says(product="pkg:pypi/demonstration@1.0")], False),
        ([says(product="pkg:npm/demo@1.0")], False),
        ([says(product="demo")], False),
        ([says(product={"identifiers": {"purl": "pkg:pypi/demo@1.0"}})], True),
        ([says(product={"@id": "app", "subcomponents": [{"@id": "pkg:pypi/demo@1.0"}]})], True),
        ([says(product={"@id": "other", "subcomponents": [{"@id": "pkg:pypi/demo@1.0"}]})], False),
        ([says(vulnerability={"name": "X", "aliases": ["PYSEC-2026-1"]})], True),
        ([says(vulnerability={"name": "CVE-2026-55"})], False),
        ([says(timestamp="2026-01-11T00:00:00Z"), says("affected", timestamp="2026-01-12T00:00:00Z")], False),
        ([says(timestamp="2026-01-12T00:00:00Z"), says("affected", timestamp="2026-01-11T00:00:00Z")], True),
    ],
)  # fmt: skip
def test_vex_lets_pass_what_it_is_about(database, statements: list[dict[str, Any]], passes: bool):
    file = database(advisory(aliases=["CVE-2026-5"]))
    (found,) = scan(file, vex=[read_document(vex(*statements), NOW)], product="app")
    assert bool(found.suppressed) is passes
    assert refused([found]) == ([] if passes else [found])
    if passes:
        assert "Security says" in found.suppressed


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", vex(says(), author=1), vex(says(), more=1), vex(says(), **{"@context": "https://openvex.dev/"}),
        vex(says(justification=None)), vex(says(justification="because")), vex(says("affected", action_statement="")),
        vex(says(products=[])), vex(says(), timestamp="yesterday"), vex(says(), timestamp="2026-01-01T00:00:00"),
        vex(says(), timestamp="2027-01-01T00:00:00Z"), vex(says(status="sure")),
        vex(says()).replace(b'"version": 1', b'"version": 1, "version": 2'),
    ],
)  # fmt: skip
def test_a_malformed_vex_document_is_refused(data: bytes):
    with pytest.raises(Rejected) as caught:
        read_document(data, NOW)
    assert caught.value.code == "vex-malformed"


def test_the_example_of_the_specification_is_read():
    """https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md: minimal document, and one with subcomponents."""
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://openvex.dev/docs/example/vex-9fb3463de1b57",
        "author": "Wolfi J Inkinson",
        "role": "Document Creator",
        "timestamp": "2023-01-08T18:02:03.647787998-06:00",
        "version": 1,
        "statements": [
            {
                "vulnerability": {"name": "CVE-2014-123456"},
                "products": [
                    {"@id": "pkg:apk/distro/git@2.39.0-r1?arch=armv7"},
                    {"@id": "pkg:apk/distro/git@2.39.0-r1?arch=x86_64", "subcomponents": [{"@id": "pkg:apk/x@1"}]},
                ],
                "status": "fixed",
            }
        ],
    }
    assert read_document(json.dumps(document).encode(), NOW).statements[0].status == "fixed"
