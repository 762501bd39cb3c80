"""Predicates: what a scan says can be attested, in the forms that the trust room reads."""

from __future__ import annotations

import datetime
import json

import msgspec
import pytest

from clearance.errors import UsageError
from clearance.trust import evidence
from clearance.trust.scan import predicate
from clearance.trust.scan.database import open_database
from clearance.trust.scan.licences import Declared, judge, make_policy
from clearance.trust.scan.osv import vulnerabilities
from clearance.trust.scan.packages import Pinned
from clearance.trust.scan.report import make_report

from .conftest import advisory

NOW = datetime.datetime(2026, 2, 1, 12, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))


def test_a_vulnerability_report_names_the_database_and_every_finding(database):
    score = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
    published = "2026-01-01T00:00:00Z"
    known = open_database(database(advisory(severity=score, aliases=["CVE-2026-5"], published=published)))
    found = vulnerabilities([Pinned("demo", "1.0", "x", 0)], known)
    said = predicate.vulnerabilities(make_report("dependencies", "x", 1, found, NOW, NOW, known.source))
    read = evidence.read_predicate(evidence.kind_of("vulnerabilities"), msgspec.json.encode(said))
    assert read == said
    assert read.scanner.db.version == known.source.digest
    assert read.metadata.scanStartedOn == "2026-02-01T10:30:00Z"
    (one,) = read.scanner.result
    assert one.id == "CVE-2026-5"
    assert {(each.method, each.score) for each in one.severity} >= {("clearance", "critical"), ("cvss_v3_score", "9.8")}
    assert one.annotations[0]["package"] == "demo==1.0"
    assert one.annotations[0]["published"] == published


def test_no_finding_is_said_and_another_scan_is_no_vulnerability_report(database):
    known = open_database(database(advisory()))
    said = predicate.vulnerabilities(make_report("dependencies", "x", 1, (), NOW, NOW, known.source))
    assert json.loads(msgspec.json.encode(said))["scanner"]["result"] == []
    with pytest.raises(UsageError):
        predicate.vulnerabilities(make_report("secrets", "x", 1, (), NOW, NOW))


def test_a_licence_report_says_what_is_not_known():
    policy = make_policy(["MPL-2.0"], ["MIT"])
    judged = [
        judge(Declared("a", "1", "w", 0, "MPL-2.0"), policy),
        judge(Declared("b", "2", "w", 0, "", "ours"), policy),
    ]
    said = predicate.licences(judged, policy)
    read = evidence.read_predicate(evidence.kind_of("licences"), msgspec.json.encode(said))
    assert [(each.name, each.licence, each.allowed) for each in read.components] == [
        ("a", "MPL-2.0", True), ("b", "NOASSERTION", False),
    ]  # fmt: skip
    assert not read.allowed
    assert read.policy.annotations["deny"] == ["MIT"]
    assert predicate.licences(judged[:1], policy).allowed
    assert not predicate.licences([], policy).allowed
