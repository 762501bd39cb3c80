"""A signed model that somebody changed, or a signer who may not: each is refused for its own reason, and named."""

from __future__ import annotations

import base64
import datetime
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clearance.trust import dsse, oms, statement
from clearance.trust.authority import Authority
from clearance.trust.certificates import Authorities, load_certificates
from clearance.trust.keys import SigningKey, parse_private_key
from clearance.trust.oms import format as oms_format
from clearance.trust.refusal import Rejected
from clearance.trust.x509 import usage

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
KEY = SigningKey(ec.generate_private_key(ec.SECP256R1()))


def reason(verify: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(Rejected) as error:
        verify()
    return error.value.code, error.value.subject


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A signed model of five files, one of them in a directory, and a `.gitignore`."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "b", "c", "sub/d", ".gitignore"):
        (folder / name).write_text(f"content of {name}")
    (folder / "model.sig").write_bytes(oms.sign("m", oms.hash_model(folder), KEY))
    return folder


def check(model: Path, *ignore: str) -> object:
    return oms.verify_path((model / "model.sig").read_bytes(), KEY.public, model, ignore)


def swap(model: Path) -> None:
    (model / "a").rename(model / "x")
    (model / "b").rename(model / "a")
    (model / "x").rename(model / "b")


def write(name: str, text: str) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(text)

    return change


@pytest.mark.parametrize(
    ("change", "code", "file"),
    [
        (write("b", "content of B"), "file-changed", "b"),
        (write("sub/d", ""), "file-changed", "sub/d"),
        (write("new", "new"), "file-unsigned", "new"),
        (write("empty", ""), "file-unsigned", "empty"),
        (write("sub/deeper/x", "x"), "file-unsigned", "sub/deeper/x"),
        (write(".git/config", "[core]"), "file-unsigned", ".git/config"),
        (write("__pycache__/x.pyc", "x"), "file-unsigned", "__pycache__/x.pyc"),
        (lambda model: (model / "c").unlink(), "file-missing", "c"),
        (lambda model: (model / "c").rename(model / "z"), "file-renamed", "z"),
        (lambda model: (model / "sub" / "d").rename(model / "d"), "file-renamed", "d"),
        (swap, "files-swapped", "a"),
        (lambda model: (model / "link").symlink_to("a"), "symbolic-link", "link"),
        (lambda model: (model / "dir").symlink_to("sub"), "symbolic-link", "dir"),
        (lambda model: os.mkfifo(model / "pipe"), "not-a-file", "pipe"),
        (lambda model: socket.socket(socket.AF_UNIX).bind(os.path.relpath(model / "s")), "not-a-file", "s"),
        (write("a\\b", "x"), "path-unsafe", "a\\b"),
        (write("a\nb", "x"), "path-unsafe", "a\nb"),
    ],
)
def test_a_model_that_was_changed_is_refused(
    model: Path, change: Callable[[Path], object], code: str, file: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(model)
    assert check(model)
    change(model)
    assert reason(lambda: check(model)) == (code, file)


def test_what_the_signer_left_out_is_refused_unless_the_verifier_leaves_it_out_too(model: Path):
    (model / "notes").mkdir()
    (model / "notes" / "n").write_text("n")
    bundle = oms.sign("m", oms.hash_model(model, ["notes", "model.sig"]), KEY, ignored=["notes"])
    (model / "model.sig").write_bytes(bundle)
    assert reason(lambda: check(model)) == ("file-ignored", "notes/n")
    assert check(model, "notes")
    (model / "a").write_text("changed")
    assert reason(lambda: check(model, "notes", "a")) == ("file-missing", "a")


def test_nothing_hides_under_the_name_of_a_signature(model: Path, tmp_path: Path):
    bundle = (model / "model.sig").read_bytes()
    other = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    (model / "model.sig").write_bytes(oms.sign("m", oms.hash_model(model, ["model.sig"]), other))
    assert oms.verify_path(bundle, KEY.public, model)
    (model / "model.sig").write_bytes(b"weights")
    assert reason(lambda: oms.verify_path(bundle, KEY.public, model)) == ("file-unsigned", "model.sig")
    assert oms.verify_path(bundle, KEY.public, model, ["model.sig"])
    (model / "model.sig").unlink()
    assert oms.verify_path(bundle, KEY.public, model)
    (model / "model.sig").symlink_to("a")
    assert reason(lambda: oms.verify_path(bundle, KEY.public, model)) == ("file-unsigned", "model.sig")


def bundle_of(*names: str, root: str = "", **predicate: object) -> bytes:
    """Returns a bundle that a right key signs over a statement that no honest signer makes."""
    resources = [{"name": name, "digest": "0" * 64, "algorithm": "sha256"} for name in names]
    digest = root or oms_format.root_of([oms_format.Resource(name, "0" * 64) for name in names])[7:]
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False} | predicate
    said = statement.encode(
        (statement.Subject("m", {"sha256": digest}),),
        oms.PREDICATE,
        {"serialization": serialization, "resources": resources},
    )
    bundle = json.loads(oms.sign("m", oms_files(), KEY))
    return json.dumps(bundle | {"dsseEnvelope": json.loads(dsse.sign(said, [KEY]))}).encode()


def oms_files() -> dict[str, str]:
    return {"a": "sha256:" + "0" * 64}


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "a//b", "./a", "", "a\\b", "a\0b", "..", "sub/."])
def test_names_that_lead_elsewhere_are_refused(name: str):
    assert oms.verify(bundle_of("a", "b"), KEY.public)
    assert reason(lambda: oms.verify(bundle_of("a", name), KEY.public))[0] == "path-unsafe"


def test_statements_that_no_honest_signer_makes_are_refused():
    assert reason(lambda: oms.verify(bundle_of("a", "a"), KEY.public)) == ("file-twice", "a")
    assert reason(lambda: oms.verify(bundle_of("a", root="1" * 64), KEY.public))[0] == "root-mismatch"
    assert (
        reason(lambda: oms.verify(bundle_of("a", method="shards", shard_size=1), KEY.public))[0]
        == "statement-malformed"
    )
    assert reason(lambda: oms.verify(bundle_of("a", hash_type="md5"), KEY.public))[0] == "statement-malformed"


def test_bundles_that_are_not_one_bundle_are_refused(model: Path):
    good = json.loads((model / "model.sig").read_bytes())

    def refused(**change: object) -> str:
        return reason(lambda: oms.verify(json.dumps(good | change).encode(), KEY.public))[0]

    material = good["verificationMaterial"]
    signature = good["dsseEnvelope"]["signatures"][0]
    certificate = {"rawBytes": "AAAA"}
    assert refused(mediaType="application/json") == "bundle-media-type"
    assert refused(more=1) == "bundle-malformed"
    assert refused(verificationMaterial={}) == "bundle-malformed"
    assert refused(verificationMaterial=material | {"certificate": certificate}) == "bundle-malformed"
    assert refused(verificationMaterial=material | {"tlogEntries": [{}]}) == "bundle-malformed"
    assert refused(dsseEnvelope=good["dsseEnvelope"] | {"signatures": [signature, signature]}) == "bundle-signatures"
    assert refused(dsseEnvelope=good["dsseEnvelope"] | {"signatures": []}) == "bundle-signatures"
    assert refused(dsseEnvelope=good["dsseEnvelope"] | {"payloadType": "text/plain"}) == "signature-wrong"
    assert refused(verificationMaterial={"certificate": certificate}) == "signer-kind"
    twice = (model / "model.sig").read_text().replace('"mediaType"', '"mediaType":"x","mediaType"', 1)
    assert reason(lambda: oms.verify(twice.encode(), KEY.public))[0] == "bundle-malformed"
    deep = b'{"mediaType":' + b"[" * 100_000
    assert reason(lambda: oms.verify(deep, KEY.public))[0] == "bundle-malformed"
    other = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    assert reason(lambda: oms.verify((model / "model.sig").read_bytes(), other.public))[0] == "key-other"


# -- signers with certificates


class Signer:
    """Somebody whom an authority certifies, and a model that they signed."""

    def __init__(self, home: Path, name: str = "ann") -> None:
        self.authority = Authority(home)
        if not self.authority.exists:
            self.authority.make("house", NOW)
        self.issued = self.authority.issue(name, "user", NOW)
        self.chain = load_certificates(self.issued.certificate)
        key = parse_private_key(self.issued.key.read_bytes(), None, "key")
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = SigningKey(key)

    def sign(self) -> bytes:
        return oms.sign("m", oms_files(), self.key, self.chain)

    def verify(self, bundle: bytes, at: datetime.datetime = NOW, identity: str | None = None) -> oms.SignedModel:
        expected = self.issued.identity if identity is None else identity
        return oms.verify(bundle, oms.Certified(self.authority.authorities(), expected, at))


@pytest.fixture
def ann(tmp_path: Path) -> Signer:
    return Signer(tmp_path / "home")


def test_a_certified_signer_is_named_and_must_be_expected(ann: Signer, tmp_path: Path):
    bundle = ann.sign()
    assert ann.verify(bundle).signer == ann.issued.identity
    assert ann.issued.identity.endswith("/user/ann")
    assert reason(lambda: ann.verify(bundle, identity=""))[0] == "identity-unpinned"
    bob = Signer(tmp_path / "home", "bob")
    assert reason(lambda: ann.verify(bob.sign()))[0] == "identity-other"


def test_a_certificate_is_judged_by_the_time_of_the_verifier(ann: Signer):
    bundle = ann.sign()
    assert ann.verify(bundle, NOW + 20 * DAY)
    assert reason(lambda: ann.verify(bundle, NOW + 91 * DAY))[0] == "certificate-expired"
    assert reason(lambda: ann.verify(bundle, NOW - DAY))[0] == "certificate-early"


def test_a_revoked_certificate_is_refused_and_a_stale_list_too(ann: Signer):
    bundle = ann.sign()
    assert reason(lambda: ann.verify(bundle, NOW + 31 * DAY))[0] == "revocations-stale"
    ann.authority.refresh(NOW + 31 * DAY)
    assert ann.verify(bundle, NOW + 31 * DAY)
    ann.authority.revoke(ann.issued.serial, NOW)
    assert reason(lambda: ann.verify(bundle))[0] == "certificate-revoked"


def test_a_foreign_authority_of_the_same_name_is_refused(ann: Signer, tmp_path: Path):
    mallory = Signer(tmp_path / "mallory")
    bundle = mallory.sign()
    trust = oms.Certified(ann.authority.authorities(), mallory.issued.identity, NOW)
    assert reason(lambda: oms.verify(bundle, trust))[0] == "certificate-foreign"
    forged = Authorities(ann.authority.authorities().roots, mallory.authority.authorities().revocations)
    trust = oms.Certified(forged, ann.issued.identity, NOW)
    assert reason(lambda: oms.verify(ann.sign(), trust))[0] == "revocations-foreign"
    assert reason(lambda: oms.verify(ann.sign(), oms.Certified(Authorities(()), "", NOW)))[0] == "certificate-foreign"


def certified(
    home: Path, usages: list[x509.ObjectIdentifier] | None, *names: str, below: SigningKey | None = None
) -> tuple[SigningKey, list[x509.Certificate]]:
    """Returns a key with a certificate such as the authority itself does not issue."""
    root = load_certificates(home / "trust" / "ca" / "ca.pem")[0]
    issuer = parse_private_key((home / "trust" / "ca" / "ca.key").read_bytes(), None, "ca")
    assert isinstance(issuer, ec.EllipticCurvePrivateKey)
    own = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")]))
        .issuer_name(root.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(usage(certificates=False), critical=True)
    )
    if usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if names:
        uris = [x509.UniformResourceIdentifier(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
    return SigningKey(own), [builder.sign(issuer, hashes.SHA256())]


@pytest.mark.parametrize(
    "usages",
    [None, [ExtendedKeyUsageOID.SERVER_AUTH], [ExtendedKeyUsageOID.CLIENT_AUTH], [ExtendedKeyUsageOID.OCSP_SIGNING]],
)
def test_a_certificate_for_another_purpose_is_refused(ann: Signer, tmp_path: Path, usages):
    key, chain = certified(tmp_path / "home", usages, "https://ann")
    bundle = oms.sign("m", oms_files(), key, chain)
    assert reason(lambda: ann.verify(bundle, identity="https://ann"))[0] == "certificate-purpose"


def test_a_certificate_that_names_several_is_refused(ann: Signer, tmp_path: Path):
    key, chain = certified(tmp_path / "home", [ExtendedKeyUsageOID.CODE_SIGNING], "https://ann", "https://bob")
    bundle = oms.sign("m", oms_files(), key, chain)
    assert reason(lambda: ann.verify(bundle, identity="https://ann"))[0] == "certificate-malformed"


def test_a_signer_who_plays_the_authority_is_refused(ann: Signer):
    """Ann's certificate is no authority's: what she certifies is worth nothing."""
    own = ec.generate_private_key(ec.SECP256R1())
    ann_key = parse_private_key(ann.issued.key.read_bytes(), None, "key")
    assert isinstance(ann_key, ec.EllipticCurvePrivateKey)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "below")]))
        .issuer_name(ann.chain[0].subject)
        .public_key(own.public_key())
        .serial_number(1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://x")]), critical=False)
        .sign(ann_key, hashes.SHA256())
    )
    bundle = oms.sign("m", oms_files(), SigningKey(own), [made, *ann.chain])
    assert reason(lambda: ann.verify(bundle, identity="https://x"))[0] == "certificate-foreign"


def test_a_certificate_of_another_key_signs_nothing(ann: Signer):
    bundle = json.loads(ann.sign())
    stolen = json.loads(oms.sign("m", oms_files(), KEY))["dsseEnvelope"]
    assert reason(lambda: ann.verify(json.dumps(bundle | {"dsseEnvelope": stolen}).encode()))[0] == "signature-wrong"
    bundle["verificationMaterial"]["x509CertificateChain"]["certificates"] = [
        {"rawBytes": base64.b64encode(b"junk").decode()}
    ]
    assert reason(lambda: ann.verify(json.dumps(bundle).encode()))[0] == "certificate-malformed"
    bundle["verificationMaterial"]["x509CertificateChain"]["certificates"] = []
    assert reason(lambda: ann.verify(json.dumps(bundle).encode()))[0] == "bundle-malformed"
