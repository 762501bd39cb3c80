"""Attestations: who may say what, of which artifact, and in one form only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from clearance.errors import UsageError
from clearance.trust import dsse, evidence, statement
from clearance.trust.entitled import entitlements, grant, granted, withdraw
from clearance.trust.evidence import KINDS, Entitlements, kind_of
from clearance.trust.keys import SigningKey
from clearance.trust.provenance import Facts, provenance
from clearance.trust.refusal import Rejected
from clearance.trust.statement import Subject
from clearance.types.digest import digest_of, hex_of

OWN, SCANNER, TESTER, REVIEWER, STRANGER = (SigningKey(ec.generate_private_key(ec.SECP256R1())) for _ in range(5))
ENTITLED = Entitlements(
    [OWN.public], {"scanner": [SCANNER.public], "tester": [TESTER.public], "reviewer": [REVIEWER.public]}
)
D = digest_of(b"model")
FACTS = Facts(
    run="main/1", dag="main", task="train", attempt="k", bundle=digest_of(b"b"), dag_version=digest_of(b"g"),
    environment=digest_of(b"e"), started="2026-01-01T00:00:00Z", finished="2026-01-01T00:00:01Z",
)  # fmt: skip

# One valid predicate of each kind; the first five as the specifications' own examples have them, in short.
PREDICATES: dict[str, Any] = {
    "vulnerabilities": {
        "scanner": {
            "uri": "pkg:github/aquasecurity/trivy@244fd47e07d1004f0aed9c", "version": "0.19.2",
            "db": {"uri": "pkg:github/aquasecurity/trivy-db/commit/4c76b", "lastUpdate": "2021-08-06T17:45:50.52Z"},
            "result": [{"id": "CVE-123", "severity": [{"method": "nvd", "score": "medium"}]}],
        },
        "metadata": {"scanStartedOn": "2021-08-06T17:45:50.52Z", "scanFinishedOn": "2021-08-06T17:50:50.52Z"},
    },
    "test-result": {
        "result": "PASSED", "configuration": [{"name": "ci.yaml", "digest": {"gitBlob": "6ce3d5"}}],
        "url": "https://example.com/1", "passedTests": ["accuracy"], "failedTests": [],
    },
    "summary": {
        "verifier": {"id": "https://example.com/publication_verifier", "version": {"slsa-verifier": "2.3.0"}},
        "timeVerified": "2023-08-29T10:11:12Z", "resourceUri": "https://example.com/a.tar.gz",
        "policy": {"uri": "https://example.com/policy", "digest": {"sha256": "1234"}},
        "inputAttestations": [{"uri": "https://example.com/p", "digest": {"sha256": "abcd"}}],
        "verificationResult": "PASSED", "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
        "dependencyLevels": {"SLSA_BUILD_LEVEL_3": 5}, "slsaVersion": "1.0",
    },
    "licences": {
        "components": [{"name": "numpy", "licence": "BSD-3-Clause", "version": "2.0", "allowed": True}],
        "allowed": True, "policy": {"name": "team"},
    },
    "review": {"reviewer": "ann", "result": "approved", "reviewedOn": "2026-01-01T00:00:00Z"},
    "vex": {
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://openvex.dev/docs/example/vex-9fb3463de1b57",
        "author": "Wolfi J Inkinson", "role": "Document Creator", "timestamp": "2023-01-08T18:02:03.647787998-06:00",
        "version": 1,
        "statements": [
            {
                "vulnerability": {"name": "CVE-2014-123456"},
                "products": [{"@id": "pkg:apk/distro/git@2.39.0-r1?arch=armv7"}], "status": "fixed",
            },
        ],
    },
    "provenance": json.loads(statement.encode((Subject("x", {"sha256": "0"}),), "p", provenance(FACTS)))["predicate"],
}  # fmt: skip


def signed(kind: str, key: SigningKey, predicate: Any = None, digest: str = D) -> bytes:
    of = kind_of(kind)
    said = evidence.read_predicate(of, json.dumps(predicate or PREDICATES[kind]).encode())
    return dsse.sign(evidence.encode(of, "model", digest, said), [key])


def reason(envelope: bytes, digest: str = D) -> str:
    with pytest.raises(Rejected) as error:
        evidence.verify(envelope, digest, ENTITLED)
    return error.value.code


@pytest.mark.parametrize("kind", KINDS)
def test_the_installation_may_say_everything_and_what_is_read_is_what_was_written(kind: str):
    found = evidence.verify(signed(kind, OWN), D, ENTITLED)
    assert found.kind.name == kind
    assert found.signer == OWN.public.id
    payload = json.loads(dsse.verify(signed(kind, OWN), [OWN.public]))
    if kind != "provenance":
        kept = {name: value for name, value in PREDICATES[kind].items() if value != []}
        assert payload["predicate"] == kept
    assert payload["predicateType"] == KINDS[kind].predicate


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("role", "key"), [("scanner", SCANNER), ("tester", TESTER), ("reviewer", REVIEWER)])
def test_everybody_else_says_what_their_role_says_and_nothing_more(kind: str, role: str, key: SigningKey):
    if KINDS[kind].role == role:
        assert evidence.verify(signed(kind, key), D, ENTITLED).signer == key.public.id
    else:
        assert reason(signed(kind, key)) == "signer-unentitled"
    assert reason(signed(kind, STRANGER)) == "signature-wrong"


def test_a_replayed_swapped_or_unknown_attestation_is_refused():
    other = digest_of(b"other")
    assert reason(signed("review", OWN), other) == "subject-other"
    unknown = statement.encode((Subject("m", {"sha256": hex_of(D)}),), "https://example.com/x", {})
    assert reason(dsse.sign(unknown, [OWN])) == "predicate-unknown"
    assert reason(dsse.sign(unknown, [OWN], "text/plain")) == "signature-wrong"
    renamed = statement.encode((Subject("m", {"sha256": hex_of(D)}),), KINDS["review"].predicate, PREDICATES["summary"])
    assert reason(dsse.sign(renamed, [OWN])) == "predicate-malformed"
    assert reason(dsse.sign(b'{"_type":"x","_type":"y"}', [OWN])) == "predicate-malformed"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("review", {"result": "maybe"}),
        ("review", {"more": 1}),
        ("test-result", {"result": "OK"}),
        ("test-result", {"configuration": None}),
        ("summary", {"verificationResult": "passed"}),
        ("summary", {"dependencyLevels": {"a": 1.5}}),
        ("vulnerabilities", {"scanner": {"uri": "x", "result": []}}),
        ("vulnerabilities", {"scanner": {"uri": "x", "db": {"lastUpdate": "2026"}}}),
        ("licences", {"allowed": "yes"}),
        ("vex", {"statements": [{"vulnerability": {"name": "CVE-1"}, "status": "harmless"}]}),
        ("vex", {"statements": [{"status": "fixed"}]}),
    ],
)
def test_predicates_of_another_form_are_refused(kind: str, change: dict[str, Any]):
    with pytest.raises(Rejected) as error:
        evidence.read_predicate(kind_of(kind), json.dumps(PREDICATES[kind] | change).encode())
    assert error.value.code == "predicate-malformed"


def test_a_scanner_without_a_database_says_nothing():
    """`nothing found` needs a database and an explicit empty result: absence is not said by leaving out."""
    bare = {"uri": "x", "db": {"lastUpdate": "2026-01-01T00:00:00Z"}, "result": []}
    assert evidence.read_predicate(
        kind_of("vulnerabilities"), json.dumps(PREDICATES["vulnerabilities"] | {"scanner": bare}).encode()
    )


def test_roles_are_granted_to_keys_and_taken_away(tmp_path: Path):
    grant(tmp_path, "scanner", SCANNER.public)
    grant(tmp_path, "tester", TESTER.public)
    found = entitlements(tmp_path, [OWN.public])
    assert evidence.verify(signed("licences", SCANNER), D, found)
    assert granted(tmp_path) == [("scanner", SCANNER.public.id), ("tester", TESTER.public.id)]
    assert withdraw(tmp_path, "scanner", SCANNER.public.id[:8]) == SCANNER.public.id
    with pytest.raises(Rejected):
        evidence.verify(signed("licences", SCANNER), D, entitlements(tmp_path, [OWN.public]))
    for role in ("builder", "boss"):
        with pytest.raises(UsageError):
            grant(tmp_path, role, SCANNER.public)
    with pytest.raises(UsageError):
        withdraw(tmp_path, "scanner", "")
    with pytest.raises(UsageError, match="did you mean 'review'"):
        kind_of("reviews")
