"""What attestations amount to: absent stays absent, the worst counts, and who says it matters."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import UNSET

from clearance.trust import dsse, evidence
from clearance.trust.evidence import Attested, Entitlements, kind_of
from clearance.trust.keys import SigningKey
from clearance.trust.policy.facts import UNKNOWN_DAYS, Evidence, Facts, gather, verified
from clearance.trust.provenance import Facts as Build
from clearance.trust.provenance import provenance
from clearance.types.digest import digest_of

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
D = digest_of(b"model")
OWN, SCANNER, REVIEWER, STRANGER = (SigningKey(ec.generate_private_key(ec.SECP256R1())) for _ in range(4))
ENTITLED = Entitlements([OWN.public], {"scanner": [SCANNER.public], "reviewer": [REVIEWER.public]})
CRITICAL = {
    "id": "CVE-1", "severity": [{"method": "nvd", "score": "critical"}],
    "annotations": [{"package": "foo==1.0", "published": "2026-02-01T00:00:00Z", "aliases": "GHSA-1"}],
}  # fmt: skip


def said(kind: str, predicate: Any, signer: str = "k") -> Attested:
    of = kind_of(kind)
    return Attested(of, msgspec.convert(predicate, of.form), (), signer)


def scan(
    *findings: dict[str, Any], finished: str = "2026-02-28T00:00:00Z", database: str = "2026-02-20T00:00:00Z"
) -> Any:
    return {
        "scanner": {"uri": "x", "result": list(findings), "db": {"lastUpdate": database}},
        "metadata": {"scanStartedOn": finished, "scanFinishedOn": finished},
    }


def vex(status: str = "not_affected", id: str = "CVE-1", at: str = "2026-02-10T00:00:00Z", **more: Any) -> Any:
    statement = {"vulnerability": {"name": id}, "status": status, **more}
    return {
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.org/vex", "author": "ann",
        "timestamp": at, "version": 1, "statements": [statement],
    }  # fmt: skip


def made(isolation: str = "sandbox", claimed: str | None = None) -> Any:
    facts = Build(
        run="main/1", dag="main", task="train", attempt="k", bundle=D, dag_version=D, environment=D,
        isolation=isolation, started="2026-01-01T00:00:00Z", finished="2026-01-01T00:00:01Z",
    )  # fmt: skip
    found = msgspec.to_builtins(provenance(facts))
    if claimed is not None:
        found["runDetails"]["builder"]["id"] = claimed
    return found


def found(*attested: Attested) -> Any:
    facts = gather(attested, NOW).facts.vulnerabilities
    assert facts is not UNSET
    return facts


def test_what_is_not_attested_is_absent() -> None:
    nothing = gather([], NOW)
    assert nothing.facts == Facts()
    assert nothing.context == '{"signatures":0,"signers":[],"refused":[]}'
    assert nothing.present == frozenset()


def test_provenance_says_who_made_it_and_the_strongest_isolation_counts() -> None:
    evidence_ = gather([said("provenance", made("process"), "a"), said("provenance", made("sandbox"), "a")], NOW)
    facts: Any = evidence_.facts.provenance
    assert (facts.isolation, facts.engine, facts.ours, facts.dag, facts.task) == (
        "sandbox",
        "local",
        True,
        "main",
        "train",
    )
    assert evidence_.facts.signers == ("a",)
    assert evidence_.present == {"provenance", "signatures"}


@pytest.mark.parametrize(
    ("claimed", "ours", "isolation"),
    [
        ("https://clearance.dev/builder/local/process", True, ""),  # the parameters say sandbox
        ("https://elsewhere.example/builder/local/sandbox", False, "sandbox"),
        ("https://clearance.dev/builder.evil/local/sandbox", False, "sandbox"),
    ],
)
def test_a_builder_that_contradicts_itself_or_is_foreign_does_not_count(
    claimed: str, ours: bool, isolation: str
) -> None:
    facts: Any = gather([said("provenance", made("sandbox", claimed))], NOW).facts.provenance
    assert (facts.ours, facts.isolation) == (ours, isolation)


def test_a_critical_finding_is_as_old_as_its_publication() -> None:
    facts = found(said("vulnerabilities", scan(CRITICAL)))
    assert (facts.critical, facts.criticalDays, facts.databaseDays, facts.ids) == (1, 28, 9, ("CVE-1",))


@pytest.mark.parametrize("published", ["", "yesterday", "2026-02-01T00:00:00", "2027-01-01T00:00:00Z"])
def test_an_age_that_cannot_be_told_is_the_worst(published: str) -> None:
    finding = {**CRITICAL, "annotations": [{"published": published}]}
    facts = found(said("vulnerabilities", scan(finding, database=published)))
    assert (facts.criticalDays, facts.databaseDays) == (UNKNOWN_DAYS, UNKNOWN_DAYS)


@pytest.mark.parametrize(
    ("severity", "critical", "high"),
    [
        ([], 1, 0), ([["x", "gibberish"]], 1, 0), ([["cvss", "9.8"]], 1, 0), ([["x", "low"], ["y", "9.0"]], 1, 0),
        ([["x", "HIGH"]], 0, 1), ([["x", "7.0"]], 0, 1), ([["x", "moderate"]], 0, 0), ([["x", "unknown"]], 1, 0),
    ],
)  # fmt: skip
def test_severity_is_the_worst_that_is_said_else_critical(severity: Any, critical: int, high: int) -> None:
    listed = [{"method": method, "score": score} for method, score in severity]
    facts = found(said("vulnerabilities", scan({"id": "CVE-2", "severity": listed})))
    assert (facts.critical, facts.high, facts.total) == (critical, high, 1)


def test_the_newest_report_of_each_scanner_counts_and_of_several_scanners_the_worst() -> None:
    old = said("vulnerabilities", scan(CRITICAL, finished="2026-02-01T00:00:00Z"), "one")
    new = said("vulnerabilities", scan(finished="2026-02-28T00:00:00Z"), "one")
    assert found(old, new).critical == found(new, old).critical == 0
    other = said("vulnerabilities", scan(CRITICAL, database="2026-01-01T00:00:00Z"), "two")
    assert (found(new, other).critical, found(new, other).databaseDays) == (1, 59)


@pytest.mark.parametrize(
    ("document", "excused"),
    [
        (vex(justification="component_not_present"), True),
        (vex(impact_statement="never called"), True),
        (vex("fixed"), True),
        (vex(id="GHSA-1", justification="component_not_present"), True),
        (vex(), False),  # it does not say why
        (vex("affected", justification="component_not_present"), False),
        (vex("under_investigation", justification="component_not_present"), False),
        (vex(id="CVE-2", justification="component_not_present"), False),
        (vex(at="2027-01-01T00:00:00Z", justification="component_not_present"), False),
        (vex(justification="component_not_present", products=[{"@id": "pkg:pypi/Foo@1.0"}]), True),
        (vex(justification="component_not_present", products=[{"@id": "pkg:pypi/foo"}]), True),
        (vex(justification="component_not_present", products=[{"@id": "pkg:pypi/foo@2.0"}]), False),
        (vex(justification="component_not_present", products=[{"@id": "pkg:pypi/bar"}]), False),
        (
            vex(
                justification="component_not_present",
                products=[{"@id": "cats", "subcomponents": [{"@id": "pkg:pypi/bar"}]}],
            ),
            False,
        ),
    ],
)
def test_vex_excuses_what_it_is_about(document: Any, excused: bool) -> None:
    facts = found(said("vulnerabilities", scan(CRITICAL)), said("vex", document))
    assert (facts.critical, facts.excused) == ((0, ("CVE-1",)) if excused else (1, ()))


def test_of_statements_about_the_same_the_latest_wins_and_of_equals_the_worse() -> None:
    report = said("vulnerabilities", scan(CRITICAL))
    yes = said("vex", vex(justification="component_not_present", at="2026-02-10T00:00:00Z"))
    for at, critical in (("2026-02-11T00:00:00Z", 1), ("2026-02-10T00:00:00Z", 1), ("2026-02-09T00:00:00Z", 0)):
        no = said("vex", vex("affected", at=at))
        assert found(report, yes, no).critical == found(report, no, yes).critical == critical


def test_a_scanners_own_word_excuses_nothing() -> None:
    note = {**CRITICAL["annotations"][0], "suppressed": "the scanner was told so"}  # type: ignore[index]
    assert found(said("vulnerabilities", scan({**CRITICAL, "annotations": [note]}))).critical == 1


def test_vex_of_whoever_may_not_say_it_counts_for_nothing() -> None:
    def envelope(kind: str, predicate: Any, key: SigningKey) -> bytes:
        of = kind_of(kind)
        return dsse.sign(evidence.encode(of, "model", D, msgspec.convert(predicate, of.form)), [key])

    report, document = envelope("vulnerabilities", scan(CRITICAL), SCANNER), vex(justification="component_not_present")
    for key, critical, refused in (
        (REVIEWER, 0, ()), (OWN, 0, ()), (SCANNER, 1, ("signer-unentitled",)), (STRANGER, 1, ("signature-wrong",)),
    ):  # fmt: skip
        held, codes = verified(D, [report, envelope("vex", document, key)], ENTITLED)
        facts: Any = gather(held, NOW, refused=codes).facts
        assert (facts.vulnerabilities.critical, facts.refused) == (critical, refused)
    assert verified(digest_of(b"other"), [report], ENTITLED) == ([], ("subject-other",))


def licences(*expressions: str, allowed: bool = True) -> Any:
    components = [{"name": "a", "licence": each, "allowed": True} for each in expressions]
    return {"components": components, "allowed": allowed, "policy": {"name": "x"}}


def test_licences_are_all_that_must_be_kept_to() -> None:
    facts: Any = gather([said("licences", licences("MIT AND ISC", "MIT OR GPL-3.0-only", "(A AND B)", ""))], NOW).facts
    assert facts.licences.found == ("(A AND B)", "ISC", "MIT", "MIT OR GPL-3.0-only", "NOASSERTION")
    assert facts.licences.allowed
    both: Any = gather([said("licences", licences("MIT")), said("licences", licences("MIT", allowed=False))], NOW).facts
    assert not both.licences.allowed
    nothing: Any = gather([said("licences", licences())], NOW).facts
    assert (nothing.licences.allowed, nothing.licences.found) == (False, ("NOASSERTION",))


def test_the_worst_test_result_counts() -> None:
    passed, failed = ({"result": each, "configuration": []} for each in ("PASSED", "FAILED"))
    facts: Any = gather([said("test-result", failed), said("test-result", passed)], NOW).facts
    assert facts.tests.result == "FAILED"


def test_the_last_word_of_each_reviewer_counts_and_approvals_vouch() -> None:
    def review(result: str, at: str, signer: str) -> Attested:
        return said("review", {"reviewer": "ann", "result": result, "reviewedOn": at}, signer)

    first, second = "2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z"
    facts: Any = gather(
        [
            said("provenance", made(), "own"), review("approved", second, "a"), review("rejected", first, "a"),
            review("approved", first, "b"), review("rejected", second, "b"),
        ],
        NOW, signers=("own", "c"),
    ).facts  # fmt: skip
    assert (facts.review.approvals, facts.review.rejections, facts.review.reviewers) == (1, 1, ("a",))
    assert (facts.signatures, facts.signers) == (3, ("a", "c", "own"))


def test_the_keys_of_the_installation_are_one_signer_after_a_rotation_too() -> None:
    review = {"reviewer": "ann", "result": "approved", "reviewedOn": "2026-02-01T00:00:00Z"}
    attested = [said("provenance", made(), "old"), said("review", review, "new")]
    assert gather(attested, NOW, own=("new", "old")).facts.signers == ("new",)
    assert gather(attested, NOW, own=("old",)).facts.signatures == 2


def test_levels_are_those_that_every_summary_gives() -> None:
    def summary(result: str, *levels: str) -> Attested:
        return said(
            "summary",
            {
                "verifier": {"id": "v"}, "timeVerified": "2026-01-01T00:00:00Z", "resourceUri": "r", "policy": {},
                "verificationResult": result, "verifiedLevels": list(levels),
            },
        )  # fmt: skip

    facts: Any = gather([summary("PASSED", "SLSA_BUILD_LEVEL_2", "x"), summary("FAILED", "x")], NOW).facts
    assert (facts.summary.passed, facts.summary.levels) == (False, ("x",))


def test_the_digest_covers_facts_and_database() -> None:
    digests = {Evidence(Facts(signatures=count), base).digest for count in (0, 1) for base in ("", "a")}
    assert len(digests) == 4
    assert Evidence(Facts(), "a").digest == Evidence(Facts(), "a").digest
