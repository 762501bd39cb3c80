"""Hostile documents: whatever is read from outside is refused with an error of ours, and never crashes or hangs."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import Refused
from clearance.trust import dsse, evidence, jwt, oms, strict
from clearance.trust.audit import export, note
from clearance.trust.audit.verify import verify, verify_proof
from clearance.trust.certificates import Authorities, parse_certificate
from clearance.trust.evidence import Entitlements
from clearance.trust.keys import SigningKey, parse_private_key, parse_public_key
from clearance.types.digest import digest_of

KEY = SigningKey(ec.generate_private_key(ec.SECP256R1()))
FILES = {"a": digest_of(b"a"), "b/c": digest_of(b"b")}
CERTIFIED = oms.Certified(Authorities(()), "", datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC))
CHECKPOINT = note.sign(note.Checkpoint("clearance.dev/log/x", 3, b"\1" * 32, 5.0), KEY)
LOG = b'{"format":"clearance-audit-v1","size":1}\nE ' + b"0" * 64 + b" {}\nC " + json.dumps(CHECKPOINT).encode() + b"\n"


def read_log(data: bytes) -> object:
    entries, checkpoints = export.read(data.splitlines(keepends=True))
    return verify(entries, checkpoints, [KEY.public])


READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "bundle": (oms.sign("m", FILES, KEY), lambda data: oms.verify(data, KEY.public)),
    "certified": (oms.sign("m", FILES, KEY), lambda data: oms.verify(data, CERTIFIED)),
    "envelope": (dsse.sign(b"{}", [KEY]), lambda data: dsse.verify(data, [KEY.public])),
    "attestation": (
        dsse.sign(b'{"_type":"x"}', [KEY]),
        lambda data: evidence.verify(data, FILES["a"], Entitlements([KEY.public])),
    ),
    "statement": (
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x","predicate":{}}',
        lambda data: evidence.verify(dsse.sign(data, [KEY]), FILES["a"], Entitlements([KEY.public])),
    ),
    "checkpoint": (CHECKPOINT.encode(), lambda data: note.verify(data.decode("utf-8", "replace"), [KEY.public])),
    "log": (LOG, read_log),
    "proof": (
        json.dumps({"checkpoint": CHECKPOINT, "hashes": ["00"], "number": 1, "entry": "{}"}).encode(),
        lambda data: verify_proof(strict.decode(data, export.Proof, "proof"), [KEY.public]),
    ),
    "token": (b"eyJhbGciOiJFUzI1NiJ9.e30.AAAA", lambda data: jwt.verify(data.decode("latin-1"), [], "i", "a", 0.0)),
    "key set": (b'{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}', jwt.parse_keys),
    "public key": (KEY.public.pem, parse_public_key),
    "private key": (KEY.private_pem(), lambda data: parse_private_key(data, None, "key")),
    "certificate": (b"0\x82\x01\x00", parse_certificate),
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_is_read_is_refused_or_read_and_never_crashes(name: str, data: st.DataObject):
    valid, read = READERS[name]
    document = bytearray(valid)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, max(0, len(document) - 1)))
        document[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    hostile = data.draw(st.one_of(st.just(bytes(document)), st.binary(max_size=200)))
    with contextlib.suppress(Refused):  # anything else is a crash
        read(hostile)


@pytest.mark.parametrize(
    "document",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'"\xed\xa0\x80"',
        b"\xff\xfe{}",
        b"",
        b'{"a":"' + b"\\" * 100_001,
    ],
)
def test_documents_with_no_or_several_readings_are_refused_at_once(document: bytes):
    with pytest.raises(Refused):
        strict.parse(document, "document")


@given(st.recursive(st.none() | st.integers() | st.text() | st.booleans(), lambda inner: st.lists(inner, max_size=4)))
def test_honest_documents_are_read_whatever_brackets_stand_in_their_texts(value: object):
    text = json.dumps({"text": "[{" * 100 + '\\"]', "value": value})
    assert strict.parse(text.encode(), "document") == json.loads(text)


def test_a_document_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(strict, "LIMIT", 10)
    with pytest.raises(Refused, match="more than 10"):
        strict.parse(b'{"a": 12345}', "document")


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path):
    from clearance.trust.keys import read_secret

    file = tmp_path / "key.pem"
    file.write_bytes(KEY.private_pem())
    file.chmod(0o640)
    with pytest.raises(Refused, match="chmod 600"):
        read_secret(file)
