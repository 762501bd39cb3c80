"""Credentials become principals, or nobody: API keys, tokens of a provider, certificates, workloads."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from hypothesis import given
from hypothesis import strategies as st

from clearance.errors import Refused, UsageError
from clearance.store.database import Database
from clearance.trust import jwt
from clearance.trust.authority import Authority
from clearance.trust.certificates import CLIENT, load_certificates, verify_chain
from clearance.trust.identity import Identities, Provider, check_user, new_api_key
from clearance.trust.providers import Tokens, read_keys
from clearance.trust.refusal import Rejected
from clearance.trust.workload import Workload, Workloads, inputs_digest, principal_of
from clearance.types.digest import digest_of
from clearance.types.principal import Principal
from support.postgresql import database_url as database_url

NOW = 1_772_366_400.0
PROVIDER = Provider(
    "https://id.example/realm", "clearance", "keys.json", "preferred_username", "groups", "access.roles"
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url) as database:
        database.migrate()
        database.write("account_put", "ann", '["ml"]', '["operator"]', NOW)
        yield database


def code(error: pytest.ExceptionInfo[Rejected]) -> str:
    return error.value.code


# -- API keys


def test_an_api_key_names_its_user_until_it_ends(database: Database):
    made = new_api_key()
    database.write("api_key_add", made.id, "ann", made.hash, "ci", NOW, NOW + 10)
    identities = Identities(database)
    assert identities.by_api_key(made.text, NOW) == Principal("ann", ("ml",), ("operator",))
    assert made.text.split("_", 2)[2] not in repr(database.dialect.execute("SELECT * FROM api_key"))
    refused = {
        "key-expired": (made.text, NOW + 10),
        "key-unknown": (made.text[:-1] + ("A" if made.text[-1] != "A" else "B"), NOW),
        "key-malformed": (made.text + "x", NOW),
    }
    for reason, (text, at) in refused.items():
        with pytest.raises(Rejected) as error:
            identities.by_api_key(text, at)
        assert code(error) == reason
        assert "ann" not in str(error.value)
    with pytest.raises(Rejected) as error:
        identities.by_api_key(new_api_key().text, NOW)
    assert code(error) == "key-unknown"
    database.write("api_key_revoke", NOW, made.id)
    with pytest.raises(Rejected) as error:
        identities.by_api_key(made.text, NOW)
    assert code(error) == "key-revoked"


def test_a_revoked_user_is_nobody_whatever_is_shown(database: Database):
    made = new_api_key()
    database.write("api_key_add", made.id, "ann", made.hash, "", NOW, None)
    database.write("account_revoke", NOW, "ann")
    with pytest.raises(Rejected) as error:
        Identities(database).by_api_key(made.text, NOW)
    assert code(error) == "user-revoked"
    claims = jwt.Claims(PROVIDER.issuer, "1", NOW, {"preferred_username": "ann"})
    with pytest.raises(Rejected) as error:
        Identities(database).by_token(claims, PROVIDER)
    assert code(error) == "user-revoked"


@given(st.text(max_size=80))
def test_no_text_is_taken_for_a_key(text: str):
    with pytest.raises(Rejected):
        Identities(None).by_api_key("x" + text, NOW)  # type: ignore[arg-type]


def test_names_and_roles_are_checked():
    check_user("ann@example.org", ("ml-team",), ("admin",))
    for name, groups, roles in (("", (), ()), ("a b", (), ()), ("ann", ("x/y",), ()), ("ann", (), ("root",))):
        with pytest.raises(UsageError):
            check_user(name, groups, roles)


# -- tokens of a provider


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8))


EC, RSA = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
POINT, MODULUS = EC.public_key().public_numbers(), RSA.public_key().public_numbers()
JWKS = {
    "keys": [
        {"kty": "EC", "kid": "e", "crv": "P-256", "x": b64(POINT.x.to_bytes(32)), "y": b64(POINT.y.to_bytes(32))},
        {"kty": "RSA", "kid": "r", "alg": "RS256", "use": "sig", "n": number(MODULUS.n), "e": number(MODULUS.e)},
        {"kty": "oct", "kid": "s", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "enc", "use": "enc", "n": number(MODULUS.n), "e": number(MODULUS.e)},
    ]
}
KEYS = jwt.parse_keys(json.dumps(JWKS).encode())
CLAIMS = {
    "iss": PROVIDER.issuer, "aud": ["clearance", "other"], "sub": "42", "exp": NOW + 300, "iat": NOW,
    "preferred_username": "bob", "groups": ["ml"], "access": {"roles": ["viewer", "unknown"]},
}  # fmt: skip


def token(header: dict[str, Any] | None = None, key: Any = EC, **claims: Any) -> str:
    said = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    head = {"alg": "ES256", "kid": "e", "typ": "JWT"} | (header or {})
    message = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(said).encode())}"
    if key is RSA:
        signature = RSA.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        r, s = utils.decode_dss_signature(key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32) + s.to_bytes(32)
    return f"{message}.{b64(signature)}"


def test_a_token_names_its_user_groups_and_known_roles(database: Database):
    for given_token in (token(), token({"alg": "RS256", "kid": "r"}, RSA)):
        claims = jwt.verify(given_token, KEYS, PROVIDER.issuer, PROVIDER.audience, NOW)
        assert Identities(database).by_token(claims, PROVIDER) == Principal("bob", ("ml",), ("viewer",))
    claims = jwt.verify(token(preferred_username="ann"), KEYS, PROVIDER.issuer, PROVIDER.audience, NOW)
    assert Identities(database).by_token(claims, PROVIDER).roles == ("operator", "viewer")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (token(exp=NOW - 61), "token-expired"),
        (token(exp=None), "token-malformed"),
        (token(exp="soon"), "token-malformed"),
        (token(nbf=NOW + 61), "token-early"),
        (token(iat=NOW + 61), "token-early"),
        (token(iss="https://other"), "token-issuer"),
        (token(aud="other"), "token-audience"),
        (token(aud=None), "token-audience"),
        (token(sub=None), "token-malformed"),
        (token({"kid": "unknown"}), "token-key"),
        (token({"kid": "s"}), "token-key"),
        (token({"alg": "none"}), "token-algorithm"),
        (token({"alg": "HS256"}), "token-algorithm"),
        (token({"alg": "RS256"}), "token-algorithm"),
        (token({"alg": "PS256", "kid": "r"}, RSA), "token-algorithm"),
        (token({"crit": ["exp"]}), "token-malformed"),
        (token({"jwk": JWKS["keys"][0]}), "token-malformed"),
        (token(key=ec.generate_private_key(ec.SECP256R1())), "token-signature"),
        (token().rpartition(".")[0] + ".", "token-malformed"),
        (token().rpartition(".")[0] + "." + b64(b"\0" * 64), "token-signature"),
        (token() + "=", "token-malformed"),
        ("a.b", "token-malformed"),
        ("é.b.c", "token-malformed"),
    ],
)
def test_tokens_that_are_refused(text: str, reason: str):
    with pytest.raises(Rejected) as error:
        jwt.verify(text, KEYS, PROVIDER.issuer, PROVIDER.audience, NOW)
    assert code(error) == reason


@given(st.integers(0, len(token()) - 1), st.characters(codec="ascii"))
def test_no_character_of_a_token_can_be_changed(at: int, other: str):
    text = token()
    at = min(at, len(text) - 1)
    if text[at] != other:
        with pytest.raises(Rejected):
            jwt.verify(text[:at] + other + text[at + 1 :], KEYS, PROVIDER.issuer, PROVIDER.audience, NOW)


def test_keys_are_fetched_again_when_the_provider_changes_them_but_not_for_every_junk(tmp_path: Path):
    fetched = []

    def fetch(address: str) -> bytes:
        fetched.append(address)
        return json.dumps(JWKS if len(fetched) > 1 else {"keys": []}).encode()

    tokens = Tokens(PROVIDER, fetch)
    for at in (0, 30):
        with pytest.raises(Rejected):
            tokens.verify(token(), NOW + at)
    assert len(fetched) == 1
    assert tokens.verify(token(), NOW + 61).subject == "42"
    assert len(fetched) == 2
    assert tokens.verify(token(exp=NOW + 9000), NOW + 61 + 3601)
    assert len(fetched) == 3
    (tmp_path / "keys.json").write_text(json.dumps(JWKS))
    assert jwt.parse_keys(read_keys(str(tmp_path / "keys.json"))) == KEYS
    for bad in ("http://id.example/keys", "ftp://id.example/keys", str(tmp_path / "missing")):
        with pytest.raises(Refused):
            read_keys(bad)
    for junk in (b"[]", b"{}", b'{"keys": [{"kty": "EC", "crv": 1}]}', b"\xff"):
        with pytest.raises(Refused):
            jwt.parse_keys(junk)


# -- client certificates


def test_a_client_certificate_names_its_user(database: Database, tmp_path: Path):
    now = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    authority = Authority(tmp_path)
    authority.make("house", now)
    client = load_certificates(authority.issue("ann", "user", now, client=True).certificate)[0]
    signer = verify_chain(client, [], authority.authorities(), now, CLIENT)
    identities = Identities(database)
    assert identities.by_certificate(signer) == Principal("ann", ("ml",), ("operator",))
    with pytest.raises(Rejected) as error:
        identities.by_certificate(signer, authority="0" * 16)
    assert code(error) == "certificate-identity"
    workload = load_certificates(authority.issue("trainer", "workload", now, client=True).certificate)[0]
    found = identities.by_certificate(verify_chain(workload, [], authority.authorities(), now, CLIENT))
    assert found == Principal("workload:trainer", (), ("workload",))
    only_signs = load_certificates(authority.issue("ann", "user", now).certificate)[0]
    with pytest.raises(Rejected) as error:
        verify_chain(only_signs, [], authority.authorities(), now, CLIENT)
    assert code(error) == "certificate-purpose"


# -- workloads

ATTEMPT = Workload("k.1.2", 2, inputs_digest({"data": digest_of(b"d")}), "main/1", "ann")


def test_a_workload_token_is_dead_with_its_epoch(tmp_path: Path):
    workloads = Workloads(tmp_path)
    text = workloads.token(ATTEMPT)
    assert Workloads(tmp_path).verify(text, lambda attempt: 2 if attempt == "k.1.2" else None) == ATTEMPT
    assert principal_of(ATTEMPT).roles == ("workload",)
    for running in (None, 1, 3):
        with pytest.raises(Rejected) as error:
            workloads.verify(text, lambda _, epoch=running: epoch)
        assert code(error) == "token-dead"
    with pytest.raises(Rejected) as error:
        Workloads(tmp_path / "other").verify(text, lambda _: 2)
    assert code(error) == "token-signature"
    assert (tmp_path / "trust" / "workload.secret").stat().st_mode & 0o777 == 0o600
    assert inputs_digest({"a": digest_of(b"1"), "b": digest_of(b"2")}) != inputs_digest(
        {"a": digest_of(b"2"), "b": digest_of(b"1")}
    )


@given(st.data())
def test_no_character_of_a_workload_token_can_be_changed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    workloads = Workloads(tmp_path_factory.getbasetemp() / "workloads")
    text = workloads.token(ATTEMPT)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda each: each != text[at]))
    with pytest.raises(Rejected):
        workloads.verify(text[:at] + other + text[at + 1 :], lambda _: 2)
