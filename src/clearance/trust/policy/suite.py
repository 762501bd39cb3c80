"""Unit tests of a policy: requests with evidence, and what must be decided of each.

A file in YAML or JSON (a subset of it): `policy`, the name of a bundle or a file beside this one, and `tests`, each
with a `name`, what is asked, the `evidence` as `facts.Facts` has it, the decision that is expected and the rules that
must decide. Evidence that is not written is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from clearance.errors import UsageError, nearest
from clearance.trust.policy.decide import Decider, Decision, Target
from clearance.trust.policy.facts import Evidence, Facts
from clearance.trust.policy.rules import BUNDLES, NEEDS, Policy, load
from clearance.types.principal import Principal

_LIMIT = 4 << 20


class Asker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks."""

    name: str = "somebody"
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The artifact."""

    digest: str = "sha256:" + "0" * 64
    kind: str = "model"
    name: str = ""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked, with the evidence."""

    principal: Asker = Asker()
    action: str = "use"
    artifact: Asked = Asked()
    evidence: Facts = Facts()

    def ask(self, decider: Decider) -> Decision:
        """Returns what a policy decides."""
        who, what = self.principal, self.artifact
        return decider.decide(
            Principal(who.name, who.groups, who.roles),
            self.action,
            Target(what.digest, what.kind, what.name),
            Evidence(self.evidence),
        )


class Case(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One test: `rules` are exactly those that must decide, in any order; `warnings` likewise. None asks nothing."""

    name: str
    expect: Literal["allow", "deny"]
    rules: tuple[str, ...] | None = None
    warnings: tuple[str, ...] | None = None


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of tests."""

    policy: str
    tests: tuple[Case, ...]


class Outcome(msgspec.Struct, frozen=True):
    """How one test ended; `problem` is empty where it passed."""

    name: str
    decision: str
    rules: tuple[str, ...]
    problem: str = ""


class Report(msgspec.Struct, frozen=True):
    """How all ended; `untried` are rules that forbid or warn and decided in no test."""

    policy: str
    outcomes: tuple[Outcome, ...]
    untried: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True when every test passed."""
        return not any(each.problem for each in self.outcomes)


def read_suite(file: Path) -> Suite:
    """Reads a file of tests.

    Raises:
        UsageError: it cannot be read, has another form, or has no test.
    """
    suite: Suite = _read(file, Suite)
    if not suite.tests:
        raise UsageError(f"{file}: it has no test: nothing would be tried")
    names = [each.name for each in suite.tests]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{file}: two tests are called {name!r}: give each a name of its own")
    return suite


def read_request(file: Path) -> Request:
    """Reads a file with one request.

    Raises:
        UsageError: it cannot be read, or has another form.
    """
    request: Request = _read(file, Request)
    return request


def policy_of(suite: Suite, file: Path) -> Policy:
    """Returns the policy that a suite is about; a file is looked for beside it.

    Raises:
        UsageError: it is not there, or is refused.
    """
    return load(suite.policy if suite.policy in BUNDLES else str(file.parent / suite.policy))


def run(suite: Suite, policy: Policy) -> Report:
    """Asks the policy each test.

    Raises:
        UsageError: a test names a rule that the policy does not have.
    """
    known = [rule.id for rule in policy.rules]
    for case in suite.tests:
        for rule in (*(case.rules or ()), *(case.warnings or ())):
            if rule not in (*known, "no-permit"):
                raise UsageError(
                    f"test {case.name!r}: {policy.name} has no rule {rule!r}{nearest(rule, known)}: "
                    f"it has {', '.join(known)}"
                )
    decider = Decider(policy)
    outcomes, tried = [], set()
    for case in suite.tests:
        decision = case.ask(decider)
        warnings = [each.rule for each in decision.warnings]
        tried |= {*warnings, *(each.rule for each in decision.against)}
        outcomes.append(Outcome(case.name, _word(decision), decision.rules, _problem(case, decision, warnings)))
    untried = (rule.id for rule in policy.rules if rule.effect == "forbid" and rule.id not in tried)
    return Report(policy.name, tuple(outcomes), tuple(untried))


def _word(decision: Decision) -> str:
    return "allow" if decision.allowed else "deny"


def _problem(case: Case, decision: Decision, warnings: Sequence[str]) -> str:
    if _word(decision) != case.expect:
        why = decision.reason or "nothing is against it"
        return f"expected {case.expect}, decided {_word(decision)} by {', '.join(decision.rules)}: {why}"
    if case.rules is not None and set(case.rules) != set(decision.rules):
        return f"expected it of {', '.join(case.rules) or 'no rule'}, decided by {', '.join(decision.rules)}"
    if case.warnings is not None and set(case.warnings) != set(warnings):
        return f"expected warnings {', '.join(case.warnings) or 'none'}, there were {', '.join(warnings) or 'none'}"
    return ""


class _Once(yaml.SafeLoader):
    """Refuses a key that stands twice, which YAML would let pass, and aliases, which can grow without end."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [each.value for each, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.YAMLError(f"the key {name!r} stands twice, at line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*): write the value out")
        return super().compose_node(parent, index)


def _read(file: Path, form: Any) -> Any:
    try:
        if file.stat().st_size > _LIMIT:
            raise UsageError(f"{file} has more than {_LIMIT} bytes: it is not read")
        found = yaml.load(file.read_text("utf-8"), _Once)  # noqa: S506 - it is a SafeLoader
        return msgspec.convert(found, form)
    except msgspec.ValidationError as error:
        fields = f"; evidence can be {', '.join(NEEDS)}" if "evidence" in str(error) else ""
        raise UsageError(f"{file}: {error}{fields}") from None
    except (OSError, ValueError, RecursionError, TypeError, yaml.YAMLError) as error:
        raise UsageError(f"{file}: {' '.join(str(error).split())}") from None
