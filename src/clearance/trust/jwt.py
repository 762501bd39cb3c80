"""JSON Web Tokens of an identity provider, verified strictly.

Source: RFC 7519, RFC 7515, RFC 8725 (best current practices), OpenID Connect Core 1.0 section 3.1.3.7. Rules:

1. The algorithm is pinned by the key: ES256 for P-256, ES384 for P-384, RS256 or PS256 for RSA of 2048 bits or more.
   `none` and every HMAC are refused, whatever the token says of itself; so are `crit`, `jku`, `x5u`, `jwk` and `x5c`.
2. `iss`, `aud` and `exp` must be there; `exp`, `nbf` and `iat` are judged with a minute's leeway.
3. Base64 is url-safe, without padding, in canonical form; JSON has one reading (`strict`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from clearance.errors import Refused
from clearance.trust import strict
from clearance.trust.refusal import Rejected

LEEWAY = 60.0
LIMIT = 16 * 1024
_CURVES: dict[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm, int]] = {
    "P-256": ("ES256", ec.SECP256R1(), hashes.SHA256(), 32),
    "P-384": ("ES384", ec.SECP384R1(), hashes.SHA384(), 48),
}
_EXTERNAL = ("crit", "jku", "x5u", "jwk", "x5c")


class Jwk(msgspec.Struct, frozen=True):
    """A public key of a provider (RFC 7517); other members are ignored."""

    kty: Literal["EC", "RSA"]
    kid: str = ""
    use: str = "sig"
    alg: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""
    n: str = ""
    e: str = ""


class Claims(msgspec.Struct, frozen=True):
    """What a valid token says; `claims` holds everything, the rest is checked."""

    issuer: str
    subject: str
    expires: float
    claims: dict[str, Any]


def parse_keys(data: bytes) -> list[Jwk]:
    """Reads a key set; keys of other kinds (`oct`, `OKP`) and those for encryption are left out.

    Raises:
        Refused: it is none.
    """
    found = strict.parse(data, "key set")
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise Refused("the key set has no list `keys`: give the provider's JWKS document")
    usable = [each for each in keys if isinstance(each, dict) and each.get("kty") in ("EC", "RSA")]
    try:
        return [key for key in msgspec.convert(usable, list[Jwk]) if key.use == "sig"]
    except msgspec.ValidationError as error:
        raise Refused(f"the key set is malformed: {error}") from None


def verify(token: str, keys: Sequence[Jwk], issuer: str, audience: str, now: float) -> Claims:
    """Returns what a token says.

    Args:
        token: in compact form.
        keys: the provider's.
        issuer: that is expected, exactly.
        audience: that must be among the token's.
        now: seconds since 1970.

    Raises:
        Rejected: `token-malformed`, `token-algorithm`, `token-key`, `token-signature`, `token-issuer`,
            `token-audience`, `token-expired`, `token-early`.
    """
    parts = token.split(".")
    if len(token) > LIMIT or len(parts) != 3 or not token.isascii():
        raise Rejected("token-malformed", "this is no JSON Web Token of at most 16 KiB: send one of the provider")
    header, body = _object(parts[0], "header"), _object(parts[1], "claims")
    if external := [name for name in _EXTERNAL if name in header]:
        raise Rejected("token-malformed", f"the token's header has {external[0]!r}, which is not accepted")
    message = f"{parts[0]}.{parts[1]}".encode()
    _check_signature(header, _bytes(parts[2], "signature"), message, keys)
    return _check_claims(body, issuer, audience, now)


def _check_signature(header: Mapping[str, Any], signature: bytes, message: bytes, keys: Sequence[Jwk]) -> None:
    algorithm, kid = header.get("alg"), header.get("kid", "")
    chosen = [key for key in keys if not kid or key.kid == kid]
    if not chosen:
        raise Rejected("token-key", f"no key {kid!r} is known of the provider: it may have changed its keys")
    fitting = [key for key in chosen if algorithm in _algorithms(key)]
    if not fitting:
        raise Rejected("token-algorithm", f"the token's algorithm {algorithm!r} is not that of the provider's key")
    if not any(_verifies(key, str(algorithm), signature, message) for key in fitting):
        raise Rejected("token-signature", "the token was not signed by the provider: it was changed or forged")


def _check_claims(body: dict[str, Any], issuer: str, audience: str, now: float) -> Claims:
    if body.get("iss") != issuer:
        raise Rejected("token-issuer", f"the token is of {body.get('iss')!r} and {issuer!r} is expected")
    meant = body.get("aud")
    if audience not in (meant if isinstance(meant, list) else [meant]):
        raise Rejected("token-audience", f"the token is for {meant!r} and not for {audience!r}")
    times = {name: body.get(name) for name in ("exp", "nbf", "iat")}
    for name, value in times.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise Rejected("token-malformed", f"the token's {name!r} is no number")
    expires = times["exp"]
    if expires is None:
        raise Rejected("token-malformed", "the token has no 'exp': tokens that never end are not accepted")
    if now >= expires + LEEWAY:
        raise Rejected("token-expired", "the token has expired: ask the provider for a new one")
    if any(value is not None and now < value - LEEWAY for value in (times["nbf"], times["iat"])):
        raise Rejected("token-early", "the token is not valid yet: check the clocks")
    subject = body.get("sub")
    if not isinstance(subject, str) or not subject:
        raise Rejected("token-malformed", "the token has no 'sub': it names nobody")
    return Claims(issuer, subject, float(expires), body)


def _algorithms(key: Jwk) -> tuple[str, ...]:
    own = ("RS256", "PS256") if key.kty == "RSA" else (_CURVES[key.crv][0],) if key.crv in _CURVES else ()
    return tuple(each for each in own if key.alg in ("", each))


def _verifies(key: Jwk, algorithm: str, signature: bytes, message: bytes) -> bool:
    try:
        if key.kty == "RSA":
            public = rsa.RSAPublicNumbers(_integer(key.e), _integer(key.n)).public_key()
            if public.key_size < 2048:
                return False
            how: padding.AsymmetricPadding = padding.PKCS1v15()
            if algorithm == "PS256":
                how = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
            public.verify(signature, message, how, hashes.SHA256())
            return True
        _, curve, digest, size = _CURVES[key.crv]
        if len(signature) != 2 * size:
            return False
        der = utils.encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
        point = ec.EllipticCurvePublicNumbers(_integer(key.x), _integer(key.y), curve).public_key()
        point.verify(der, message, ec.ECDSA(digest))
    except (InvalidSignature, ValueError):
        return False
    return True


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        found = strict.parse(_bytes(text, what), f"token's {what}")
    except Rejected:
        raise
    except Refused as error:
        raise Rejected("token-malformed", str(error)) from None
    if not isinstance(found, dict):
        raise Rejected("token-malformed", f"the token's {what} are no JSON object")
    return found


def _bytes(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        data = b""
    if not data or base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise Rejected("token-malformed", f"the token's {what} is not base64url without padding")
    return data


def _integer(text: str) -> int:
    return int.from_bytes(_bytes(text, "key"))
