"""Verifying a bundle: first whom one trusts and the signature, then every file."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearance.errors import MissingExtra, Refused, StoreError
from clearance.store.blobs import open_regular
from clearance.trust import dsse, strict
from clearance.trust.keys import PublicKey, parse_public_key
from clearance.trust.oms.format import IGNORED, Bundle, KeyIdentifier, SignedModel, parse, said
from clearance.trust.oms.hashing import hash_model
from clearance.trust.refusal import Rejected
from clearance.types.digest import Digest

if TYPE_CHECKING:
    from clearance.trust.certificates import Authorities

CHAIN = 8


@dataclass(frozen=True)
class Certified:
    """Trust in whoever a root certifies.

    Attributes:
        authorities: roots, and what they have revoked.
        identity: URI or address that the certificate must name; empty only for certificates that name nobody.
        at: aware time that validity is judged by: the present, or one that the audit log attests.
    """

    authorities: Authorities
    identity: str
    at: datetime.datetime


@dataclass(frozen=True)
class Keyless:
    """Trust in a Sigstore identity, by the trust root that the library ships; no network is used.

    Attributes:
        identity: mail address or URI.
        issuer: of the identity, an address.
    """

    identity: str
    issuer: str


Trust = PublicKey | Certified | Keyless


def key_of(data: bytes, keys: Sequence[PublicKey]) -> PublicKey:
    """Returns the key that a bundle names, or the first where it names none of them: verification refuses that then.

    Raises:
        Rejected: as `format.parse` says.
    """
    named = parse(data).verificationMaterial.publicKey
    hint = named.hint if named is not None else ""
    return next((key for key in keys if hashlib.sha256(key.pem).hexdigest() == hint), keys[0])


def verify(data: bytes, trust: Trust) -> SignedModel:
    """Checks a bundle's signature and its inner consistency.

    Args:
        data: the bundle.
        trust: whom the verifier trusts.

    Raises:
        Rejected: malformed, signed by another, or signed in a way that is not accepted here.
        MissingExtra: a keyless signature, and the extra `trust` is not installed.
    """
    bundle = parse(data)
    if isinstance(trust, PublicKey):
        payload, signer = _by_key(bundle, trust), trust.id
    elif isinstance(trust, Certified):
        payload, signer = _by_certificate(bundle, trust)
    else:
        payload, signer = _keyless(data, bundle, trust), trust.identity
    return said(payload, signer)


def verify_files(data: bytes, trust: Trust, files: dict[str, Digest]) -> SignedModel:
    """Checks that a bundle signs exactly these files.

    Args:
        data: the bundle.
        trust: whom the verifier trusts.
        files: digest by relative path, as computed from the bytes.

    Raises:
        Rejected: as `verify` says, or a file is missing, changed, renamed, swapped, or was never signed.
    """
    signed = verify(data, trust)
    _compare(signed, files)
    return signed


def verify_path(data: bytes, trust: Trust, model: Path, ignore: Collection[str] = ()) -> SignedModel:
    """Hashes a model on disk, a directory or one file, and checks that the bundle signs exactly it.

    Args:
        data: the bundle.
        trust: whom the verifier trusts.
        model: the directory or file.
        ignore: relative paths that the verifier leaves out, besides a signature `model.sig`; those that the signer left
            out count as unsigned otherwise.

    Raises:
        Rejected: as `verify_files` says, or a link, a device, an odd name.
        StoreError: a file cannot be read.
    """
    signed = verify(data, trust)
    left_out = {*ignore, *(() if IGNORED in signed.files else (IGNORED,))}
    if IGNORED in left_out and IGNORED not in ignore:
        _require_signature(model / IGNORED)
    _compare(signed, hash_model(model, left_out))
    return signed


def _require_signature(file: Path) -> None:
    """Checks that what lies there under the name of a signature is one: nothing else hides under it."""
    try:
        with open_regular(file) as opened:
            parse(opened.read(strict.LIMIT + 1))
    except StoreError:
        if file.is_symlink() or file.exists():
            raise Rejected("file-unsigned", f"{IGNORED!r} in the model is no file: remove it", IGNORED) from None
    except Rejected:
        text = f"the file {IGNORED!r} in the model is no signature and was never signed: remove it"
        raise Rejected("file-unsigned", text, IGNORED) from None


def _compare(signed: SignedModel, files: dict[str, Digest]) -> None:
    """Compares what is there with what was signed; the first difference is named, and how many there are."""
    of = f"of the model {signed.name!r}"
    added = {path: digest for path, digest in files.items() if path not in signed.files}
    missing = {path: digest for path, digest in signed.files.items() if path not in files}
    changed = {path: digest for path, digest in files.items() if signed.files.get(path, digest) != digest}
    if not (added or missing or changed):
        return
    count = len(added) + len(missing) + len(changed)
    more = f" ({count} differences)" if count > 1 else ""
    for path, digest in sorted(added.items()):
        for old in sorted(name for name, other in missing.items() if digest == other):
            text = f"the file {old!r} {of} was renamed to {path!r}: name it back{more}"
            raise Rejected("file-renamed", text, path)
    for path, digest in sorted(changed.items()):
        for twin, found in changed.items():
            if twin != path and digest == signed.files[twin] and found == signed.files[path]:
                raise Rejected("files-swapped", f"the files {path!r} and {twin!r} {of} were swapped{more}", path)
    if changed:
        path = min(changed)
        text = f"the file {path!r} {of} was changed after it was signed: restore it or sign again{more}"
        raise Rejected("file-changed", text, path)
    if missing:
        path = min(missing)
        raise Rejected("file-missing", f"the file {path!r} {of} is missing: restore it or sign again{more}", path)
    path = min(added)
    if any(path == each or path.startswith(f"{each}/") for each in signed.ignored):
        text = f"the file {path!r} {of} was left out by its signer: remove it, or leave it out too (--ignore){more}"
        raise Rejected("file-ignored", text, path)
    raise Rejected("file-unsigned", f"the file {path!r} {of} was never signed: remove it or sign again{more}", path)


def _by_key(bundle: Bundle, key: PublicKey) -> bytes:
    identifier = bundle.verificationMaterial.publicKey
    if identifier is None:
        text = "the model was signed with a certificate, and a key is trusted: give a root instead"
        raise Rejected("signer-kind", text)
    _require_key(identifier, key)
    return _opened(bundle, key)


def _by_certificate(bundle: Bundle, trust: Certified) -> tuple[bytes, str]:
    from clearance.trust.certificates import parse_certificate, verify_chain

    chain = bundle.verificationMaterial.x509CertificateChain
    if chain is None:
        raise Rejected("signer-kind", "the model was not signed with a certificate chain, and roots are trusted")
    if not 1 <= len(chain.certificates) <= CHAIN:
        raise Rejected("bundle-malformed", f"the model signature has {len(chain.certificates)} certificates")
    try:
        raw = [strict.decode_base64(each.rawBytes, "certificate") for each in chain.certificates]
    except Refused as error:
        raise Rejected("bundle-malformed", str(error)) from None
    leaf, *between = [parse_certificate(each) for each in raw]
    signer = verify_chain(leaf, between, trust.authorities, trust.at)
    if signer.identity != trust.identity:
        if not trust.identity:
            text = f"the model was signed by {signer.identity}, and nobody was expected: say whom with --identity"
            raise Rejected("identity-unpinned", text, signer.identity)
        text = f"the model was signed by {signer.identity or 'nobody that has a name'}, and not by {trust.identity}"
        raise Rejected("identity-other", text, signer.identity)
    return _opened(bundle, signer.key), signer.identity or signer.key.id


def _keyless(data: bytes, bundle: Bundle, trust: Keyless) -> bytes:
    if bundle.verificationMaterial.certificate is None:
        raise Rejected("signer-kind", "the model was not signed with a Sigstore identity, and one is trusted")
    try:
        from sigstore import models
        from sigstore.errors import Error
        from sigstore.verify import Verifier, policy
    except ImportError:
        raise MissingExtra("sigstore", "trust") from None
    logging.getLogger("sigstore").setLevel(logging.ERROR)  # that it is offline is what was asked for
    try:
        read = models.Bundle.from_json(_modern(data))
        verifier = Verifier.production(offline=True)
        expected = policy.Identity(identity=trust.identity, issuer=trust.issuer)
        kind, payload = verifier.verify_dsse(read, expected)
    except (Error, ValueError, KeyError, TypeError) as error:
        text = f"the Sigstore signature of the model does not hold: {error}; check the identity and its issuer"
        raise Rejected("keyless-refused", text) from None
    if kind != dsse.IN_TOTO:
        raise Rejected("statement-malformed", f"the envelope holds {kind!r} and {dsse.IN_TOTO!r} is expected")
    return bytes(payload)


def _modern(data: bytes) -> bytes:
    """Returns the bundle without a `keyid` that is null, which the library refuses; nothing of it is signed."""
    bundle: Any = json.loads(data)
    for signature in bundle["dsseEnvelope"]["signatures"]:
        if signature.get("keyid", "") is None:
            del signature["keyid"]
    return json.dumps(bundle).encode()


def _opened(bundle: Bundle, key: PublicKey) -> bytes:
    try:
        return dsse.open_envelope(bundle.dsseEnvelope, [key])
    except Refused as error:
        raise Rejected("signature-wrong", str(error)) from None


def _require_key(identifier: KeyIdentifier, key: PublicKey) -> None:
    if identifier.hint:
        same = identifier.hint == hashlib.sha256(key.pem).hexdigest()
    elif identifier.rawBytes:
        try:
            same = parse_public_key(strict.decode_base64(identifier.rawBytes, "public key")).der == key.der
        except Refused as error:
            raise Rejected("bundle-malformed", str(error)) from None
    else:
        same = False
    if not same:
        text = "the model was signed by another key than the one given: check which key its signer uses"
        raise Rejected("key-other", text)
