"""What refuses a policy at load, and how rules decide when several stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cedarpy", reason="needs the extra trust")

import cedarpy
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from clearance.errors import UsageError
from clearance.trust.policy import facts as known
from clearance.trust.policy.decide import Decider, Target
from clearance.trust.policy.facts import Evidence, Facts, VulnerabilityFacts
from clearance.trust.policy.rules import ACTIONS, load, parse, schema_text
from clearance.types.principal import Principal

ANN = Principal("ann", ("research",), ("operator",))
MODEL = Target("sha256:" + "0" * 64, "model", "cats")
ANYBODY = '@id("anybody") permit (principal, action, resource);\n'


def forbid(condition: str, id: str = "rule", more: str = "") -> str:
    return f'@id("{id}") @reason("why") @mend("do") {more} forbid (principal, action, resource) {condition};\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ANYBODY + forbid("when { context.signature < 1 }"), "rule 'rule': attribute `signature` in context"),
        (ANYBODY + forbid("unless { context.provenance.ours }"), "unable to guarantee safety of access to optional"),
        (ANYBODY + forbid('when { context.signatures == "two" }'), "rule 'rule'"),
        (ANYBODY + forbid('when { context.signers == [1, "a"] }'), "rule 'rule'"),
        (ANYBODY + forbid("when { principal.name }"), "attribute `name` on entity type `User` not found"),
        (ANYBODY.replace("action", 'action == Action::"serv"'), "serv"),
        (ANYBODY + "forbid (principal, action", "unexpected end of input"),
        ("", "no rule permits anything"),
        (forbid(""), "no rule permits anything"),
        ("permit (principal, action, resource);", "rule number 1 has no name"),
        (ANYBODY + ANYBODY, "two rules are called 'anybody'"),
        (ANYBODY + forbid("").replace('@reason("why")', ""), 'add @reason("…")'),
        (ANYBODY + forbid("").replace("@mend", "@mind"), "@mind is not known; did you mean 'mend'?"),
        (ANYBODY + forbid("", more='@needs("provenence")'), "did you mean 'provenance'?"),
        (ANYBODY + forbid("", more='@level("info")'), "use warn or deny"),
        (ANYBODY.replace("permit", '@level("warn") permit'), "a permit has an @id alone"),
        ('@id("a") permit (principal == ?principal, action, resource);', "it has a template"),
    ],
)  # fmt: skip
def test_a_policy_that_may_mean_something_else_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text, "mine")
    assert str(refused.value).startswith("policy mine: ")
    assert said in str(refused.value)


def test_a_name_that_is_none_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file; did you mean 'production'"):
        load("prodution")
    file = tmp_path / "big.cedar"
    file.write_bytes(b"//" * (1 << 20))
    with pytest.raises(UsageError, match="it is not read"):
        load(str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="utf-8"):
        load(str(file))


def test_a_rule_that_errs_is_a_denial_though_cedar_would_allow() -> None:
    text = ANYBODY + forbid("when { 9223372036854775807 + context.signatures > 0 }", "sum")
    policy, evidence = parse(text, "mine"), Evidence(Facts(signatures=1))
    request = {"principal": 'User::"ann"', "action": 'Action::"serve"', "resource": 'Artifact::"x"'}
    alone = cedarpy.is_authorized({**request, "context": evidence.context}, policy.parsed, [])
    assert alone.allowed
    decision = Decider(policy).decide(ANN, "serve", MODEL, evidence)
    assert not decision.allowed
    assert decision.rules == ("sum",)
    assert "cannot be evaluated: integer overflow" in decision.reason


def test_what_cedar_cannot_read_is_a_denial() -> None:
    decision = Decider(parse(ANYBODY, "mine")).decide(ANN, "serve", MODEL, Evidence(Facts(signatures=2**70)))
    assert not decision.allowed
    assert decision.rules == ("cedar",)


def test_a_warning_that_errs_is_a_denial_too() -> None:
    text = ANYBODY + forbid("when { 9223372036854775807 + context.signatures > 0 }", "sum", '@level("warn")')
    assert not Decider(parse(text, "mine")).decide(ANN, "serve", MODEL, Evidence(Facts(signatures=1))).allowed


def test_a_warning_neither_denies_nor_permits() -> None:
    warned = forbid("", "warned", '@level("warn")')
    decider = Decider(parse(warned + '@id("ops") permit (principal in Group::"ops", action, resource);', "mine"))
    denied = decider.decide(ANN, "use", MODEL, Evidence(Facts()))
    assert denied.rules == ("no-permit",)
    assert "ann (research, operator)" in denied.reason
    assert [each.rule for each in denied.warnings] == ["warned"]
    allowed = decider.decide(Principal("bob", ("ops",)), "use", MODEL, Evidence(Facts()))
    assert (allowed.allowed, allowed.rules) == (True, ("ops",))
    both = Decider(parse(ANYBODY + warned + forbid("", "hard"), "mine")).decide(ANN, "use", MODEL, Evidence(Facts()))
    assert both.rules == ("hard",)
    assert [each.rule for each in both.warnings] == ["warned"]


def test_rules_see_principal_action_and_artifact() -> None:
    text = (
        '@id("roles") permit (principal, action == Action::"serve", resource)\n'
        'when { principal.roles.contains("operator") && resource.kind == "model" && resource.name like "ca*" };'
    )
    decider = Decider(parse(text, "mine"))
    assert decider.decide(ANN, "serve", MODEL, Evidence(Facts())).allowed
    assert not decider.decide(ANN, "use", MODEL, Evidence(Facts())).allowed
    assert not decider.decide(Principal("ann"), "serve", MODEL, Evidence(Facts())).allowed
    assert not decider.decide(ANN, "serve", Target(MODEL.digest, "dataset", "cats"), Evidence(Facts())).allowed
    assert not decider.decide(ANN, "serve", Target(MODEL.digest, "model", "dogs"), Evidence(Facts())).allowed
    with pytest.raises(UsageError, match="did you mean 'serve'"):
        decider.decide(ANN, "server", MODEL, Evidence(Facts()))


def test_names_cannot_break_out_of_the_request() -> None:
    decider = Decider(parse('@id("bob") permit (principal == User::"bob", action, resource);', "mine"))
    for name in ('x"; User::"bob', "bob\n", "bob\0", '"}', "Bob", " bob"):
        hostile = Target(name, name, name)
        assert not decider.decide(Principal(name, (name,), (name,)), "use", hostile, Evidence(Facts())).allowed
    assert decider.decide(Principal("bob"), "use", MODEL, Evidence(Facts())).allowed


def test_a_decision_is_remembered_until_what_it_depends_on_changes() -> None:
    decider = Decider(load("team"))
    facts = Facts(signatures=1, vulnerabilities=VulnerabilityFacts())
    first = decider.decide(ANN, "use", MODEL, Evidence(facts, "database 1"))
    assert decider.decide(ANN, "use", MODEL, Evidence(facts, "database 1")) is first
    assert decider.decide(ANN, "use", MODEL, Evidence(facts, "database 2")) is not first
    assert decider.decide(ANN, "serve", MODEL, Evidence(facts, "database 1")) is not first
    assert decider.decide(Principal("bob"), "use", MODEL, Evidence(facts, "database 1")) is not first
    assert not decider.decide(ANN, "use", MODEL, Evidence(Facts(signatures=1), "database 1")).allowed
    assert load("team").digest == load("team").digest != load("dev").digest


def test_it_remembers_a_bounded_number() -> None:
    decider = Decider(load("team"), memory=2)
    evidence = Evidence(Facts())
    first = decider.decide(ANN, "use", Target("1"), evidence)
    for digest in ("2", "3"):
        decider.decide(ANN, "use", Target(digest), evidence)
    assert decider.decide(ANN, "use", Target("1"), evidence) is not first
    assert decider.decide(ANN, "use", Target("1"), evidence) == first


NUMBERS = st.integers(0, 2**40)
NAMES = st.lists(st.text(max_size=8), max_size=3).map(tuple)
KINDS = {
    "provenance": st.builds(known.ProvenanceFacts, builder=st.text(), isolation=st.text(), ours=st.booleans()),
    "vulnerabilities": st.builds(known.VulnerabilityFacts, databaseDays=NUMBERS, critical=NUMBERS, ids=NAMES),
    "licences": st.builds(known.LicenceFacts, allowed=st.booleans(), found=NAMES),
    "tests": st.builds(known.TestFacts, result=st.sampled_from(["PASSED", "WARNED", "FAILED"]), passed=NAMES),
    "review": st.builds(known.ReviewFacts, approvals=NUMBERS, rejections=NUMBERS),
    "summary": st.builds(known.SummaryFacts, passed=st.booleans(), verifiers=NAMES),
}
FACTS = st.builds(
    Facts, signatures=NUMBERS, signers=NAMES, **{name: st.just(UNSET) | kind for name, kind in KINDS.items()}
)


@settings(max_examples=60, deadline=None)
@given(FACTS, st.sampled_from(ACTIONS))
def test_facts_are_always_what_the_schema_says(facts: Facts, action: str) -> None:
    decider, evidence = Decider(load("production")), Evidence(facts)
    request = {
        "principal": {"type": "User", "id": "ann"}, "action": {"type": "Action", "id": action},
        "resource": {"type": "Artifact", "id": MODEL.digest}, "context": evidence.context,
    }  # fmt: skip
    entities = decider._entities_of(ANN, MODEL)
    held = cedarpy.is_authorized(request, decider.policy.parsed, entities, cedarpy.Schema.from_str(schema_text()))
    assert not held.diagnostics.errors
    assert held.decision is not cedarpy.Decision.NoDecision
    assert decider.decide(ANN, action, MODEL, evidence).allowed == held.allowed


@settings(max_examples=60, deadline=None)
@given(FACTS, st.sampled_from(sorted(KINDS)))
def test_less_evidence_never_turns_a_denial_into_a_yes(facts: Facts, kind: str) -> None:
    import msgspec

    decider = Decider(load("production"))
    less = msgspec.structs.replace(facts, **{kind: UNSET})
    if decider.decide(ANN, "use", MODEL, Evidence(less)).allowed and kind not in ("review", "summary"):
        assert decider.decide(ANN, "use", MODEL, Evidence(facts)).allowed


def test_cedar_is_imported_only_when_a_policy_is_read() -> None:
    program = (
        "import sys, clearance.trust.policy, clearance.trust.policy.rules, clearance.cli.policy, clearance.cli.main\n"
        "import clearance.trust.policy.decide, clearance.trust.policy.suite\n"
        "print('cedarpy' in sys.modules); sys.modules['cedarpy'] = None\n"
        "from clearance.errors import MissingExtra\n"
        "try: clearance.trust.policy.rules.load('dev')\n"
        "except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "False"
    assert "pip install 'clearance[trust]'" in done.stdout
