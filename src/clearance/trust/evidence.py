"""What is attested of an artifact besides its provenance, and who is entitled to say it.

| predicate | type | who may sign it |
|---|---|---|
| SLSA provenance v1 | `https://slsa.dev/provenance/v1` | the installation (`builder`) |
| model signature | `https://model_signing/signature/v1.0` | the installation, whoever verifiers trust |
| vulnerability report | `https://in-toto.io/attestation/vulns/v0.2` | scanners |
| test or evaluation result | `https://in-toto.io/attestation/test-result/v0.1` | testers |
| licence report | `https://clearance.dev/attestation/licences/v1` | scanners |
| review | `https://clearance.dev/attestation/review/v1` | reviewers |
| verification summary | `https://slsa.dev/verification_summary/v1` | verifiers |
| why a vulnerability does not matter | `https://openvex.dev/ns/v0.2.0` | reviewers |

Sources: https://slsa.dev/spec/v1.2, https://github.com/in-toto/attestation/tree/main/spec/predicates. Strict structs: a
field that the format does not name is refused, as is a predicate type that stands in no row. The installation may say
everything; everybody else what `Entitlements` grants: a scanner cannot sign provenance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from clearance.errors import Refused, UsageError, nearest
from clearance.trust import dsse, statement, strict
from clearance.trust.provenance import PREDICATE as PROVENANCE
from clearance.trust.provenance import Provenance
from clearance.trust.refusal import Rejected
from clearance.trust.statement import Statement, Subject
from clearance.trust.vex import VEX, Document
from clearance.types.digest import Digest, hex_of

if TYPE_CHECKING:
    from clearance.trust.keys import PublicKey

VULNERABILITIES = "https://in-toto.io/attestation/vulns/v0.2"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
LICENCES = "https://clearance.dev/attestation/licences/v1"
REVIEW = "https://clearance.dev/attestation/review/v1"
SUMMARY = "https://slsa.dev/verification_summary/v1"


class Described(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An in-toto resource descriptor: at least one of its name, its address and its digests."""

    name: str = ""
    uri: str = ""
    digest: dict[str, str] = {}
    mediaType: str = ""
    annotations: dict[str, Any] = {}


class TestResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What tests or an evaluation found; `configuration` is what was run."""

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: tuple[Described, ...]
    url: str = ""
    passedTests: tuple[str, ...] = ()
    warnedTests: tuple[str, ...] = ()
    failedTests: tuple[str, ...] = ()


class Severity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How bad a vulnerability is, by some method (`cvss_v3`, `nvd`)."""

    method: str
    score: str


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One vulnerability."""

    id: str
    severity: tuple[Severity, ...] = ()
    annotations: tuple[dict[str, Any], ...] = ()


class ScannerDatabase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a scanner knew; `lastUpdate` in RFC 3339."""

    lastUpdate: str
    uri: str = ""
    version: str = ""


class Scanner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who scanned, and what it found: nothing means an empty `result`, which must be said."""

    uri: str
    result: tuple[Finding, ...]
    db: ScannerDatabase
    version: str = ""


class ScanMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When it was scanned, RFC 3339."""

    scanStartedOn: str
    scanFinishedOn: str


class Vulnerabilities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vulnerability report."""

    scanner: Scanner
    metadata: ScanMetadata


class Licensed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Under which licence a component is: an SPDX expression, or `NOASSERTION` where that is not known."""

    name: str
    licence: str
    version: str = ""
    allowed: bool = False


class Licences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A licence report; `allowed` is what the policy that was asked said of all of it together."""

    components: tuple[Licensed, ...]
    allowed: bool
    policy: Described


class Review(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A person has looked at it, and says yes or no; `reviewedOn` in RFC 3339."""

    reviewer: str
    result: Literal["approved", "rejected"]
    reviewedOn: str
    comment: str = ""


class Verifier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who verified."""

    id: str
    version: dict[str, str] = {}


class Summary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A verification summary (VSA): somebody has checked the evidence so that others need not; times in RFC 3339."""

    verifier: Verifier
    timeVerified: str
    resourceUri: str
    policy: Described
    verificationResult: Literal["PASSED", "FAILED"]
    verifiedLevels: tuple[str, ...]
    inputAttestations: tuple[Described, ...] = ()
    dependencyLevels: dict[str, int] = {}
    slsaVersion: str = ""


class Kind(msgspec.Struct, frozen=True):
    """A kind of attestation: its name here, its predicate type, its form, and the role that may sign it."""

    name: str
    predicate: str
    form: type[Any]
    role: str


KINDS = {
    each.name: each
    for each in (
        Kind("provenance", PROVENANCE, Provenance, "builder"),
        Kind("vulnerabilities", VULNERABILITIES, Vulnerabilities, "scanner"),
        Kind("test-result", TEST_RESULT, TestResult, "tester"),
        Kind("licences", LICENCES, Licences, "scanner"),
        Kind("review", REVIEW, Review, "reviewer"),
        Kind("summary", SUMMARY, Summary, "verifier"),
        Kind("vex", VEX, Document, "reviewer"),
    )
}
ROLES = tuple(dict.fromkeys(kind.role for kind in KINDS.values()))
_BY_PREDICATE = {kind.predicate: kind for kind in KINDS.values()}


class Entitlements:
    """Who may say what: keys by role.

    Args:
        own: keys of this installation, which may say everything.
        others: keys of others, by role of `ROLES`.

    Raises:
        UsageError: a role that does not exist; `builder` belongs to the installation alone.
    """

    def __init__(self, own: Sequence[PublicKey], others: Mapping[str, Sequence[PublicKey]] | None = None) -> None:
        for role in others or {}:
            if role not in ROLES or role == "builder":
                near = nearest(role, ROLES)
                raise UsageError(f"{role!r} cannot be granted{near}: use {', '.join(ROLES[1:])}")
        self._own = list(own)
        self._others = {role: list(keys) for role, keys in (others or {}).items()}

    def of(self, role: str) -> list[PublicKey]:
        """Returns the keys that may sign what a role says."""
        return [*self._own, *self._others.get(role, ())]

    def all(self) -> list[PublicKey]:
        """Returns every key that may sign anything."""
        return [*self._own, *(key for keys in self._others.values() for key in keys)]


class Attested(msgspec.Struct, frozen=True):
    """What a verified attestation says, of which digests (hexadecimal), and the id of the key that signed it."""

    kind: Kind
    predicate: Any
    subjects: tuple[Subject, ...]
    signer: str


def kind_of(name: str) -> Kind:
    """Returns a kind by its name here.

    Raises:
        UsageError: there is none.
    """
    if name not in KINDS:
        raise UsageError(f"{name!r} is no kind of attestation{nearest(name, KINDS)}: use {', '.join(KINDS)}")
    return KINDS[name]


def encode(kind: Kind, name: str, digest: Digest, predicate: Any) -> bytes:
    """Returns the statement that is to be signed.

    Args:
        kind: of attestation.
        name: of the subject, for people.
        digest: of the subject.
        predicate: an instance of the kind's form.
    """
    return statement.encode((Subject(name, {"sha256": hex_of(digest)}),), kind.predicate, predicate)


def read_predicate(kind: Kind, data: bytes) -> Any:
    """Reads a predicate that somebody wrote.

    Raises:
        Rejected: `predicate-malformed`.
    """
    try:
        return strict.decode(data, kind.form, f"predicate of kind {kind.name!r}")
    except Refused as error:
        raise Rejected("predicate-malformed", str(error)) from None


def verify(envelope: bytes, digest: Digest, entitled: Entitlements) -> Attested:
    """Returns what an attestation says of an artifact, if whoever signed it may say so.

    Raises:
        Rejected: `signature-wrong`, `predicate-unknown`, `signer-unentitled`, `predicate-malformed`, `subject-other`.
    """
    try:
        payload = dsse.verify(envelope, entitled.all())
    except Refused as error:
        raise Rejected("signature-wrong", str(error)) from None
    try:
        kind = _BY_PREDICATE.get(strict.decode(payload, Statement, "statement").predicateType)
    except Refused as error:
        raise Rejected("predicate-malformed", str(error)) from None
    if kind is None:
        raise Rejected("predicate-unknown", "the statement's predicate type is not known here: it counts for nothing")
    signer = next((key for key in entitled.of(kind.role) if _signed_by(envelope, key)), None)
    if signer is None:
        raise Rejected(
            "signer-unentitled", f"whoever signed this may not say {kind.name!r}: that is for a {kind.role}", kind.name
        )
    try:
        subjects, predicate = statement.decode(payload, kind.predicate, kind.form)
    except Refused as error:
        raise Rejected("predicate-malformed", str(error)) from None
    try:
        statement.require_subject(subjects, digest)
    except Refused as error:
        raise Rejected("subject-other", str(error)) from None
    return Attested(kind, predicate, subjects, signer.id)


def _signed_by(envelope: bytes, key: PublicKey) -> bool:
    try:
        dsse.verify(envelope, [key])
    except Refused:
        return False
    return True
