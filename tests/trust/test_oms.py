from __future__ import annotations

import base64
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import Refused, StoreError
from clearance.store import tree
from clearance.store.blobs import LocalBlobs
from clearance.trust import dsse, oms
from clearance.trust.attest import Attestor
from clearance.trust.authority import Authority
from clearance.trust.certificates import Authorities, load_certificates
from clearance.trust.keys import SigningKey, load_public_key, parse_private_key
from clearance.trust.refusal import Rejected
from clearance.types.digest import digest_of

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA") or ROOT.parent / "shared" / "data") / "trust" / "oms"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the historical bundles are not at {DATA}")

KEY = SigningKey(ec.generate_private_key(ec.SECP256R1()))
FILES = {"a": digest_of(b"1"), "sub/b": digest_of(b"2"), "sub.c": digest_of(b"3")}
BUNDLE = oms.sign("model", FILES, KEY)


@needs_data
@pytest.mark.parametrize("version", ["v0.3.1", "v1.0.0", "v1.1.0"])
@pytest.mark.parametrize("kind", ["elliptic-key", "certificate", "sigstore"])
def test_bundles_of_the_reference_signer_verify_for_whom_they_name_alone(
    version: str, kind: str, tmp_path: Path
) -> None:
    """The nine historical bundles; v1.1.0 was signed with `ignore-me` left out, by key the first two sign one file."""
    if kind == "sigstore":
        pytest.importorskip("sigstore")
    key = load_public_key(DATA / "keys" / "signing-key-pub.pem")
    roots = Authorities(tuple(load_certificates(DATA / "keys" / "ca-cert.pem")))
    trusted = {
        "elliptic-key": key,
        "certificate": oms.Certified(roots, "", datetime.datetime.now(datetime.UTC)),
        "sigstore": oms.Keyless("stefanb@us.ibm.com", "https://sigstore.verify.ibm.com/oauth2"),
    }
    folder = DATA / "bundles" / f"{version}-{kind}"
    bundle = (folder / "model.sig").read_bytes()
    model = folder / "signme-1" if kind == "elliptic-key" and version != "v1.1.0" else folder
    assert oms.verify_path(bundle, trusted[kind], model, ["ignore-me"]).files
    if version == "v1.1.0":
        assert refusal(lambda: oms.verify_path(bundle, trusted[kind], model)) == "file-ignored"
    for other, trust in trusted.items():
        if other != kind:
            assert refusal(lambda trust=trust: oms.verify(bundle, trust)) == "signer-kind"
    wrong = {
        "elliptic-key": (KEY.public, "key-other"),
        "certificate": (oms.Certified(roots, "https://ann", trusted["certificate"].at), "identity-other"),
        "sigstore": (oms.Keyless("ann@example.org", "https://sigstore.verify.ibm.com/oauth2"), "keyless-refused"),
    }
    trust, reason = wrong[kind]
    assert refusal(lambda: oms.verify(bundle, trust)) == reason
    if kind == "sigstore":
        assert refusal(lambda: oms.verify(bundle, oms.Keyless("stefanb@us.ibm.com", "https://x"))) == "keyless-refused"
        changed = bundle.replace(b'"sig":', b'"sig" :')
        assert oms.verify(changed, trusted[kind])
    elif kind == "certificate":
        other = Authority(tmp_path)
        other.make("root-ca", trusted[kind].at)
        own = other.authorities()
        assert refusal(lambda: oms.verify(bundle, oms.Certified(own, "", trusted[kind].at))) == "certificate-foreign"


@needs_data
def test_bundles_keep_to_the_published_schemas(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    schemas = {name: json.loads((DATA / "schemas-v1.0" / f"{name}.schema.json").read_text()) for name in
               ("bundle", "envelope", "statement", "predicate")}  # fmt: skip
    registry = referencing.Registry().with_contents((schema["$id"], schema) for schema in schemas.values())

    def check(name: str, value: Any) -> None:
        jsonschema.Draft202012Validator(schemas[name], registry=registry).validate(value)

    authority = Authority(tmp_path)
    authority.make("house", datetime.datetime.now(datetime.UTC))
    issued = authority.issue("ann", "user", datetime.datetime.now(datetime.UTC))
    own = parse_private_key(issued.key.read_bytes(), None, "key")
    assert isinstance(own, ec.EllipticCurvePrivateKey)
    certified = oms.sign("model", FILES, SigningKey(own), load_certificates(issued.certificate), ignored=["notes"])
    for bundle in map(json.loads, (BUNDLE, certified)):
        check("bundle", bundle)
        check("envelope", bundle["dsseEnvelope"])
        payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        check("statement", payload)
        check("predicate", payload["predicate"])


def test_exactly_the_signed_files_are_accepted() -> None:
    assert oms.verify_files(BUNDLE, KEY.public, FILES).name == "model"
    with pytest.raises(Refused, match="'new' of the model 'model' was never signed"):
        oms.verify_files(BUNDLE, KEY.public, FILES | {"new": digest_of(b"")})
    with pytest.raises(Refused, match="'a' of the model 'model' was changed"):
        oms.verify_files(BUNDLE, KEY.public, FILES | {"a": digest_of(b"")})
    with pytest.raises(Refused, match=r"'sub.c' of the model 'model' is missing"):
        oms.verify_files(BUNDLE, KEY.public, {"a": FILES["a"], "sub/b": FILES["sub/b"]})
    with pytest.raises(Refused, match="nothing to sign"):
        oms.sign("model", {}, KEY)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(BUNDLE) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_refused(position: int, flip: int) -> None:
    bad = bytearray(BUNDLE)
    bad[position] ^= flip
    with pytest.raises(Refused):
        oms.verify(bytes(bad), KEY.public)


def refusal(verify: Callable[[], object]) -> str:
    """Returns the reason for which something is refused."""
    with pytest.raises(Rejected) as error:
        verify()
    return error.value.code


def resigned(change: Any) -> bytes:
    """Returns the bundle with a changed statement, signed again by the right key."""
    bundle = json.loads(BUNDLE)
    said = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(said)
    envelope = json.loads(dsse.sign(json.dumps(said).encode(), [KEY]))
    return json.dumps(bundle | {"dsseEnvelope": envelope}).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["predicate"]["resources"].pop(),
        lambda said: said["predicate"]["resources"].reverse(),
        lambda said: said["predicate"]["resources"].append(said["predicate"]["resources"][0]),
        lambda said: said["predicate"]["resources"][0].update(algorithm="blake3"),
        lambda said: said["predicate"]["resources"][0].update(digest="00"),
        lambda said: said["predicate"]["serialization"].update(method="shards", shard_size=1),
        lambda said: said["predicate"].update(more=1),
        lambda said: said["subject"].append(said["subject"][0]),
        lambda said: said.update(predicateType="https://model_signing/Digests/v0.1"),
    ],
)
def test_inconsistent_statements_are_refused_though_signed(change: Any) -> None:
    assert oms.verify(resigned(lambda said: None), KEY.public)
    with pytest.raises(Refused):
        oms.verify(resigned(change), KEY.public)


def test_links_in_a_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a").symlink_to("/etc/hostname")
    with pytest.raises(Refused, match="symbolic link"):
        oms.verify_path(BUNDLE, KEY.public, tmp_path / "m")
    with pytest.raises((Refused, StoreError)):
        oms.verify_path(BUNDLE, KEY.public, tmp_path / "missing")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The reference verifier, model-signing 1.1.1, in an environment of its own that is kept between sessions."""
    home = Path(tempfile.gettempdir()) / f"clearance-model-signing-1.1.1-{os.getuid()}"
    program = home / "bin" / "model_signing"
    if not (home / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True, capture_output=True)
        done = subprocess.run(
            [str(home / "bin" / "pip"), "install", "--quiet", "model-signing==1.1.1", "pyopenssl"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"pip cannot install model-signing 1.1.1: {done.stderr.strip().splitlines()[-1]}")
        (home / "complete").touch()
    return program


@pytest.mark.slow
def test_the_reference_verifier_accepts_our_bundle_and_no_other(reference: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    for name in ("a-b", "a.b", "sub/x", "sub-x", "é"):
        (model / name).write_text(name)
    attestor = Attestor(tmp_path / "home")
    manifest = tree.store_tree(model, LocalBlobs(tmp_path / "blobs"))
    signature = model / "model.sig"
    signature.write_bytes(attestor.sign_model("model", manifest))

    def verify() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [reference, "verify", "key", model, "--signature", signature, "--public_key", attestor.public_key_file],
            capture_output=True,
            text=True,
            check=False,
        )

    done = verify()
    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout
    assert oms.verify_path(signature.read_bytes(), attestor.public, model)
    (model / "a-b").write_text("changed")
    assert verify().returncode != 0
    with pytest.raises(Refused, match="was changed"):
        oms.verify_path(signature.read_bytes(), attestor.public, model)


@pytest.mark.slow
def test_our_verifier_accepts_the_reference_signer(reference: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"w" * 100)
    attestor = Attestor(tmp_path / "home")
    signature = tmp_path / "model.sig"
    key = tmp_path / "home" / "trust" / "installation.key"
    assert attestor.key_id
    subprocess.run(
        [reference, "sign", "key", model, "--signature", signature, "--private_key", key],
        check=True,
        capture_output=True,
    )
    signed = oms.verify_path(signature.read_bytes(), attestor.public, model)
    assert list(signed.files) == ["weights"]


@pytest.mark.slow
def test_certificates_mean_the_same_to_the_reference_and_to_us(reference: Path, tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    authority = Authority(tmp_path / "home")
    authority.make("house", now)
    issued = authority.issue("ann", "user", now)
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"w" * 100)
    chain = load_certificates(issued.certificate)
    key = parse_private_key(issued.key.read_bytes(), None, "key")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    root = authority.certificate_file
    ours, theirs = tmp_path / "ours.sig", tmp_path / "theirs.sig"
    ours.write_bytes(oms.sign("model", oms.hash_model(model), SigningKey(key), chain))
    subprocess.run(
        [reference, "verify", "certificate", model, "--signature", ours, "--certificate_chain", root],
        check=True,
        capture_output=True,
    )
    subprocess.run(
        [
            reference, "sign", "certificate", model, "--signature", theirs, "--private_key", issued.key,
            "--signing_certificate", issued.certificate, "--certificate_chain", root,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    trust = oms.Certified(authority.authorities(), issued.identity, now)
    assert oms.verify_path(theirs.read_bytes(), trust, model).signer == issued.identity
    models = pytest.importorskip("sigstore_models.bundle.v1")
    assert models.Bundle.from_json(ours.read_bytes())
