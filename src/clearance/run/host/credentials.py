"""What people tell the controller of users, API keys and signing keys: beside `clearance.run.host.orders`."""

from __future__ import annotations

from typing import Any

import msgspec


class AddUser(msgspec.Struct, frozen=True, tag="add_user"):
    """Let there be a user with these groups and roles, or change them; one that was revoked is back, without keys."""

    name: str
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


class RevokeUser(msgspec.Struct, frozen=True, tag="revoke_user"):
    """Accept nothing of this user any more. Answered with whether that changed anything."""

    name: str


class AddApiKey(msgspec.Struct, frozen=True, tag="add_api_key"):
    """Make an API key for a user. Answered with `{"id", "key", "expires_at"}`; the key is told this once.

    Attributes:
        user: who may use it.
        label: what for.
        days: how long it lives; 0 for without end.
    """

    user: str
    label: str = ""
    days: float = 0.0


class RevokeApiKey(msgspec.Struct, frozen=True, tag="revoke_api_key"):
    """Accept this API key no more. Answered with whether that changed anything."""

    id: str


class RotateKey(msgspec.Struct, frozen=True, tag="rotate_key"):
    """Let a new signing key take over. Answered with `{"old", "new"}`."""


class RevokeKey(msgspec.Struct, frozen=True, tag="revoke_key"):
    """Trust nothing that this key has signed. Answered with its whole id."""

    id: str
    reason: str


class Record(msgspec.Struct, frozen=True, tag="record"):
    """Enter into the audit log what was signed or certified outside a run. Answered with True.

    Attributes:
        action: one of `clearance.run.credentials.RECORDS`.
        subject: digest of what a signature is about, or the serial number of a certificate.
        details: JSON-compatible facts; `envelope` is the digest of what was signed.
    """

    action: str
    subject: str
    details: dict[str, Any] = {}


class Attest(msgspec.Struct, frozen=True, tag="attest"):
    """Keep an attestation of an artifact, if whoever signed it may say so. Answered with its kind and signer.

    Attributes:
        subject: digest of the artifact.
        envelope: the signed DSSE envelope.
    """

    subject: str
    envelope: bytes


CredentialOrder = Attest | AddUser | RevokeUser | AddApiKey | RevokeApiKey | RotateKey | RevokeKey | Record
