"""What `clearance trust sign|verify` do: where keys, files and signatures are, and whom one trusts."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearance.cli.output import count
from clearance.errors import Refused, UsageError

if TYPE_CHECKING:
    from clearance.settings import Settings
    from clearance.trust.certificates import Authorities
    from clearance.trust.keys import PublicKey, SigningKey
    from clearance.trust.oms.verifying import Trust
    from clearance.types.digest import Digest


@dataclass(frozen=True)
class Chosen:
    """The options of `clearance trust verify`, as it documents them."""

    signature: Path | None
    keys: tuple[Path, ...]
    roots: tuple[Path, ...]
    revocations: tuple[Path, ...]
    identity: str
    issuer: str
    ignore: tuple[str, ...]
    signed_at: Path | None
    log_key: Path | None


def sign_model(
    path: Path | None,
    artifact: tuple[str, str] | None,
    key_file: Path | None,
    chain_file: Path | None,
    name: str,
    ignore: tuple[str, ...],
    output: Path | None,
) -> None:
    """Signs a directory, a file or a stored model, writes the bundle, and enters that into the audit log."""
    from clearance.cli.user import tell
    from clearance.run.host.credentials import Record
    from clearance.settings import load
    from clearance.trust import oms
    from clearance.trust.certificates import load_certificates
    from clearance.types.digest import digest_of

    if (path is None) == (artifact is None):
        raise UsageError("say what to sign: PATH, or --artifact RUN TASK")
    settings = load()
    settings.make_home()
    if path is not None:
        output = output or signature_file(path)
        files = oms.hash_model(path, {*ignore, oms.IGNORED})
        name = name or path.absolute().name
    else:
        assert artifact is not None
        if output is None:
            raise UsageError("say where to write the signature of a stored model: --output PATH")
        files = _stored(settings, *artifact)
        name = name or "/".join(artifact)
    if output.exists():
        raise UsageError(f"{output} is there already: choose another --output, two signatures are two files")
    key = signing_key(settings, key_file)
    chain = load_certificates(chain_file) if chain_file else []
    bundle = oms.sign(name, files, key, chain, ignore)
    output.write_bytes(bundle)
    details = {"name": name, "envelope": digest_of(bundle), "key": key.public.id, "files": len(files)}
    tell(Record("bundle.signed", _root(bundle, key.public), details))
    click.echo(f"wrote {output}: {count(len(files), 'file')}, by key {key.public.id[:16]}")


def verify_model(path: Path, chosen: Chosen) -> dict[str, Any]:
    """Returns whether a model holds: `holds`, and `name`, `files`, `signer`, or `code`, `file`, `reason`."""
    from clearance.settings import load
    from clearance.trust import oms
    from clearance.trust.refusal import Rejected, code_of

    file = chosen.signature or signature_file(path)
    try:
        bundle = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the signature {file}: {error.strerror}; say where it is: --signature") from None
    settings = load()
    try:
        trusted = _trust(settings, bundle, chosen)
        try:
            signed = oms.verify_path(bundle, trusted, path, chosen.ignore)
        except Rejected as error:
            if error.code != "certificate-expired" or chosen.signed_at or not isinstance(trusted, oms.Certified):
                raise
            signed = oms.verify_path(bundle, replace(trusted, at=_recorded(settings, bundle)), path, chosen.ignore)
    except Refused as error:
        about = error.subject if isinstance(error, Rejected) else ""
        return {"holds": False, "code": code_of(error), "file": about, "reason": str(error)}
    told = {"name": signed.name, "files": len(signed.files), "signer": signed.signer, "digest": signed.digest}
    return {"holds": True} | told


def signature_file(path: Path) -> Path:
    """Returns where the signature of a model lies by default."""
    return path / "model.sig" if path.is_dir() else path.with_name(path.name + ".sig")


def _trust(settings: Settings, bundle: bytes, chosen: Chosen) -> Trust:
    from clearance.trust import oms
    from clearance.trust.attest import Attestor
    from clearance.trust.keys import load_public_key
    from clearance.trust.oms.format import parse

    kinds = [bool(each) for each in (chosen.keys, chosen.roots, chosen.issuer)]
    if sum(kinds) > 1:
        raise UsageError("say one: --key, --root or --issuer")
    if chosen.issuer:
        if not chosen.identity:
            raise UsageError("--issuer needs --identity: whom you expect")
        return oms.Keyless(chosen.identity, chosen.issuer)
    material = parse(bundle).verificationMaterial
    if chosen.roots or (material.x509CertificateChain is not None and not chosen.keys):
        return oms.Certified(_authorities(settings, chosen), chosen.identity, _moment(bundle, chosen))
    if chosen.keys:
        return oms.key_of(bundle, [load_public_key(file) for file in chosen.keys])
    return oms.key_of(bundle, Attestor(settings.home, settings.key_passphrase).verifiers())


def _authorities(settings: Settings, chosen: Chosen) -> Authorities:
    from clearance.trust.authority import Authority
    from clearance.trust.certificates import Authorities, load_certificates, load_revocations

    if not chosen.roots:
        return Authority(settings.home).authorities()
    roots = [each for file in chosen.roots for each in load_certificates(file)]
    return Authorities(tuple(roots), tuple(load_revocations(file) for file in chosen.revocations))


def _recorded(settings: Settings, bundle: bytes) -> datetime.datetime:
    """Returns when the audit log of this installation says that something was signed."""
    from clearance.cli.runs import reading
    from clearance.errors import StoreError
    from clearance.trust.attest import Attestor
    from clearance.trust.audit import attested
    from clearance.trust.audit.reader import AuditReader
    from clearance.trust.refusal import Rejected
    from clearance.types.digest import digest_of

    try:
        with reading() as database:
            keys = Attestor(settings.home, settings.key_passphrase).verifiers()
            at = attested.find(AuditReader(database), digest_of(bundle), keys)
    except StoreError:
        text = "the certificate has ended, and there is no audit log here: give --signed-at and --log-key"
        raise Rejected("time-unattested", text) from None
    return datetime.datetime.fromtimestamp(at, datetime.UTC)


def _moment(bundle: bytes, chosen: Chosen) -> datetime.datetime:
    """Returns the time that certificates are judged by: now, or when a log is proved to say that this was signed."""
    from clearance.trust import strict
    from clearance.trust.audit import attested
    from clearance.trust.audit.export import Proof
    from clearance.trust.keys import load_public_key
    from clearance.types.digest import digest_of

    if chosen.signed_at is None:
        return datetime.datetime.now(datetime.UTC)
    if chosen.log_key is None:
        raise UsageError("--signed-at needs --log-key: the public key of the log")
    proof = strict.decode(chosen.signed_at.read_bytes(), Proof, "proof")
    at = attested.time_of(proof, digest_of(bundle), [load_public_key(chosen.log_key)])
    return datetime.datetime.fromtimestamp(at, datetime.UTC)


def signing_key(settings: Settings, file: Path | None) -> SigningKey:
    """Returns the key in a file, whose passphrase is asked for if it has one; without a file, the installation's."""
    from cryptography.hazmat.primitives.asymmetric import ec

    from clearance.trust.attest import Attestor
    from clearance.trust.keys import SigningKey, parse_private_key, read_secret

    if file is None:
        return Attestor(settings.home, settings.key_passphrase).key
    pem = read_secret(file)
    passphrase = None
    if b"ENCRYPTED" in pem:
        passphrase = str(click.prompt(f"Passphrase of {file}", hide_input=True, err=True)).encode()
    key = parse_private_key(pem, passphrase, str(file))
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Refused(f"{file} holds no elliptic-curve key: use one on P-256, P-384 or P-521")
    return SigningKey(key)


def _stored(settings: Settings, run: str, task: str) -> dict[str, Digest]:
    from clearance.cli.runs import reading
    from clearance.run.look import views
    from clearance.store import tree
    from clearance.store.blobs import open_blobs
    from clearance.trust import oms

    with reading() as database:
        _, _, found = views.artifact(database, run, task)
    if found.serializer != "model":
        raise UsageError(f"{run} {task} returned no model: sign what a task returns as a Model")
    data = found.inline if found.inline is not None else open_blobs(settings.blobs).get_bytes(found.digest)
    return oms.files_of(tree.decode(data))


def _root(bundle: bytes, key: PublicKey) -> Digest:
    """Returns the root digest that a bundle of ours says."""
    from clearance.trust import dsse
    from clearance.trust.oms.format import parse, said

    return said(dsse.open_envelope(parse(bundle).dsseEnvelope, [key]), key.id).digest
