"""Decides: may this principal do this with this artifact, given what is attested of it?

1. Allowed is what a `permit` allows and no `forbid` stands against. A rule that warns does not stand against it.
2. A rule that errs is a denial, whatever the others say: Cedar itself would skip it.
3. A decision is remembered by everything it depends on: principal, action, artifact, and the digests of the evidence
   (which covers the vulnerability database) and of the policy.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from clearance.errors import UsageError, nearest
from clearance.trust.policy.facts import Evidence
from clearance.trust.policy.rules import ACTIONS, Policy, Rule, cedar_module, schema_text
from clearance.types.principal import Principal

if TYPE_CHECKING:
    import cedarpy

_ENTITIES = 64  # kept parsed, a few kilobytes each
K = TypeVar("K")
V = TypeVar("V")


class Target(msgspec.Struct, frozen=True):
    """The artifact that is asked for.

    Attributes:
        digest: of its bytes.
        kind: `model`, `dataset`, `package` …, as whoever asks calls it.
        name: for people and rules.
    """

    digest: str
    kind: str = "artifact"
    name: str = ""


class Against(msgspec.Struct, frozen=True):
    """A rule that stands against it, and which of the evidence that it looks at is missing."""

    rule: str
    reason: str
    mend: str
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        missing = f" (missing evidence: {', '.join(self.missing)})" if self.missing else ""
        return f"{self.rule}: {self.reason}{missing}; {self.mend}"


class Decision(msgspec.Struct, frozen=True):
    """The answer.

    Attributes:
        allowed: yes or no.
        permitted: ids of the rules that permit it; empty when it is denied.
        against: what denies it; empty when it is allowed.
        warnings: what stands against it and only warns.
        policy: digest of the policy that was asked.
    """

    allowed: bool
    permitted: tuple[str, ...] = ()
    against: tuple[Against, ...] = ()
    warnings: tuple[Against, ...] = ()
    policy: str = ""

    @property
    def rules(self) -> tuple[str, ...]:
        """Ids of the rules that decided."""
        return self.permitted if self.allowed else tuple(each.rule for each in self.against)

    @property
    def reason(self) -> str:
        """One line for people: every rule that stands against it, with the mend; empty when it is allowed."""
        return " | ".join(map(str, self.against))


class Decider:
    """Asks one policy, and remembers.

    Args:
        policy: that is asked.
        memory: how many decisions to remember, the oldest are forgotten first.
    """

    def __init__(self, policy: Policy, memory: int = 10_000) -> None:
        self.policy = policy
        self._memory = memory
        self._decided: OrderedDict[tuple[str, str, Principal, str, Target], Decision] = OrderedDict()
        self._cedar = cedar_module()
        self._schema = self._cedar.Schema.from_str(schema_text())
        self._principals: OrderedDict[Principal, cedarpy.Entities] = OrderedDict()
        self._entities: OrderedDict[tuple[Principal, Target], cedarpy.Entities] = OrderedDict()
        self._said: OrderedDict[tuple[str, frozenset[str]], Against] = OrderedDict()

    def decide(self, principal: Principal, action: str, target: Target, evidence: Evidence) -> Decision:
        """Returns the decision.

        Args:
            principal: who asks.
            action: one of `ACTIONS`.
            target: the artifact.
            evidence: about exactly this artifact.

        Raises:
            UsageError: an action that does not exist.
        """
        key = (self.policy.digest, evidence.digest, principal, action, target)
        known = self._decided.get(key)
        if known is not None:
            return known
        decision = self._judge(principal, action, target, evidence)
        self._remember(self._decided, key, decision)
        return decision

    def _judge(self, principal: Principal, action: str, target: Target, evidence: Evidence) -> Decision:
        if action not in ACTIONS:
            raise UsageError(f"{action!r} is no action{nearest(action, ACTIONS)}: use {', '.join(ACTIONS)}")
        request = {
            "principal": {"type": "User", "id": principal.name},
            "action": {"type": "Action", "id": action},
            "resource": {"type": "Artifact", "id": target.digest},
            "context": evidence.context,
        }
        entities = self._entities_of(principal, target)
        result = self._cedar.is_authorized(request, self.policy.parsed, entities)
        allowed, found, errors = self._read(result)
        warnings: tuple[Against, ...] = ()
        if not allowed and not errors and found and all(rule.effect == "forbid" and rule.warns for rule in found):
            warnings = self._against(found, evidence)
            again = self._cedar.is_authorized(request, self.policy.without_warnings, entities)
            allowed, found, errors = self._read(again)
        elif not allowed:
            warnings = self._against((rule for rule in found if rule.warns), evidence)
            found = [rule for rule in found if not rule.warns]
        digest = self.policy.digest
        if errors:
            said = tuple(Against(id, f"the rule cannot be evaluated: {why}", "mend the rule") for id, why in errors)
            return Decision(False, (), (*said, *self._against(_forbids(found), evidence)), warnings, digest)
        if allowed:
            return Decision(True, tuple(rule.id for rule in found), (), warnings, digest)
        against = self._against(_forbids(found), evidence)
        if not against:
            who = f"{principal.name} ({', '.join((*principal.groups, *principal.roles)) or 'no groups or roles'})"
            why = f"no rule permits {who} to {action} this {target.kind}"
            against = (Against("no-permit", why, "ask whoever writes the policy for a permit"),)
        return Decision(False, (), against, warnings, digest)

    def _read(self, result: Any) -> tuple[bool, list[Rule], list[tuple[str, str]]]:
        """Returns whether Cedar allows it, the rules that decided in the order of the policy, and what erred."""
        places = self.policy.by_place
        reasons = set(result.diagnostics.reasons)
        found = [rule for place, rule in places.items() if place in reasons] if reasons else []
        errors = []
        for text in result.diagnostics.errors:
            id = next((rule.id for place, rule in places.items() if f"`{place}`" in text), "cedar")
            errors.append((id, text.partition("`: ")[2] or text))
        if not errors and result.decision is self._cedar.Decision.NoDecision:
            errors.append(("cedar", "it gave no decision"))
        return result.allowed, found, errors

    def _entities_of(self, principal: Principal, target: Target) -> cedarpy.Entities:
        known = self._entities.get((principal, target))
        if known is None:
            uid = {"type": "Artifact", "id": target.digest}
            added = [{"uid": uid, "attrs": {"kind": target.kind, "name": target.name}, "parents": []}]
            known = self._entities_of_principal(principal).with_added_json_str(json.dumps(added))
            if len(self._entities) >= _ENTITIES:
                self._entities.popitem(last=False)
            self._entities[principal, target] = known
        return known

    def _entities_of_principal(self, principal: Principal) -> cedarpy.Entities:
        known = self._principals.get(principal)
        if known is None:
            parents = [{"type": "Group", "id": group} for group in dict.fromkeys(principal.groups)]
            uid = {"type": "User", "id": principal.name}
            entity: dict[str, Any] = {"uid": uid, "attrs": {"roles": principal.roles}, "parents": parents}
            groups = [{"uid": parent, "attrs": {}, "parents": []} for parent in parents]
            known = self._cedar.Entities.from_json_str(json.dumps([entity, *groups]), self._schema)
            self._remember(self._principals, principal, known)
        return known

    def _remember(self, memory: OrderedDict[K, V], key: K, value: V) -> None:
        if len(memory) >= self._memory:
            memory.popitem(last=False)
        memory[key] = value

    def _against(self, rules: Iterable[Rule], evidence: Evidence) -> tuple[Against, ...]:
        return tuple(self._against_of(rule, evidence.present) for rule in rules)

    def _against_of(self, rule: Rule, present: frozenset[str]) -> Against:
        known = self._said.get((rule.id, present))
        if known is None:
            missing = tuple(need for need in rule.needs if need not in present)
            known = Against(rule.id, rule.reason, rule.mend, missing)
            self._remember(self._said, (rule.id, present), known)
        return known


def _forbids(rules: Iterable[Rule]) -> list[Rule]:
    return [rule for rule in rules if rule.effect == "forbid"]
