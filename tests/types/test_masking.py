"""Whatever a program makes of a secret, and however a stream is cut, no form of it is written."""

from __future__ import annotations

import base64
import dataclasses
import json
import urllib.parse

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.engine.secrets import forms_of
from clearance.errors import UsageError
from clearance.types.masking import Masker
from clearance.types.secret import Secret

SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=40).filter(
    lambda text: len(text.strip()) >= 4
)


@given(SECRETS, st.text(max_size=20), st.text(max_size=20))
def test_every_form_is_masked(secret: str, before: str, after: str) -> None:
    masker = Masker(forms_of(secret))
    raw = secret.encode()
    for form in (
        secret,
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        json.dumps(secret)[1:-1],
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
    ):
        assert form not in masker.text(before + form + after).replace("***", "") or form in before + after


@given(SECRETS, st.binary(max_size=7))
def test_base64_of_a_longer_text_does_not_carry_it(secret: str, before: bytes) -> None:
    raw = secret.encode()
    if len(raw) < 8:  # the characters that are not shared with a neighbour are too few to be told from others
        return
    encoded = base64.b64encode(before + raw + b"tail")
    masked = Masker(forms_of(secret)).data(encoded)
    assert b"***" in masked


@given(SECRETS, st.lists(st.integers(1, 9), max_size=30), st.text(max_size=10))
def test_a_stream_cut_anywhere_is_masked(secret: str, cuts: list[int], around: str) -> None:
    masker = Masker(forms_of(secret))
    data = (around + secret + around + secret).encode()
    out, held = b"", b""
    while data:
        size = cuts.pop() if cuts else 3
        piece, data = data[:size], data[size:]
        part, held = masker.split(held + piece)
        out += part
    out += held
    if secret not in around + around and "*" not in secret:
        assert secret.encode() not in out.replace(around.encode() or b"\xff", b"")
    assert b"***" in out


def test_what_is_no_secret_is_untouched_and_not_held_back_for_ever() -> None:
    masker = Masker(forms_of("hunter22"))
    assert masker.split(b"hello world\n") == (b"hello world\n", b"")
    assert masker.split(b"hello hunt") == (b"hello ", b"hunt")
    assert masker.split(b"hunter") == (b"", b"hunter")
    assert masker.split(b"hunters\n") == (b"hunters\n", b"")


def test_plain_data_is_masked_inside_records_and_keys() -> None:
    @dataclasses.dataclass(frozen=True)
    class Login:
        user: str
        password: str

    class Row(msgspec.Struct, frozen=True):
        login: Login
        count: int

    masker = Masker(forms_of("hunter22"))
    row = Row(Login("ana", "hunter22"), 3)
    assert masker.value([row, {"x-hunter22": ("hunter22", 7)}]) == [
        Row(Login("ana", "***"), 3),
        {"x-***": ("***", 7)},
    ]
    untouched = Row(Login("ana", "none"), 3)
    assert masker.value(untouched) is untouched


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("env:TOKEN", Secret.env("TOKEN")),
        ("file:/run/secrets/token", Secret.file("/run/secrets/token")),
        ("keyring:db#ana", Secret.keyring("db", "ana")),
        ("vault:secret/data/app#key", Secret.vault("secret/data/app", "key")),
        ("vault:secret/data/app", Secret.vault("secret/data/app")),
    ],
)
def test_a_reference_is_read_and_written(text: str, reference: Secret) -> None:
    assert Secret.parse(text) == reference
    assert Secret.parse(str(reference)) == reference


@pytest.mark.parametrize("text", ["hunter22", "env:", "env:not a name", "file:relative", "s3:x"])
def test_what_is_no_reference_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Secret.parse(text)
    assert "hunter22" not in str(caught.value)
    assert "not a name" not in str(caught.value)
