"""What the evidence about an artifact amounts to: the `context` that a policy's rules judge by.

Pure: attestations that have been verified go in, `Evidence` comes out. Rules:

1. What is not attested is absent (`context has provenance` is false), never empty or good.
2. Of several of one kind: the newest report of each scanner, and of them together the worst; the newest word of each
   reviewer; the worst test result; the strongest isolation, since each of the claims is true of the same bytes.
3. A severity that nobody states counts as critical; an age that cannot be told counts as `UNKNOWN_DAYS`.
4. A scanner's own word that a finding does not matter counts for nothing: VEX of a reviewer does.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from clearance.errors import Refused
from clearance.trust import evidence, vex
from clearance.trust.evidence import (
    Attested,
    Entitlements,
    Finding,
    Licences,
    Review,
    Summary,
    TestResult,
    Vulnerabilities,
)
from clearance.trust.provenance import BUILDER, Provenance
from clearance.trust.refusal import code_of
from clearance.types.digest import Digest

UNKNOWN_DAYS = 36_500
ISOLATION = ("inline", "worker", "process", "sandbox", "uid")  # weakest first
_CRITICAL, _HIGH = 9.0, 7.0  # CVSS v3.1, section 5
_WORDS = {"critical": 9.0, "high": 7.0, "medium": 4.0, "moderate": 4.0, "low": 0.1, "negligible": 0.0, "none": 0.0}
_AND = re.compile(r"\s+AND\s+")
T = TypeVar("T")


class ProvenanceFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who made it, and how; `ours` is true for a builder of this installation."""

    builder: str = ""
    engine: str = ""
    isolation: str = ""
    ours: bool = False
    dag: str = ""
    task: str = ""


class VulnerabilityFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was found and is not excused; ages in days.

    Attributes:
        databaseDays: age of the oldest database that a scanner knew.
        criticalDays: how long the oldest critical finding has been known; -1 without one.
    """

    databaseDays: int = 0
    critical: int = 0
    high: int = 0
    total: int = 0
    criticalDays: int = -1
    ids: tuple[str, ...] = ()
    excused: tuple[str, ...] = ()


class LicenceFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`found`: each licence that must be kept to; an alternative (`MIT OR GPL-2.0-only`) is one entry."""

    allowed: bool = False
    found: tuple[str, ...] = ()


class TestFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`result` is the worst of them."""

    result: str = "FAILED"
    passed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class ReviewFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many keys say yes and no; `reviewers` said yes."""

    approvals: int = 0
    rejections: int = 0
    reviewers: tuple[str, ...] = ()


class SummaryFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What others have verified."""

    passed: bool = False
    verifiers: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The context of a request.

    Attributes:
        signatures: how many signers vouch for it: by provenance, a model signature, or a review that approves. All
            keys of this installation are one.
        signers: their ids.
        refused: codes of attestations that do not hold, and so count for nothing.
    """

    signatures: int = 0
    signers: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    provenance: ProvenanceFacts | UnsetType = UNSET
    vulnerabilities: VulnerabilityFacts | UnsetType = UNSET
    licences: LicenceFacts | UnsetType = UNSET
    tests: TestFacts | UnsetType = UNSET
    review: ReviewFacts | UnsetType = UNSET
    summary: SummaryFacts | UnsetType = UNSET


KINDS = ("provenance", "vulnerabilities", "licences", "tests", "review", "summary")
_encoder = msgspec.json.Encoder(order="deterministic")


class Evidence:
    """Facts as Cedar reads them, with a digest by which decisions are remembered.

    Args:
        facts: of the artifact.
        database: digest of the vulnerability database that is in use now; another one makes other evidence.
    """

    def __init__(self, facts: Facts, database: str = "") -> None:
        self.facts = facts
        self.database = database
        self.context = _encoder.encode(facts).decode()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of facts and database, in hexadecimal."""
        return hashlib.sha256(f"{self.database}\0{self.context}".encode()).hexdigest()

    @cached_property
    def present(self) -> frozenset[str]:
        """Names of the kinds that are there; `signatures` when there is one."""
        kinds = {name for name in KINDS if getattr(self.facts, name) is not UNSET}
        return frozenset(kinds | {"signatures"} if self.facts.signatures else kinds)


def verified(
    digest: Digest, envelopes: Iterable[bytes], entitled: Entitlements
) -> tuple[list[Attested], tuple[str, ...]]:
    """Returns the attestations of an artifact that hold, and the codes of those that do not.

    Args:
        digest: of the artifact.
        envelopes: that are stored for it.
        entitled: who may say what.
    """
    found: list[Attested] = []
    refused: set[str] = set()
    for envelope in envelopes:
        try:
            found.append(evidence.verify(envelope, digest, entitled))
        except Refused as error:
            refused.add(code_of(error))
    return found, tuple(sorted(refused))


def gather(
    attested: Sequence[Attested],
    now: datetime.datetime,
    signers: Iterable[str] = (),
    refused: Iterable[str] = (),
    database: str = "",
    own: Iterable[str] = (),
) -> Evidence:
    """Returns what verified attestations amount to. Ages are of `now`: gather anew each day.

    Args:
        attested: verified, about one artifact.
        now: with its time zone.
        signers: ids of keys whose model signatures hold over the artifact.
        refused: codes of attestations that do not hold.
        database: see `Evidence`.
        own: ids of the keys of this installation, the rotated ones too: they are one signer.
    """
    made = list(_of(attested, Provenance))
    reviews = _newest(attested, Review, lambda said: said.reviewedOn, now)
    approving = sorted(signer for signer, said in reviews if said.result == "approved")
    ours = list(own)
    keys = sorted({ours[0] if key in ours else key for key in (*signers, *(key for key, _ in made), *approving)})
    return Evidence(
        Facts(
            signatures=len(keys),
            signers=tuple(keys),
            refused=tuple(sorted(set(refused))),
            provenance=_provenance([said for _, said in made]),
            vulnerabilities=_vulnerabilities(attested, now),
            licences=_licences([said for _, said in _of(attested, Licences)]),
            tests=_tests([said for _, said in _of(attested, TestResult)]),
            review=ReviewFacts(len(approving), len(reviews) - len(approving), tuple(approving)) if reviews else UNSET,
            summary=_summary([said for _, said in _of(attested, Summary)]),
        ),
        database,
    )


def _of(attested: Iterable[Attested], form: type[T]) -> Iterator[tuple[str, T]]:
    return ((each.signer, each.predicate) for each in attested if isinstance(each.predicate, form))


def _newest(attested: Sequence[Attested], form: type[T], at: Any, now: datetime.datetime) -> list[tuple[str, T]]:
    """Returns the last word of each signer; a moment that cannot be told is the first, of equals the later stands."""
    last: dict[str, tuple[datetime.datetime, T]] = {}
    never = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    for signer, said in _of(attested, form):
        moment = vex.moment_of(at(said), now) or never
        if signer not in last or moment >= last[signer][0]:
            last[signer] = (moment, said)
    return [(signer, said) for signer, (_, said) in last.items()]


def _provenance(made: Sequence[Provenance]) -> ProvenanceFacts | UnsetType:
    if not made:
        return UNSET
    found = []
    for each in made:
        build, builder = each.buildDefinition, each.runDetails.builder.id
        engine, _, isolation = builder.removeprefix(f"{BUILDER}/").rpartition("/")
        if isolation != build.internalParameters.isolation:
            isolation = ""
        ours = builder.startswith(f"{BUILDER}/")
        parameters = build.externalParameters
        found.append(ProvenanceFacts(builder, engine, isolation, ours, parameters.dag, parameters.task))
    return max(found, key=lambda each: (each.ours, _strength(each.isolation)))


def _strength(isolation: str) -> int:
    return ISOLATION.index(isolation) if isolation in ISOLATION else -1


def _vulnerabilities(attested: Sequence[Attested], now: datetime.datetime) -> VulnerabilityFacts | UnsetType:
    reports = _newest(attested, Vulnerabilities, lambda said: said.metadata.scanFinishedOn, now)
    if not reports:
        return UNSET
    documents = [said for _, said in _of(attested, vex.Document)]
    standing: list[Finding] = []
    excused: set[str] = set()
    for _, report in reports:
        for finding in report.scanner.result:
            aliases = str(_note(finding, "aliases") or "").split()
            if vex.excuses(documents, [finding.id, *aliases], str(_note(finding, "package") or ""), now):
                excused.add(finding.id)
            else:
                standing.append(finding)
    scores = [(finding, _score(finding)) for finding in standing]
    critical = [finding for finding, score in scores if score >= _CRITICAL]
    return VulnerabilityFacts(
        databaseDays=max(_days(report.scanner.db.lastUpdate, now) for _, report in reports),
        critical=len(critical),
        high=sum(_HIGH <= score < _CRITICAL for _, score in scores),
        total=len(standing),
        criticalDays=max((_days(str(_note(each, "published") or ""), now) for each in critical), default=-1),
        ids=tuple(sorted({finding.id for finding in standing})),
        excused=tuple(sorted(excused)),
    )


def _note(finding: Finding, name: str) -> Any:
    return next((each[name] for each in finding.annotations if name in each), None)


def _score(finding: Finding) -> float:
    """Returns the worst score that is stated; that of a critical one where there is none."""
    known = []
    for each in finding.severity:
        word = each.score.strip().lower()
        if word in _WORDS:
            known.append(_WORDS[word])
        elif re.fullmatch(r"\d{1,2}(\.\d+)?", word):
            known.append(float(word))
    return max(known, default=_CRITICAL)


def _days(text: str, now: datetime.datetime) -> int:
    moment = vex.moment_of(text, now)
    return UNKNOWN_DAYS if moment is None else max(0, (now - moment).days)


def _licences(reports: Sequence[Licences]) -> LicenceFacts | UnsetType:
    if not reports:
        return UNSET
    components = [each for report in reports for each in report.components]
    found = {part for each in components for part in _obligations(each.licence)}
    allowed = all(report.allowed for report in reports) and all(each.allowed for each in components)
    return LicenceFacts(bool(components) and allowed, tuple(sorted(found or {"NOASSERTION"})))


def _obligations(expression: str) -> list[str]:
    """Returns what all must be kept to; what has alternatives stays whole."""
    if "(" in expression or " OR " in expression:
        return [expression]
    return _AND.split(expression.strip() or "NOASSERTION")


def _tests(results: Sequence[TestResult]) -> TestFacts | UnsetType:
    if not results:
        return UNSET
    worst = max((each.result for each in results), key=("PASSED", "WARNED", "FAILED").index)
    return TestFacts(
        worst,
        tuple(sorted({name for each in results for name in each.passedTests})),
        tuple(sorted({name for each in results for name in each.failedTests})),
    )


def _summary(summaries: Sequence[Summary]) -> SummaryFacts | UnsetType:
    if not summaries:
        return UNSET
    levels = set.intersection(*(set(each.verifiedLevels) for each in summaries))
    return SummaryFacts(
        all(each.verificationResult == "PASSED" for each in summaries),
        tuple(sorted({each.verifier.id for each in summaries})),
        tuple(sorted(levels)),
    )
