"""Each rule of each ready-made policy: with its evidence absent it denies, with good evidence it does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

pytest.importorskip("cedarpy", reason="needs the extra trust")

from clearance.trust.policy.decide import Decider, Decision, Target
from clearance.trust.policy.facts import (
    UNKNOWN_DAYS,
    Evidence,
    Facts,
    LicenceFacts,
    ProvenanceFacts,
    ReviewFacts,
    TestFacts,
    VulnerabilityFacts,
)
from clearance.trust.policy.rules import ACTIONS, BUNDLES, load
from clearance.types.principal import Principal

ANN = Principal("ann", ("research",), ("operator",))
MODEL = Target("sha256:" + "0" * 64, "model", "cats")
GOOD = Facts(
    signatures=2,
    signers=("a", "b"),
    provenance=ProvenanceFacts(
        "https://clearance.dev/builder/local/sandbox", "local", "sandbox", True, "main", "train"
    ),
    vulnerabilities=VulnerabilityFacts(databaseDays=1),
    licences=LicenceFacts(True, ("Apache-2.0", "MIT")),
    tests=TestFacts("PASSED", ("accuracy",)),
)
DECIDERS = {name: Decider(load(name)) for name in BUNDLES}


def changed(**changes: Any) -> Facts:
    """Returns the good facts but for some; `a__b=…` changes a field of one kind."""
    facts = GOOD
    for path, value in changes.items():
        name, _, field = path.partition("__")
        whole = msgspec.structs.replace(getattr(facts, name), **{field: value}) if field else value
        facts = msgspec.structs.replace(facts, **{name: whole})
    return facts


def decided(bundle: str, facts: Facts, action: str = "serve") -> Decision:
    return DECIDERS[bundle].decide(ANN, action, MODEL, Evidence(facts))


# (bundle, rule, evidence that is absent or bad): the first of each rule that needs evidence is its absence
AGAINST = [
    ("team", "signed", {"signatures": 0, "signers": ()}),
    ("team", "scanned", {"vulnerabilities": UNSET}),
    ("team", "no-critical", {"vulnerabilities__critical": 1}),
    ("team", "not-rejected", {"review": ReviewFacts(3, 1)}),
    ("production", "provenance", {"provenance": UNSET}),
    ("production", "provenance", {"provenance__ours": False}),
    ("production", "sandboxed", {"provenance": UNSET}),
    ("production", "sandboxed", {"provenance__isolation": "process"}),
    ("production", "sandboxed", {"provenance__isolation": ""}),
    ("production", "scanned", {"vulnerabilities": UNSET}),
    ("production", "scanned-lately", {"vulnerabilities": UNSET}),
    ("production", "scanned-lately", {"vulnerabilities__databaseDays": 8}),
    ("production", "no-old-critical", {"vulnerabilities": UNSET}),
    ("production", "no-old-critical", {"vulnerabilities__criticalDays": 15}),
    ("production", "no-old-critical", {"vulnerabilities__criticalDays": UNKNOWN_DAYS}),
    ("production", "licences", {"licences": UNSET}),
    ("production", "licences", {"licences__allowed": False}),
    ("production", "licences", {"licences__found": ("MIT", "NOASSERTION")}),
    ("production", "licences", {"licences__found": ("MIT OR GPL-3.0-only",)}),
    ("production", "evaluated", {"tests": UNSET}),
    ("production", "evaluated", {"tests__result": "WARNED"}),
    ("production", "evaluated", {"tests__result": "FAILED"}),
    ("production", "two-signatures", {"signatures": 0, "signers": ()}),
    ("production", "two-signatures", {"signatures": 1}),
    ("production", "not-rejected", {"review": ReviewFacts(1, 1)}),
]


@pytest.mark.parametrize(("bundle", "rule", "changes"), AGAINST)
def test_each_rule_denies_when_its_evidence_is_absent_or_bad(bundle: str, rule: str, changes: dict[str, Any]) -> None:
    decision = decided(bundle, changed(**changes))
    assert not decision.allowed
    assert rule in decision.rules
    against = next(each for each in decision.against if each.rule == rule)
    assert against.reason
    assert against.mend
    assert f"{rule}: {against.reason}" in decision.reason


@pytest.mark.parametrize(("bundle", "rule", "changes"), [each for each in AGAINST if UNSET in each[2].values()])
def test_a_denial_names_the_evidence_that_is_missing(bundle: str, rule: str, changes: dict[str, Any]) -> None:
    against = next(each for each in decided(bundle, changed(**changes)).against if each.rule == rule)
    assert against.missing == tuple(changes)


def test_every_rule_that_forbids_is_tried() -> None:
    for name in ("team", "production"):
        forbidding = {rule.id for rule in load(name).rules if rule.effect == "forbid"}
        assert forbidding == {rule for bundle, rule, _ in AGAINST if bundle == name}


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("action", ACTIONS)
def test_good_evidence_is_allowed_without_a_warning(bundle: str, action: str) -> None:
    decision = decided(bundle, GOOD, action)
    assert (decision.allowed, decision.rules, decision.against, decision.warnings) == (True, ("anybody",), (), ())


def test_what_is_recent_or_excused_is_allowed_in_production() -> None:
    recent = {"vulnerabilities__critical": 1, "vulnerabilities__criticalDays": 14, "vulnerabilities__databaseDays": 7}
    assert decided("production", changed(**recent)).allowed
    assert decided("production", changed(vulnerabilities__excused=("CVE-1",))).allowed


@pytest.mark.parametrize("bundle", ["team", "production"])
def test_without_any_evidence_nothing_is_allowed(bundle: str) -> None:
    denied = {rule.id for rule in load(bundle).rules if rule.needs}
    assert set(decided(bundle, Facts()).rules) == denied


def test_dev_allows_and_warns() -> None:
    nothing = decided("dev", Facts())
    assert nothing.allowed
    assert nothing.rules == ("anybody",)
    assert [each.rule for each in nothing.warnings] == ["signed", "scanned"]
    assert nothing.warnings[1].missing == ("vulnerabilities",)
    critical = decided("dev", changed(vulnerabilities__critical=1))
    assert [each.rule for each in critical.warnings] == ["scanned"]
    assert critical.warnings[0].missing == ()
