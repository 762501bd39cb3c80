"""A policy's own tests: read strictly, and each failure says what was decided instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("cedarpy", reason="needs the extra trust")

from clearance.errors import UsageError
from clearance.trust.policy import suite
from clearance.trust.policy.suite import policy_of, read_request, read_suite

GOOD = """
policy: team
tests:
  - name: unsigned
    evidence: {vulnerabilities: {}}
    expect: deny
    rules: [signed]
  - name: signed and scanned
    principal: {name: ann, groups: [research]}
    action: serve
    artifact: {kind: model, name: cats}
    evidence: {signatures: 1, vulnerabilities: {databaseDays: 1}}
    expect: allow
    rules: [anybody]
    warnings: []
"""


def report(file: Path, text: str) -> suite.Report:
    file.write_text(text)
    read = read_suite(file)
    return suite.run(read, policy_of(read, file))


def test_what_is_decided_as_expected_passes(tmp_path: Path) -> None:
    found = report(tmp_path / "x.yaml", GOOD)
    assert found.passed
    assert [(each.name, each.decision, each.rules) for each in found.outcomes] == [
        ("unsigned", "deny", ("signed",)), ("signed and scanned", "allow", ("anybody",)),
    ]  # fmt: skip
    assert found.untried == ("scanned", "no-critical", "not-rejected")


def test_json_is_read_too_and_a_policy_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.cedar").write_text('@id("ann") permit (principal == User::"ann", action, resource);')
    tests = [
        {"name": "ann", "principal": {"name": "ann"}, "expect": "allow", "rules": ["ann"]},
        {"name": "bob", "principal": {"name": "bob"}, "expect": "deny", "rules": ["no-permit"]},
    ]
    assert report(tmp_path / "x.json", json.dumps({"policy": "mine.cedar", "tests": tests})).passed


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("expect: deny", "expect: allow", "expected allow, decided deny by signed: signed: nobody has signed it"),
        ("expect: allow", "expect: deny", "expected deny, decided allow by anybody: nothing is against it"),
        ("rules: [signed]", "rules: [scanned]", "expected it of scanned, decided by signed"),
        ("warnings: []", "warnings: [signed]", "expected warnings signed, there were none"),
    ],
)
def test_another_decision_is_a_failure_that_says_why(tmp_path: Path, old: str, new: str, problem: str) -> None:
    found = report(tmp_path / "x.yaml", GOOD.replace(old, new))
    assert not found.passed
    assert [each.problem[: len(problem)] for each in found.outcomes if each.problem] == [problem]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rules: [signed]", "rules: [sined]", "team has no rule 'sined'; did you mean 'signed'?"),
        ("signatures: 1", "signature: 1", "unknown field `signature`"),
        ("databaseDays: 1", "databaseDays: one", "databaseDays"),
        ("expect: deny", "expect: no", "expect"),
        ("expect: deny", "expect: deny\n    expect: allow", "stands twice"),
        ("name: signed and scanned", "name: unsigned", "two tests are called 'unsigned'"),
        ("action: serve", "action: sell", "'sell' is no action"),
        ("policy: team", "policy: teem", "no such file"),
        ("name: unsigned", "name: [", "flow"),
        ("name: unsigned", "name: !!python/object:os.system x", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_not_what_it_seems_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        report(tmp_path / "x.yaml", GOOD.replace(old, new))
    assert said in str(refused.value)


def test_no_test_an_alias_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it has no test"):
        report(tmp_path / "x.yaml", "policy: team\ntests: []\n")
    with pytest.raises(UsageError, match="it has an alias"):
        report(tmp_path / "x.yaml", "policy: &a team\ntests: *a\n")
    with pytest.raises(UsageError, match="No such file"):
        read_suite(tmp_path / "none.yaml")
    for text in ("", "- 1", "[" * 2000, "\0", "policy: 1"):
        with pytest.raises(UsageError):
            report(tmp_path / "x.yaml", text)


def test_a_request_alone_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "request.yaml"
    file.write_text("action: serve\nevidence: {signatures: 2}\n")
    assert read_request(file).evidence.signatures == 2
