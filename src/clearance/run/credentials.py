"""Users, API keys and signing keys as the controller changes them: each change is entered in the same transaction.

A rotation is prepared, entered (under the old key's checkpoint) and only then done: killed in between, the old key goes
on signing, which the log allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from clearance.errors import UsageError, nearest
from clearance.run.host.credentials import (
    AddApiKey,
    AddUser,
    Attest,
    CredentialOrder,
    Record,
    RevokeApiKey,
    RevokeKey,
    RevokeUser,
    RotateKey,
)
from clearance.types.digest import digest_of, parse_digest

if TYPE_CHECKING:
    from clearance.run.controller import Controller

RECORDS = (
    "bundle.signed", "authority.made", "certificate.issued", "certificate.revoked", "role.granted", "role.withdrawn",
)  # fmt: skip


class Credentials:
    """See the module.

    Args:
        controller: which leads.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def obey(self, order: CredentialOrder, principal: str) -> Any:
        """Does what a person says; it is committed when this returns.

        Raises:
            UsageError: no such user or key.
        """
        match order:
            case Attest():
                return self._attest(order, principal)
            case AddUser():
                return self._add_user(order, principal)
            case RevokeUser():
                return self._revoke_user(order.name, principal)
            case AddApiKey():
                return self._add_key(order, principal)
            case RevokeApiKey():
                return self._revoke_api_key(order.id, principal)
            case RotateKey():
                return self._rotate(principal)
            case RevokeKey():
                return self._revoke_key(order, principal)
            case Record():
                return self._record(order, principal)

    def _attest(self, order: Attest, principal: str) -> dict[str, str]:
        from clearance.trust import evidence
        from clearance.trust.entitled import entitlements
        from clearance.trust.provenance import PREDICATE

        controller = self._controller
        digest = parse_digest(order.subject)
        entitled = entitlements(controller.settings.home, controller.evidence.attestor.verifiers())
        said = evidence.verify(order.envelope, digest, entitled)
        if said.kind.predicate == PREDICATE:
            raise UsageError("provenance is said by the controller alone, of what it has run")
        controller.ledger.add("attestation_add", digest, said.kind.name, 0, -1, order.envelope, controller.clock())
        controller.ledger.note(
            "statement.signed", digest, principal, kind=said.kind.name, signer=said.signer,
            envelope=digest_of(order.envelope),
        )  # fmt: skip
        controller.settle()
        return {"kind": said.kind.name, "signer": said.signer}

    def _add_user(self, order: AddUser, principal: str) -> bool:
        from clearance.trust.identity import check_user

        check_user(order.name, order.groups, order.roles)
        controller = self._controller
        texts = [msgspec.json.encode(each).decode() for each in (order.groups, order.roles)]
        controller.ledger.add("account_put", order.name, *texts, controller.clock())
        controller.ledger.note("user.added", order.name, principal, groups=order.groups, roles=order.roles)
        controller.settle()
        return True

    def _revoke_user(self, name: str, principal: str) -> bool:
        controller = self._controller
        found = controller.database.rows("account_get", name)
        if not found:
            known = [row[0] for row in controller.database.rows("accounts")]
            raise UsageError(f"no user {name!r}{nearest(name, known)}: see `clearance user list`")
        if found[0][3] is not None:
            return False
        now = controller.clock()
        controller.ledger.add("account_revoke", now, name)
        controller.ledger.add("api_keys_revoke", now, name)
        controller.ledger.note("user.revoked", name, principal)
        controller.settle()
        return True

    def _add_key(self, order: AddApiKey, principal: str) -> dict[str, Any]:
        from clearance.trust.identity import new_api_key

        controller = self._controller
        found = controller.database.rows("account_get", order.user)
        if not found or found[0][3] is not None:
            raise UsageError(f"no user {order.user!r}: `clearance user add {order.user}` first")
        made, now = new_api_key(), controller.clock()
        expires = now + order.days * 86400 if order.days else None
        controller.ledger.add("api_key_add", made.id, order.user, made.hash, order.label, now, expires)
        controller.ledger.note("api-key.added", order.user, principal, id=made.id, label=order.label, expires=expires)
        controller.settle()
        return {"id": made.id, "key": made.text, "expires_at": expires}

    def _revoke_api_key(self, id: str, principal: str) -> bool:
        controller = self._controller
        found = controller.database.rows("api_key_get", id)
        if not found:
            raise UsageError(f"no API key {id!r}: see `clearance user list --keys`")
        if found[0][3] is not None:
            return False
        controller.ledger.add("api_key_revoke", controller.clock(), id)
        controller.ledger.note("api-key.revoked", found[0][0], principal, id=id)
        controller.settle()
        return True

    def _rotate(self, principal: str) -> dict[str, str]:
        controller = self._controller
        ring = controller.evidence.attestor.ring
        prepared = ring.prepare()
        said = msgspec.to_builtins(prepared.handover)
        controller.ledger.note("key.rotated", prepared.handover.new, principal, **said)
        controller.settle()
        ring.promote(prepared)
        return {"old": prepared.handover.old, "new": prepared.handover.new}

    def _revoke_key(self, order: RevokeKey, principal: str) -> str:
        controller = self._controller
        ring = controller.evidence.attestor.ring
        id = ring.revocable(order.id)
        controller.ledger.note("key.revoked", id, principal, key=id, reason=order.reason)
        controller.settle()
        ring.revoke(id)
        controller.evidence.forget_verified()
        return id

    def _record(self, order: Record, principal: str) -> bool:
        controller = self._controller
        if order.action not in RECORDS:
            raise UsageError(f"{order.action!r} cannot be entered from outside: use one of {', '.join(RECORDS)}")
        controller.ledger.note(order.action, order.subject, principal, **order.details)
        controller.settle()
        return True
