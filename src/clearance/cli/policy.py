"""`clearance policy`: what the trust desk asks for, in Cedar: read it, try it, and see which rule decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearance.cli.output import count, json_option, print_json, print_records

if TYPE_CHECKING:
    from clearance.trust.policy.decide import Decision, Target
    from clearance.trust.policy.facts import Evidence
    from clearance.trust.policy.rules import Policy
    from clearance.types.principal import Principal

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def policy() -> None:
    """What may be used, registered, promoted and served, by what is attested of it."""


@policy.command()
@click.argument("policy")
@json_option
def check(policy: str, as_json: bool) -> None:
    """Check that POLICY, a file or the name of a bundle, can be trusted to mean what it says, and list its rules."""
    from clearance.trust.policy.rules import load

    read = load(policy)
    rules = [
        {
            "rule": rule.id,
            "effect": "warn" if rule.warns else rule.effect,
            "needs": list(rule.needs) if as_json else ", ".join(rule.needs),
            "reason": rule.reason,
            "mend": rule.mend,
        }
        for rule in read.rules
    ]
    if as_json:
        print_json({"policy": read.name, "digest": read.digest, "rules": rules})
        return
    print_records(rules, False, ["rule", "effect", "needs", "reason"])
    click.echo(f"{policy} holds: {count(len(rules), 'rule')}, {read.digest[:19]}")


@policy.command()
@click.argument("name", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it into this file.")
@click.option("--schema", is_flag=True, help="Print the schema that every policy is validated against.")
def bundle(name: str | None, output: Path | None, schema: bool) -> None:
    """Print the ready-made policy NAME, to be copied and changed; without NAME, list them."""
    from clearance.errors import UsageError, nearest
    from clearance.trust.policy.rules import BUNDLES, schema_text, text_of

    if schema:
        text = schema_text()
    elif name is None:
        for each in BUNDLES:
            click.echo(text_of(each).partition("\n")[0].removeprefix("// "))
        return
    elif name not in BUNDLES:
        raise UsageError(f"there is no bundle {name!r}{nearest(name, BUNDLES)}: use {', '.join(BUNDLES)}")
    else:
        text = text_of(name)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}: choose another --output") from None
    click.echo(f"wrote {output}")


@policy.command()
@click.argument("file", type=FILE)
@click.option("--policy", "named", help="Ask this policy instead of the one that FILE names.")
@json_option
def test(file: Path, named: str | None, as_json: bool) -> None:
    """Run the tests in FILE (YAML or JSON): exit code 1 when a decision is another than expected."""
    from clearance.trust.policy import suite
    from clearance.trust.policy.rules import load

    read = suite.read_suite(file)
    report = suite.run(read, load(named) if named else suite.policy_of(read, file))
    if as_json:
        print_json(report)
    else:
        for each in report.outcomes:
            by = f"{each.decision} by {', '.join(each.rules)}"
            click.echo(f"FAIL {each.name}: {each.problem}" if each.problem else f"ok   {each.name}: {by}")
        if report.untried:
            click.echo(f"no test makes these rules decide: {', '.join(report.untried)}")
        failed = sum(bool(each.problem) for each in report.outcomes)
        click.echo(f"{count(len(report.outcomes), 'test')}, {failed} failed")
    if not report.passed:
        click.get_current_context().exit(1)


@policy.command()
@click.argument("of")
@click.option("--policy", "named", required=True, help="A file, or the name of a bundle.")
@click.option("--action", default="use", show_default=True, help="use, ingest, register, promote or serve.")
@click.option("--kind", default="model", show_default=True, help="What the artifact is, for rules that ask.")
@click.option("--name", default="", help="What it is called, for rules that ask.")
@click.option("--user", help="Who asks; default: whoever runs this.")
@json_option
def explain(of: str, named: str, action: str, kind: str, name: str, user: str | None, as_json: bool) -> None:
    """Say what a policy decides of OF, and which rule: the digest of a stored artifact, or a file with a request.

    Of a stored artifact the attestations are verified, and what they amount to is shown. Exit code 3 when it is denied.
    """
    from clearance.trust.policy.decide import Decider, Target
    from clearance.trust.policy.rules import load
    from clearance.trust.policy.suite import read_request
    from clearance.types.digest import parse_digest

    read = load(named)
    decider = Decider(read)
    evidence: Evidence | None = None
    if of.startswith("sha256:"):
        target = Target(parse_digest(of), kind, name)
        evidence = _stored(target)
        decision = decider.decide(_asker(user), action, target, evidence)
    else:
        decision = read_request(Path(of)).ask(decider)
    _show(read, decision, evidence, as_json)
    if not decision.allowed:
        click.get_current_context().exit(3)


def _show(read: Policy, decision: Decision, evidence: Evidence | None, as_json: bool) -> None:
    if as_json:
        found: dict[str, Any] = {"policy": read.name, "decision": decision, "rules": decision.rules}
        print_json(found if evidence is None else found | {"evidence": evidence.facts})
        return
    if evidence is not None:
        facts = evidence.facts
        click.echo(f"evidence: {', '.join(sorted(evidence.present)) or 'none'}")
        if facts.refused:
            click.echo(f"does not hold, and counts for nothing: {', '.join(facts.refused)}")
    word = "ALLOWED" if decision.allowed else "DENIED"
    click.echo(f"{word} by {read.name}: {', '.join(decision.rules)}")
    decided = {each.rule: each for each in (*decision.against, *decision.warnings)}
    for label, some in (("deny", decision.against), ("warn", decision.warnings)):
        for each in some:
            missing = f" [missing evidence: {', '.join(each.missing)}]" if each.missing else ""
            click.echo(f"{label}  {each.rule}: {each.reason}{missing}\n      {each.mend}")
    for rule in read.rules:
        if rule.id not in decided:
            stands = rule.effect == "permit" and (rule.id in decision.permitted or not decision.allowed)
            if rule.effect == "forbid":
                click.echo(f"ok    {rule.id}")
            elif stands and decision.allowed:
                click.echo(f"permit {rule.id}")


def _asker(user: str | None) -> Principal:
    """Returns the user as the installation knows them."""
    import msgspec

    from clearance.cli.runs import reading
    from clearance.errors import UsageError
    from clearance.types.principal import Principal, local_principal

    if user is None:
        return local_principal()
    with reading() as database:
        found = database.rows("account_get", user)
    if not found or found[0][3] is not None:
        raise UsageError(f"there is no user {user!r}, or it is revoked: see `clearance user list`")
    groups, roles = (tuple(msgspec.json.decode(each)) for each in found[0][:2])
    return Principal(user, groups, roles)


def _stored(target: Target) -> Evidence:
    """Returns what the attestations that are stored of an artifact amount to, verified now."""
    import datetime

    from clearance.cli.runs import reading
    from clearance.settings import load
    from clearance.trust.attest import Attestor
    from clearance.trust.entitled import entitlements
    from clearance.trust.policy.facts import gather, verified
    from clearance.types.digest import Digest

    settings = load()
    settings.make_home()
    ring = Attestor(settings.home, settings.key_passphrase).ring
    entitled = entitlements(settings.home, ring.trusted())
    digest = Digest(target.digest)
    with reading() as database:
        rows = database.rows("attestations", digest)
    attested, refused = verified(digest, (bytes(row[3]) for row in rows if row[0] != "model-signature"), entitled)
    own = [key.id for key in ring.trusted()]
    return gather(attested, datetime.datetime.now(datetime.UTC), refused=refused, own=own)
