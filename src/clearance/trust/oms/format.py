"""The bundle, the statement and the predicate as strict structs, and what a signed payload says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from clearance.errors import Refused
from clearance.trust import dsse, statement, strict
from clearance.trust.refusal import Rejected
from clearance.types.digest import Digest

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE = "https://model_signing/signature/v1.0"
IGNORED = "model.sig"
WHOLE = "."  # the name of the one file of a model that is a file


class KeyIdentifier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which key: `hint` is the SHA-256 of its PEM (v1.1.0); `rawBytes` is the PEM in base64 (v1.0.0)."""

    hint: str = ""
    rawBytes: str = ""
    keyDetails: str = ""


class CertificateBytes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate in DER, base64."""

    rawBytes: str


class CertificateChain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signer's certificate, then those of authorities up to a root, which may be left out."""

    certificates: tuple[CertificateBytes, ...]


class VerificationMaterial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How to verify: exactly one of the first three. The rest belongs to keyless signatures, which a library reads."""

    publicKey: KeyIdentifier | None = None
    x509CertificateChain: CertificateChain | None = None
    certificate: CertificateBytes | None = None
    tlogEntries: tuple[dict[str, Any], ...] = ()
    timestampVerificationData: dict[str, Any] | None = None


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file `model.sig`."""

    mediaType: str
    verificationMaterial: VerificationMaterial
    dsseEnvelope: dsse.Envelope


class Resource(msgspec.Struct, frozen=True):
    """One file; `digest` in hexadecimal. Further fields are allowed by the specification."""

    name: str
    digest: str
    algorithm: Literal["sha256"] = "sha256"


class Serialization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How files were listed and hashed."""

    method: Literal["files"]
    hash_type: Literal["sha256"]
    allow_symlinks: bool
    ignore_paths: tuple[str, ...] = ()


class Predicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed of the model."""

    serialization: Serialization
    resources: tuple[Resource, ...]


class SignedModel(msgspec.Struct, frozen=True):
    """What a verified bundle says.

    Attributes:
        name: of the model, as its signer called it.
        digest: over all files.
        files: digest by relative path; the path `.` alone stands for a model that is one file.
        ignored: relative paths that the signer left out.
        signer: id of the key, or the identity of the certificate.
    """

    name: str
    digest: Digest
    files: dict[str, Digest]
    ignored: tuple[str, ...] = ()
    signer: str = ""


def parse(data: bytes) -> Bundle:
    """Reads a bundle; nothing of it is verified.

    Raises:
        Rejected: `bundle-malformed`, `bundle-media-type`, `bundle-signatures`.
    """
    try:
        bundle = strict.decode(data, Bundle, "model signature")
    except Refused as error:
        raise Rejected("bundle-malformed", str(error)) from None
    if bundle.mediaType != MEDIA_TYPE:
        raise Rejected(
            "bundle-media-type", f"the model signature is a {bundle.mediaType!r} and {MEDIA_TYPE!r} is expected"
        )
    material = bundle.verificationMaterial
    given = (material.publicKey, material.x509CertificateChain, material.certificate)
    if sum(each is not None for each in given) != 1:
        raise Rejected("bundle-malformed", "the model signature must name one key or one certificate, not several")
    if material.certificate is None and (material.tlogEntries or material.timestampVerificationData):
        raise Rejected("bundle-malformed", "the model signature is by a key or certificate, and has entries of a log")
    if len(bundle.dsseEnvelope.signatures) != 1:
        raise Rejected(
            "bundle-signatures",
            "the model signature has several signatures: one is accepted, sign twice instead",
        )
    return bundle


def said(payload: bytes, signer: str) -> SignedModel:
    """Returns what a payload says whose signature was verified.

    Raises:
        Rejected: `statement-malformed`, `file-twice`, `path-unsafe`, `root-mismatch`.
    """
    try:
        subjects, predicate = statement.decode(payload, PREDICATE, Predicate)
    except Refused as error:
        raise Rejected("statement-malformed", str(error)) from None
    if len(subjects) != 1:
        raise Rejected("statement-malformed", "the model signature names several models: exactly one is accepted")
    files: dict[str, Digest] = {}
    for resource in predicate.resources:
        name = resource.name
        if name in files:
            raise Rejected("file-twice", f"the model signature names the file {name!r} twice", name)
        if not is_safe(name) and (name != WHOLE or len(predicate.resources) > 1):
            raise Rejected("path-unsafe", f"the model signature names {name!r}: a name is a plain relative path", name)
        if len(resource.digest) != 64 or set(resource.digest) - set("0123456789abcdef"):
            raise Rejected("statement-malformed", f"the model signature has no SHA-256 for the file {name!r}", name)
        files[name] = Digest("sha256:" + resource.digest)
    root = root_of(predicate.resources)
    try:
        statement.require_subject(subjects, root)
    except Refused as error:
        raise Rejected("root-mismatch", str(error)) from None
    return SignedModel(subjects[0].name, root, files, predicate.serialization.ignore_paths, signer)


def root_of(resources: Iterable[Resource]) -> Digest:
    """Returns the digest over the digests of all files, in the order given."""
    sha256 = hashlib.sha256()
    for resource in resources:
        sha256.update(bytes.fromhex(resource.digest))
    return Digest("sha256:" + sha256.hexdigest())


def is_safe(name: str) -> bool:
    """True for a relative path with `/` between parts, none of them empty, `.` or `..`, and no NUL or backslash."""
    parts = name.split("/")
    return bool(name) and not {"", ".", ".."}.intersection(parts) and "\0" not in name and "\\" not in name
