"""Who asks: the only place where a credential becomes a `Principal`.

| credential | what it is | becomes |
|---|---|---|
| API key | `clr_ID_SECRET`, shown once; SHA-256 of the secret is kept | the user that it belongs to |
| JSON Web Token | of the identity provider (`jwt`) | the claim that names the user, its groups and roles |
| client certificate | of a root that is trusted (`certificates`) | the user of its URI |
| workload token | of an attempt that runs (`workload`) | the attempt, with the role `workload` |

A user that was revoked is nobody, whatever credential is shown. A refusal never says which part was wrong, but in its
code, which is for the log.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.errors import UsageError
from clearance.store.database import Database
from clearance.trust.refusal import Rejected
from clearance.types.principal import Principal

if TYPE_CHECKING:
    from clearance.trust.certificates import Signer
    from clearance.trust.jwt import Claims

ROLES = ("admin", "operator", "viewer", "signer")
PREFIX = "clr"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}\Z")
_KEY = re.compile(r"clr_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")
_URI = re.compile(r"clearance://([0-9a-f]{16})/(user|workload)/([A-Za-z0-9._@-]{1,63})\Z")


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An identity provider whose tokens are accepted.

    Attributes:
        issuer: as its tokens name it.
        audience: what its tokens must be meant for.
        keys: its key set: a file, or an https address.
        name: the claim that names the user.
        groups: the claim that lists groups; `roles`: the one that lists roles; dots lead into objects
            (`realm_access.roles`).
    """

    issuer: str
    audience: str
    keys: str
    name: str = "sub"
    groups: str = "groups"
    roles: str = "roles"


class NewKey(msgspec.Struct, frozen=True):
    """An API key that was just made; `text` is shown once and kept nowhere, `hash` is what is stored."""

    id: str
    text: str
    hash: str


def check_user(name: str, groups: tuple[str, ...], roles: tuple[str, ...]) -> None:
    """Checks what a user is to be.

    Raises:
        UsageError: a name that is none, or a role that does not exist.
    """
    for each in (name, *groups):
        if not _NAME.match(each):
            raise UsageError(f"{each!r} is no name: use up to 63 letters, digits and . _ @ -, first a letter or digit")
    for role in roles:
        if role not in ROLES:
            raise UsageError(f"{role!r} is no role: use {', '.join(ROLES)}")


def new_api_key() -> NewKey:
    """Returns a fresh API key: 256 random bits, so that a plain hash of it cannot be searched."""
    id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return NewKey(id, f"{PREFIX}_{id}_{secret}", _hash(secret))


class Identities:
    """Turns credentials into principals.

    Args:
        database: where users and API keys are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def by_api_key(self, text: str, now: float) -> Principal:
        """Returns whose API key this is.

        Args:
            text: the key.
            now: seconds since 1970.

        Raises:
            Rejected: `key-malformed`, `key-unknown`, `key-revoked`, `key-expired`, `user-revoked`.
        """
        match = _KEY.match(text)
        if match is None:
            raise _nobody("key-malformed")
        found = self._database.rows("api_key_get", match[1])
        account, stored, expires, revoked = found[0] if found else ("", _hash(""), None, None)
        same = hmac.compare_digest(_hash(match[2]), stored)
        if not found or not same:
            raise _nobody("key-unknown")
        if revoked is not None:
            raise _nobody("key-revoked")
        if expires is not None and now >= expires:
            raise _nobody("key-expired")
        return self._user(account, required=True)

    def by_token(self, claims: Claims, provider: Provider) -> Principal:
        """Returns whom a verified token names; a local user of that name may be revoked, and adds its groups and roles.

        Raises:
            Rejected: `token-malformed` where a claim is of another kind, `user-revoked`.
        """
        name = _claim(claims.claims, provider.name)
        if not isinstance(name, str) or not _NAME.match(name):
            raise Rejected("token-malformed", f"the claim {provider.name!r} of the token names nobody")
        known = self._user(name, required=False)
        groups, roles = (_names(claims.claims, each) for each in (provider.groups, provider.roles))
        roles = tuple(role for role in roles if role in ROLES)
        return Principal(name, _joined(known.groups, groups), _joined(known.roles, roles))

    def by_certificate(self, signer: Signer, authority: str = "") -> Principal:
        """Returns whom a verified certificate names.

        Args:
            signer: as `certificates.verify_chain` returned it.
            authority: the installation that its URI must name; empty for any.

        Raises:
            Rejected: `certificate-identity`: it names nobody of this installation; `user-revoked`.
        """
        match = _URI.match(signer.identity)
        if match is None or authority not in ("", match[1]):
            raise Rejected("certificate-identity", f"the certificate names {signer.identity or 'nobody'}: no user here")
        if match[2] == "workload":
            return Principal(f"workload:{match[3]}", (), ("workload",))
        return self._user(match[3], required=False)

    def _user(self, name: str, required: bool) -> Principal:
        found = self._database.rows("account_get", name)
        if not found:
            if required:
                raise _nobody("user-unknown")
            return Principal(name)
        groups, roles, _, revoked = found[0]
        if revoked is not None:
            raise _nobody("user-revoked")
        return Principal(name, tuple(msgspec.json.decode(groups)), tuple(msgspec.json.decode(roles)))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _nobody(code: str) -> Rejected:
    return Rejected(code, "this credential is not accepted: ask an admin for one (`clearance user add-key NAME`)")


def _claim(claims: dict[str, Any], path: str) -> Any:
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _names(claims: dict[str, Any], path: str) -> tuple[str, ...]:
    found = _claim(claims, path)
    if found is None:
        return ()
    listed = [found] if isinstance(found, str) else found
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise Rejected("token-malformed", f"the claim {path!r} of the token is no list of names")
    return tuple(listed)


def _joined(*some: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for each in some for name in each))
