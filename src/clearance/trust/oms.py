"""OpenSSF Model Signing v1.0: a signature over the digests of all files of a model.

Source: https://github.com/ossf/model-signing-spec (schemas v1.0). A bundle is a Sigstore bundle v0.3 that holds a
DSSE envelope with an in-toto statement: one resource a file, sorted by name, and a subject whose digest is the SHA-256
over the resources' digests in that order. Only elliptic-curve keys are used here, and only whole files (`files`,
SHA-256). Bundles of the reference signer from v0.3.1 (which carry the key itself) and v1.1.0 (which carry a hint)
verify. A bundle is written from known digests: no file is read to sign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from clearance.errors import Refused
from clearance.store.blobs import chunks, open_regular
from clearance.store.tree import Manifest
from clearance.trust import dsse, statement, strict
from clearance.trust.keys import PublicKey, SigningKey, parse_public_key
from clearance.trust.statement import Subject
from clearance.types.digest import Digest, hex_of

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE = "https://model_signing/signature/v1.0"
IGNORED = "model.sig"


class KeyIdentifier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which key: `hint` is the SHA-256 of its PEM (v1.1.0); `rawBytes` is the PEM in base64 (v1.0.0)."""

    hint: str = ""
    rawBytes: str = ""
    keyDetails: str = ""


class VerificationMaterial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to verify: by a key that the verifier holds already."""

    publicKey: KeyIdentifier
    tlogEntries: tuple[()] = ()


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
        ignored: relative paths that were left out.
    """

    name: str
    digest: Digest
    files: dict[str, Digest]
    ignored: tuple[str, ...] = ()


_encoder = msgspec.json.Encoder()


def files_of(manifest: Manifest) -> dict[str, Digest]:
    """Returns digest by path."""
    return {entry.path: entry.digest for entry in manifest.entries}


def sign(name: str, files: dict[str, Digest], key: SigningKey) -> bytes:
    """Signs a model by the digests of its files.

    Args:
        name: of the model.
        files: digest by relative POSIX path.
        key: the signer's.

    Returns:
        The bundle: what `model_signing verify key` takes as `--signature`.

    Raises:
        Refused: a model without files.
    """
    if not files:
        raise Refused(f"the model {name!r} has no files: there is nothing to sign")
    resources = tuple(Resource(path, hex_of(digest)) for path, digest in sorted(files.items()))
    ignored = () if IGNORED in files else (IGNORED,)
    predicate = Predicate(Serialization("files", "sha256", False, ignored), resources)
    subject = Subject(name, {"sha256": hex_of(_root(resources))})
    envelope = dsse.seal(statement.encode((subject,), PREDICATE, _as_json(predicate)), [key])
    signatures = tuple(dsse.Signature(signature.sig, "") for signature in envelope.signatures)
    material = VerificationMaterial(KeyIdentifier(hashlib.sha256(key.public.pem).hexdigest()))
    return _encoder.encode(Bundle(MEDIA_TYPE, material, msgspec.structs.replace(envelope, signatures=signatures)))


def key_of(data: bytes, keys: Sequence[PublicKey]) -> PublicKey:
    """Returns the key that a bundle names, or the first where it names none of them: verification refuses that then.

    Raises:
        Refused: malformed.
    """
    hint = strict.decode(data, Bundle, "model signature").verificationMaterial.publicKey.hint
    return next((key for key in keys if hashlib.sha256(key.pem).hexdigest() == hint), keys[0])


def verify(data: bytes, key: PublicKey) -> SignedModel:
    """Checks a bundle's signature and its inner consistency.

    Raises:
        Refused: malformed, signed by another key, or signed in a way that is not accepted here.
    """
    bundle = strict.decode(data, Bundle, "model signature")
    if bundle.mediaType != MEDIA_TYPE:
        raise Refused(f"the model signature is a {bundle.mediaType!r} and {MEDIA_TYPE!r} is expected")
    _require_key(bundle.verificationMaterial.publicKey, key)
    if len(bundle.dsseEnvelope.signatures) != 1:
        raise Refused("the model signature has several signatures: exactly one is accepted")
    payload = dsse.open_envelope(bundle.dsseEnvelope, [key])
    subjects, predicate = statement.decode(payload, PREDICATE, Predicate)
    if len(subjects) != 1:
        raise Refused("the model signature names several models: exactly one is accepted")
    files: dict[str, Digest] = {}
    for resource in predicate.resources:
        if resource.name in files:
            raise Refused(f"the model signature names the file {resource.name!r} twice")
        if len(resource.digest) != 64 or set(resource.digest) - set("0123456789abcdef"):
            raise Refused(f"the model signature has no SHA-256 for the file {resource.name!r}")
        files[resource.name] = Digest("sha256:" + resource.digest)
    root = _root(predicate.resources)
    statement.require_subject(subjects, root)
    return SignedModel(subjects[0].name, root, files, predicate.serialization.ignore_paths)


def verify_files(data: bytes, key: PublicKey, files: dict[str, Digest]) -> SignedModel:
    """Checks that a bundle signs exactly these files.

    Args:
        data: the bundle.
        key: the signer's.
        files: digest by relative path, as computed from the bytes.

    Raises:
        Refused: as `verify` says, or a file is missing, changed, or was never signed.
    """
    signed = verify(data, key)
    for path, digest in files.items():
        if path not in signed.files:
            raise Refused(f"the file {path!r} of the model {signed.name!r} was never signed: remove it or sign again")
        if signed.files[path] != digest:
            raise Refused(f"the file {path!r} of the model {signed.name!r} was changed after it was signed")
    if missing := sorted(signed.files.keys() - files.keys()):
        raise Refused(f"the file {missing[0]!r} of the model {signed.name!r} is missing: restore it or sign again")
    return signed


def verify_path(data: bytes, key: PublicKey, model: Path) -> SignedModel:
    """Hashes a model on disk, a directory or one file, and checks that the bundle signs exactly it.

    Raises:
        Refused: as `verify_files` says, or a symbolic link.
        StoreError: a file cannot be read.
    """
    signed = verify(data, key)
    ignored = [model / name for name in signed.ignored]
    found: dict[str, Digest] = {}
    for path in _walk(model):
        if not any(path.is_relative_to(other) for other in ignored):
            found[path.relative_to(model).as_posix()] = _hash(path)
    return verify_files(data, key, found)


def _as_json(predicate: Predicate) -> object:
    return msgspec.to_builtins(predicate) | {
        "resources": [{"name": item.name, "digest": item.digest, "algorithm": "sha256"} for item in predicate.resources]
    }


def _root(resources: Iterable[Resource]) -> Digest:
    sha256 = hashlib.sha256()
    for resource in resources:
        sha256.update(bytes.fromhex(resource.digest))
    return Digest("sha256:" + sha256.hexdigest())


def _require_key(identifier: KeyIdentifier, key: PublicKey) -> None:
    if identifier.hint:
        if identifier.hint != hashlib.sha256(key.pem).hexdigest():
            raise Refused("the model was signed by another key than the one given: check which key its signer uses")
    elif not identifier.rawBytes or (
        parse_public_key(strict.decode_base64(identifier.rawBytes, "public key")).der != key.der
    ):
        raise Refused("the model signature names another key than the one given: check which key its signer uses")


def _walk(model: Path) -> Iterable[Path]:
    if model.is_symlink():
        raise Refused(f"{model} is a symbolic link: a signed model holds files only")
    if not model.is_dir():
        yield model
        return
    for path in sorted(model.iterdir()):
        yield from _walk(path)


def _hash(path: Path) -> Digest:
    sha256 = hashlib.sha256()
    with open_regular(path) as file:
        for chunk in chunks(file):
            sha256.update(chunk)
    return Digest("sha256:" + sha256.hexdigest())
