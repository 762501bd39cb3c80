"""Certificates that sign or that name a client: chains, purposes, times, revocation, and who they are.

Source: RFC 5280; the path is built and checked by `cryptography.x509.verification`. Rules:

1. Roots are given by whoever verifies: never those of the web, never one that travels with what is signed.
2. The time is the present, or one that the audit log attests; never what a certificate says of itself.
3. A signer's certificate is for signing code, a client's for authenticating one, by its extended key usage; any
   authority above it that names purposes must name that one too.
4. Who somebody is stands in exactly one URI or address of the subject's alternative name.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from clearance.errors import Refused
from clearance.trust.keys import PublicKey
from clearance.trust.refusal import Rejected

CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
_PURPOSES = {CODE_SIGNING: "signing", CLIENT: "authenticating a client"}
DEPTH = 4


@dataclass(frozen=True)
class Signer:
    """Whom a valid certificate names: its key, its identity (empty where it has none), and its serial number."""

    key: PublicKey
    identity: str
    serial: int


@dataclass(frozen=True)
class Authorities:
    """Whom a verifier trusts.

    Attributes:
        roots: certificates in which a chain may end.
        revocations: lists of the certificates that an authority has revoked.
    """

    roots: tuple[x509.Certificate, ...]
    revocations: tuple[x509.CertificateRevocationList, ...] = ()


def verify_chain(
    leaf: x509.Certificate,
    between: Sequence[x509.Certificate],
    authorities: Authorities,
    at: datetime.datetime,
    purpose: x509.ObjectIdentifier = CODE_SIGNING,
) -> Signer:
    """Returns whom a certificate names, if a trusted root vouches for it at this time and for this purpose.

    Args:
        leaf: of the signer or client.
        between: certificates of authorities that may stand between it and a root; not trusted by themselves.
        authorities: whom the verifier trusts.
        at: aware time that validity is judged by.
        purpose: object identifier of the extended key usage.

    Raises:
        Rejected: `certificate-expired`, `-early`, `-purpose`, `-foreign`, `-revoked`, `-malformed`.
    """
    name = leaf.subject.rfc4514_string() or f"serial {leaf.serial_number:x}"
    _check_time(leaf, name, at)
    _check_purpose(leaf, name, purpose)
    if not authorities.roots:
        raise Rejected("certificate-foreign", f"the certificate of {name}: no root is trusted: give one", name)
    policy = PolicyBuilder().store(Store(list(authorities.roots))).time(at).max_chain_depth(DEPTH)
    policy = policy.extension_policies(ca_policy=_authority_policy(purpose), ee_policy=_leaf_policy())
    try:
        chain = policy.build_client_verifier().verify(leaf, list(between)).chain
    except (VerificationError, ValueError, UnsupportedAlgorithm) as error:
        for other in between:
            _check_time(other, other.subject.rfc4514_string(), at)
        raise Rejected(
            "certificate-foreign",
            f"the certificate of {name} does not lead to a root that is trusted: {error}; give its root, or ask its "
            "signer for a valid chain",
            name,
        ) from None
    _check_revocation(chain, authorities.revocations, at)
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Rejected("certificate-malformed", f"the certificate of {name} has no elliptic-curve key", name)
    return Signer(PublicKey(key), identity_of(leaf), leaf.serial_number)


def identity_of(certificate: x509.Certificate) -> str:
    """Returns the one URI or mail address that a certificate names; empty where it names none.

    Raises:
        Rejected: `certificate-malformed`: it names several.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    found = [
        *names.get_values_for_type(x509.UniformResourceIdentifier), *names.get_values_for_type(x509.RFC822Name),
    ]  # fmt: skip
    if len(found) > 1:
        raise Rejected("certificate-malformed", f"the certificate names {' and '.join(found)}: exactly one is accepted")
    return str(found[0]) if found else ""


def load_certificates(path: Path) -> list[x509.Certificate]:
    """Reads every certificate of a PEM file.

    Raises:
        Refused: there is none, or one that cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise Refused(f"cannot read the certificate {path}: {error.strerror}") from None
    except ValueError as error:
        raise Refused(f"{path} holds no certificate in PEM: {error}") from None


def load_revocations(path: Path) -> x509.CertificateRevocationList:
    """Reads a list of revoked certificates, PEM.

    Raises:
        Refused: it is none.
    """
    try:
        return x509.load_pem_x509_crl(path.read_bytes())
    except OSError as error:
        raise Refused(f"cannot read the revocation list {path}: {error.strerror}") from None
    except ValueError as error:
        raise Refused(f"{path} holds no revocation list in PEM: {error}") from None


def parse_certificate(der: bytes) -> x509.Certificate:
    """Reads a certificate, DER.

    Raises:
        Rejected: `certificate-malformed`.
    """
    try:
        found = x509.load_der_x509_certificate(der)
        _ = found.extensions
        _ = found.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise Rejected("certificate-malformed", f"a certificate cannot be read: {error}; ask its signer") from None
    return found


def _check_time(certificate: x509.Certificate, name: str, at: datetime.datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if at > end:
        raise Rejected(
            "certificate-expired",
            f"the certificate of {name} ended {end:%Y-%m-%d %H:%M} UTC: sign again, or prove when it was signed with "
            "the audit log",
            name,
        )
    if at < begin:
        raise Rejected(
            "certificate-early", f"the certificate of {name} begins {begin:%Y-%m-%d %H:%M} UTC: check the clock", name
        )


def _check_purpose(leaf: x509.Certificate, name: str, purpose: x509.ObjectIdentifier) -> None:
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        signs = leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        usages, signs = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False
    if purpose not in usages or not signs:
        raise Rejected(
            "certificate-purpose",
            f"the certificate of {name} is not for {_PURPOSES[purpose]}: have one issued with that extended key usage",
            name,
        )


def _check_revocation(
    chain: Sequence[x509.Certificate],
    revocations: Iterable[x509.CertificateRevocationList],
    at: datetime.datetime,
) -> None:
    for each in revocations:
        for certificate, issuer in itertools.pairwise(chain):
            if each.issuer != issuer.subject:
                continue
            key = issuer.public_key()
            try:
                valid = each.is_signature_valid(key)  # type: ignore[arg-type]
            except (TypeError, InvalidSignature, UnsupportedAlgorithm):
                valid = False
            if not valid:
                raise Rejected("revocations-foreign", f"the revocations of {each.issuer.rfc4514_string()} are forged")
            if each.next_update_utc is not None and at > each.next_update_utc:
                raise Rejected(
                    "revocations-stale",
                    f"the revocation list of {each.issuer.rfc4514_string()} ended {each.next_update_utc:%Y-%m-%d}: "
                    "fetch a fresh one from the authority",
                )
            if each.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
                name = certificate.subject.rfc4514_string()
                raise Rejected(
                    "certificate-revoked", f"the certificate of {name} was revoked: have a new one sign again", name
                )


def _authority_policy(purpose: x509.ObjectIdentifier) -> ExtensionPolicy:
    def signs(_: verification.Policy, __: x509.Certificate, usage: x509.KeyUsage) -> None:
        if not usage.key_cert_sign:
            raise ValueError("an authority's key is not for signing certificates")

    def is_authority(_: verification.Policy, __: x509.Certificate, constraints: x509.BasicConstraints) -> None:
        if not constraints.ca:
            raise ValueError("a certificate in the chain is no authority's")

    def for_purpose(_: verification.Policy, __: x509.Certificate, usages: x509.ExtendedKeyUsage | None) -> None:
        if usages is not None and purpose not in usages and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usages:
            raise ValueError("an authority in the chain is for other purposes")

    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, is_authority)
        .require_present(x509.KeyUsage, Criticality.AGNOSTIC, signs)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, for_purpose)
    )


def _leaf_policy() -> ExtensionPolicy:
    return ExtensionPolicy.permit_all()
