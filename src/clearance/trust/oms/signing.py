"""Signing a model by the digests of its files, with a key or with a certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from clearance.errors import Refused
from clearance.store.tree import Manifest
from clearance.trust import dsse, statement
from clearance.trust.keys import SigningKey
from clearance.trust.oms.format import (
    IGNORED,
    MEDIA_TYPE,
    PREDICATE,
    Bundle,
    CertificateBytes,
    CertificateChain,
    KeyIdentifier,
    Predicate,
    Resource,
    Serialization,
    VerificationMaterial,
    root_of,
)
from clearance.trust.statement import Subject
from clearance.trust.strict import encode_base64
from clearance.types.digest import Digest, hex_of

if TYPE_CHECKING:
    from cryptography import x509

_encoder = msgspec.json.Encoder()


def files_of(manifest: Manifest) -> dict[str, Digest]:
    """Returns digest by path."""
    return {entry.path: entry.digest for entry in manifest.entries}


def sign(
    name: str,
    files: dict[str, Digest],
    key: SigningKey,
    chain: Sequence[x509.Certificate] = (),
    ignored: Sequence[str] = (),
) -> bytes:
    """Signs a model by the digests of its files.

    Args:
        name: of the model.
        files: digest by relative POSIX path.
        key: the signer's.
        chain: the signer's certificate and those of the authorities above it, where verifiers trust a root and not
            the key itself.
        ignored: relative paths that were left out, besides the signature itself.

    Returns:
        The bundle: what `model_signing verify key|certificate` takes as `--signature`.

    Raises:
        Refused: a model without files, or a certificate of another key.
    """
    if not files:
        raise Refused(f"the model {name!r} has no files: there is nothing to sign")
    resources = tuple(Resource(path, hex_of(digest)) for path, digest in sorted(files.items()))
    left_out = tuple(sorted({*ignored, *(() if IGNORED in files else (IGNORED,))}))
    predicate = Predicate(Serialization("files", "sha256", False, left_out), resources)
    subject = Subject(name, {"sha256": hex_of(root_of(resources))})
    envelope = dsse.seal(statement.encode((subject,), PREDICATE, _as_json(predicate)), [key])
    signatures = tuple(dsse.Signature(signature.sig, "") for signature in envelope.signatures)
    material = _material(key, chain)
    bundle = Bundle(MEDIA_TYPE, material, msgspec.structs.replace(envelope, signatures=signatures))
    said = msgspec.to_builtins(bundle)
    said["verificationMaterial"]["tlogEntries"] = []  # Sigstore's readers ask for it
    return _encoder.encode(said)


def _material(key: SigningKey, chain: Sequence[x509.Certificate]) -> VerificationMaterial:
    if not chain:
        return VerificationMaterial(KeyIdentifier(hashlib.sha256(key.public.pem).hexdigest()))
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    of_first = chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if of_first != key.public.der:
        raise Refused("the first certificate is of another key than the one that signs: give the signer's own first")
    certificates = tuple(CertificateBytes(encode_base64(each.public_bytes(Encoding.DER))) for each in chain)
    return VerificationMaterial(x509CertificateChain=CertificateChain(certificates))


def _as_json(predicate: Predicate) -> object:
    return msgspec.to_builtins(predicate) | {
        "resources": [{"name": item.name, "digest": item.digest, "algorithm": "sha256"} for item in predicate.resources]
    }
