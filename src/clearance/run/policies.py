"""Asks the policy of the setting `policy` about what a task would use or serve: the border to `trust.policy`.

The policy is read once, when the controller starts: a file that is changed counts from the next start. Attestations,
and who may say what, are read anew each time, since both change while it runs; what they amount to is kept for a day.
"""

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from clearance.run.clearance import Verdict
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.types.artifact import Artifact
from clearance.types.digest import Digest
from clearance.types.principal import Principal, groups_of

if TYPE_CHECKING:
    from clearance.trust.attest import Attestor
    from clearance.trust.evidence import Entitlements
    from clearance.trust.policy.facts import Evidence

_KEPT = 1000


class Policies:
    """Judges artifacts by the policy of this installation.

    Args:
        settings: with a policy.
        database: where attestations and users are.
        attestor: whose keys are the installation's.

    Raises:
        UsageError: the policy is refused.
        MissingExtra: Cedar is not installed.
    """

    def __init__(self, settings: Settings, database: Database, attestor: Callable[[], Attestor]) -> None:
        from clearance.trust.policy.decide import Decider
        from clearance.trust.policy.rules import load

        self._home = settings.home
        self._database = database
        self._attestor = attestor
        self._decider = Decider(load(settings.policy))
        self._entitled: tuple[object, Entitlements] | None = None
        self._evidence: OrderedDict[tuple[object, ...], Evidence] = OrderedDict()

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self._decider.policy.name

    def judge(
        self, asker: str, action: str, some: Iterable[tuple[str, Artifact, bytes | None]], now: float
    ) -> tuple[Verdict | None, tuple[str, ...]]:
        """Returns the denial, if there is one, and the ids of the rules that warn.

        Args:
            asker: name of the user.
            action: `use` or `serve`.
            some: what each artifact is called, the artifact, and a provenance that may not be stored yet.
            now: seconds since 1970.
        """
        from clearance.trust.policy.decide import Target

        principal, moment = self._principal(asker), datetime.datetime.fromtimestamp(now, datetime.UTC)
        says, entitled = self._who_may_say_what()
        warnings: dict[str, None] = {}
        for name, artifact, fresh in some:
            evidence = self._amounts_to(artifact.digest, fresh, says, entitled, moment)
            decision = self._decider.decide(
                principal, action, Target(artifact.digest, artifact.serializer, name), evidence
            )
            if not decision.allowed:
                reason = f"policy {self.name} denies to {action} {name!r} ({artifact.digest}): {decision.reason}"
                return Verdict("denied", reason, rule=decision.rules[0]), ()
            warnings.update(dict.fromkeys(each.rule for each in decision.warnings))
        return None, tuple(warnings)

    def _principal(self, name: str) -> Principal:
        found = self._database.rows("account_get", name)
        if not found:
            return Principal(name, groups_of(name))
        if found[0][3] is not None:  # revoked
            return Principal(name)
        groups, roles = (tuple(msgspec.json.decode(each)) for each in found[0][:2])
        return Principal(name, groups, roles)

    def _who_may_say_what(self) -> tuple[object, Entitlements]:
        from clearance.trust.entitled import entitlements, granted

        own = self._attestor().verifiers()
        says = (tuple(key.id for key in own), tuple(granted(self._home)))
        if self._entitled is None or self._entitled[0] != says:
            self._entitled = (says, entitlements(self._home, own))
        return self._entitled

    def _amounts_to(
        self, digest: Digest, fresh: bytes | None, says: object, entitled: Entitlements, moment: datetime.datetime
    ) -> Evidence:
        from clearance.trust.policy.facts import gather, verified

        stored = [bytes(row[3]) for row in self._database.rows("attestations", digest) if row[0] != "model-signature"]
        envelopes = tuple(dict.fromkeys([*stored, fresh] if fresh is not None else stored))
        key = (digest, envelopes, says, moment.date())
        known = self._evidence.get(key)
        if known is None:
            attested, refused = verified(digest, envelopes, entitled)
            own = [each.id for each in self._attestor().verifiers()]
            known = self._evidence[key] = gather(attested, moment, refused=refused, own=own)
            if len(self._evidence) > _KEPT:
                self._evidence.popitem(last=False)
        return known
