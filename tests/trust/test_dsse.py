from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import Refused
from clearance.trust import dsse
from clearance.trust.keys import SigningKey

KEY = SigningKey(ec.generate_private_key(ec.SECP256R1()))
OTHER = SigningKey(ec.generate_private_key(ec.SECP384R1()))
ENVELOPE = dsse.sign(b'{"hello": "worlds"}', [KEY])


def test_pre_authentication_encoding_is_that_of_the_specification() -> None:
    """The vector of DSSE's protocol.md, section "Test Vectors"."""
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_the_specifications_own_signature_verifies() -> None:
    """The key and signature of DSSE's protocol.md: P-256, SHA-256, r and s raw."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    from clearance.trust.keys import PublicKey

    x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
    y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
    raw = base64.b64decode("A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==")
    signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key = PublicKey(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
    envelope = {
        "payload": base64.b64encode(b"hello world").decode(),
        "payloadType": "http://example.com/HelloWorld",
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }
    found = dsse.verify(json.dumps(envelope).encode(), [key], "http://example.com/HelloWorld")
    assert found == b"hello world"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.text(st.characters(codec="utf-8"), max_size=20))
def test_what_is_signed_verifies(payload: bytes, kind: str) -> None:
    assert dsse.verify(dsse.sign(payload, [KEY], kind), [OTHER.public, KEY.public], kind) == payload


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_refused(position: int, flip: int) -> None:
    bad = bytearray(ENVELOPE)
    bad[position] ^= flip
    with pytest.raises(Refused):
        dsse.verify(bytes(bad), [KEY.public])


@settings(max_examples=200, deadline=None)
@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_no_input_crashes_the_verifier(data: bytes) -> None:
    with pytest.raises(Refused):
        dsse.verify(data, [KEY.public])


def change(**members: Any) -> bytes:
    return json.dumps(json.loads(ENVELOPE) | members).encode()


@pytest.mark.parametrize(
    "data",
    [
        change(signatures=[]),
        change(payloadType="application/json"),
        change(more=1),
        change(payload=json.loads(ENVELOPE)["payload"] + "\n"),
        change(payload=json.loads(ENVELOPE)["payload"].rstrip("=")),
        change(signatures=json.loads(ENVELOPE)["signatures"] * 65),
        ENVELOPE.replace(b'{"payload":', b'{"payload":"e30=","payload":', 1),
        ENVELOPE.replace(KEY.public.id.encode(), OTHER.public.id.encode()),
        dsse.sign(b"x", [OTHER]),
        b"[" * 100_000,
    ],
)
def test_malformed_and_foreign_envelopes_are_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        dsse.verify(data, [KEY.public])


def test_several_signatures_count_once_a_key() -> None:
    both = dsse.sign(b"x", [KEY, OTHER])
    twice = dsse.sign(b"x", [KEY, KEY])
    assert dsse.verify(both, [KEY.public, OTHER.public], threshold=2) == b"x"
    assert dsse.verify(both, [OTHER.public]) == b"x"
    with pytest.raises(Refused, match="1 valid signatures"):
        dsse.verify(twice, [KEY.public, OTHER.public], threshold=2)
    with pytest.raises(Refused):
        dsse.verify(both, [])


@pytest.mark.parametrize("keyid", [None, "", "absent"])
def test_a_key_id_may_be_missing(keyid: str | None) -> None:
    envelope = json.loads(ENVELOPE)
    if keyid == "absent":
        del envelope["signatures"][0]["keyid"]
    else:
        envelope["signatures"][0]["keyid"] = keyid
    assert dsse.verify(json.dumps(envelope).encode(), [KEY.public])
