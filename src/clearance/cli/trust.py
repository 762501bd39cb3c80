"""`clearance trust …`: the keys, certificates, signatures, attestations and scanners of an installation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearance.cli.output import count, json_option, print_json, print_records
from clearance.cli.scan import scan

if TYPE_CHECKING:
    from clearance.trust.authority import Authority
    from clearance.trust.keyring import Keyring

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
MODEL = click.Path(path_type=Path, exists=True)


@click.group()
def trust() -> None:
    """Keys, certificates, signatures, attestations and scanners."""


trust.add_command(scan)


@trust.group()
def keys() -> None:
    """The keys that sign: list them, let a new one take over, trust one no more."""


@keys.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """List the keys of this installation, newest first."""
    print_records(_ring().listed(), as_json, ["key", "state", "file"])


@keys.command()
def rotate() -> None:
    """Let a new key sign from now on.

    The old one hands over in the audit log, so that whoever trusts it can follow; its private half is destroyed. What
    it has signed stays valid.
    """
    from clearance.cli.user import tell
    from clearance.run.host.credentials import RotateKey

    told = tell(RotateKey())
    click.echo(f"{told['new'][:16]} signs now; {told['old'][:16]} has handed over")


@keys.command()
@click.argument("key")
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
def revoke(key: str, reason: str) -> None:
    """Trust nothing that KEY has signed: the beginning of its id is enough.

    Results that it signed must be made again. The key that signs is rotated first.
    """
    from clearance.cli.user import tell
    from clearance.run.host.credentials import RevokeKey

    click.echo(f"{tell(RevokeKey(key, reason))[:16]} is revoked")


@keys.command()
@click.option("--remove", is_flag=True, help="Write it without a passphrase instead.")
def protect(remove: bool) -> None:
    """Encrypt the private key with a passphrase, which is asked for.

    From then on CLEARANCE_KEY_PASSPHRASE must say where the passphrase is, for example `file:/run/secrets/clearance`.
    """
    ring = _ring()
    if remove:
        ring.protect(None)
        click.echo("the key has no passphrase any more: unset CLEARANCE_KEY_PASSPHRASE")
        return
    text = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True)
    ring.protect(text.encode())
    click.echo("the key is encrypted: say where the passphrase is with CLEARANCE_KEY_PASSPHRASE")


@trust.command("init-ca")
@click.option("--name", default="Clearance installation authority", show_default=True, help="Its common name.")
def init_ca(name: str) -> None:
    """Make the small authority that certifies who signs here."""
    import datetime

    authority = _authority()
    made = authority.make(name, datetime.datetime.now(datetime.UTC))
    _record("authority.made", f"{made.serial_number:x}", name=name)
    click.echo(f"wrote {authority.certificate_file}: give it to whoever verifies")
    click.echo(f"wrote {authority.revocations_file}: what is revoked, for 30 days at a time")


@trust.group()
def certificate() -> None:
    """Certificates of this installation's authority."""


@certificate.command()
@click.argument("name")
@click.option("--workload", is_flag=True, help="NAME is a workload, not a user.")
@click.option("--client", is_flag=True, help="It may authenticate a client too.")
@click.option("--days", default=90, type=click.IntRange(1, 3650), show_default=True, help="How long it lives.")
@json_option
def issue(name: str, workload: bool, client: bool, days: int, as_json: bool) -> None:
    """Issue a certificate for NAME, with a key of its own."""
    import datetime

    now = datetime.datetime.now(datetime.UTC)
    made = _authority().issue(name, "workload" if workload else "user", now, days, client)
    _record("certificate.issued", f"{made.serial:x}", identity=made.identity, until=f"{made.until:%Y-%m-%d}")
    if as_json:
        print_json(made)
        return
    click.echo(f"wrote {made.certificate}")
    click.echo(f"wrote {made.key}: give both to {name}, and keep neither")
    click.echo(f"{made.identity}, serial {made.serial:x}, until {made.until:%Y-%m-%d}")


@certificate.command("list")
@json_option
def list_certificates(as_json: bool) -> None:
    """List what was issued."""
    from clearance.trust.certificates import identity_of

    authority = _authority()
    revoked = authority.authorities().revocations[0]
    found = [
        {
            "serial": f"{each.serial_number:x}",
            "identity": identity_of(each),
            "until": f"{each.not_valid_after_utc:%Y-%m-%d}",
            "revoked": revoked.get_revoked_certificate_by_serial_number(each.serial_number) is not None,
        }
        for each in authority.issued()
    ]
    print_records(found, as_json, ["serial", "identity", "until", "revoked"])


@certificate.command("revoke")
@click.argument("serial")
def revoke_certificate(serial: str) -> None:
    """Revoke the certificate SERIAL."""
    import datetime

    from clearance.errors import UsageError

    try:
        number = int(serial, 16)
    except ValueError:
        raise UsageError(f"{serial!r} is no serial number: see `clearance trust certificate list`") from None
    authority = _authority()
    authority.revoke(number, datetime.datetime.now(datetime.UTC))
    _record("certificate.revoked", f"{number:x}")
    click.echo(f"{serial} is revoked: give {authority.revocations_file} to whoever verifies")


@certificate.command("refresh")
def refresh() -> None:
    """Sign the list of what is revoked anew, for another 30 days."""
    import datetime

    authority = _authority()
    authority.refresh(datetime.datetime.now(datetime.UTC))
    click.echo(f"wrote {authority.revocations_file}")


@trust.command()
@click.argument("path", type=MODEL, required=False)
@click.option("--artifact", nargs=2, metavar="RUN TASK", help="Sign a stored model instead: no byte of it is read.")
@click.option("--key", type=FILE, help="Private key (PEM); default: that of this installation.")
@click.option("--certificate", "chain", type=FILE, help="The signer's certificate and those above it (PEM).")
@click.option("--name", default="", help="What the model is called; default: the name of PATH.")
@click.option("--ignore", multiple=True, help="A relative path that is left out; may be repeated.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Default: PATH/model.sig, or PATH.sig for a file."
)
def sign(
    path: Path | None,
    artifact: tuple[str, str] | None,
    key: Path | None,
    chain: Path | None,
    name: str,
    ignore: tuple[str, ...],
    output: Path | None,
) -> None:
    """Sign the model PATH, a directory or a file, in the format of OpenSSF Model Signing v1.0.

    The audit log keeps when that was, so that the signature outlives the certificate.
    """
    from clearance.cli.signing import sign_model

    sign_model(path, artifact, key, chain, name, ignore, output)


@trust.command()
@click.argument("path", type=MODEL)
@click.option("--signature", type=FILE, help="Default: PATH/model.sig, or PATH.sig.")
@click.option("--key", "keys", multiple=True, type=FILE, help="A public key (PEM) that is trusted; may be repeated.")
@click.option("--root", "roots", multiple=True, type=FILE, help="A root certificate (PEM) that is trusted.")
@click.option("--revocations", multiple=True, type=FILE, help="What a root has revoked (PEM).")
@click.option("--identity", default="", help="Whom the certificate must name.")
@click.option("--issuer", default="", help="Issuer of a Sigstore identity: verifies a keyless signature, offline.")
@click.option("--ignore", multiple=True, help="A relative path that is left out; may be repeated.")
@click.option("--signed-at", type=FILE, help="Proof of the audit log's entry that says when it was signed.")
@click.option("--log-key", type=FILE, help="Public key (PEM) of that log.")
@json_option
def verify(path: Path, as_json: bool, **options: Any) -> None:
    """Verify that the model PATH is exactly what somebody signed whom you trust.

    Without --key, --root or --issuer this installation is trusted: its keys, and its authority for --identity. A
    certificate is judged by now, or by when the audit log says that it signed. Exit code 3 when something does not
    hold, with the reason.
    """
    from clearance.cli.signing import Chosen, verify_model

    found = verify_model(path, Chosen(**options))
    if as_json:
        print_json(found)
    elif found["holds"]:
        click.echo(f"ok   {found['name']}: {count(found['files'], 'file')}, signed by {found['signer']}")
    else:
        click.echo(f"FAIL {found['code']}: {found['reason']}")
    if not found["holds"]:
        click.get_current_context().exit(3)


@trust.command()
@click.argument("digest")
@click.option("--kind", required=True, help="test-result, vulnerabilities, licences, review, summary or vex.")
@click.option("--predicate", type=FILE, required=True, help="What is said: a JSON file.")
@click.option("--name", default="artifact", show_default=True, help="What the artifact is called, for people.")
@click.option("--key", type=FILE, help="Private key (PEM) of who says it; default: that of this installation.")
def attest(digest: str, kind: str, predicate: Path, name: str, key: Path | None) -> None:
    """Say something of the artifact DIGEST, signed: a test result, a scan, a licence report, a review …

    It is kept only if whoever signs may say so: see `clearance trust entitle`.
    """
    from clearance.cli.signing import signing_key
    from clearance.cli.user import tell
    from clearance.run.host.credentials import Attest
    from clearance.settings import load
    from clearance.trust import dsse, evidence
    from clearance.types.digest import parse_digest

    settings = load()
    settings.make_home()
    of = evidence.kind_of(kind)
    payload = evidence.encode(of, name, parse_digest(digest), evidence.read_predicate(of, predicate.read_bytes()))
    told = tell(Attest(digest, dsse.sign(payload, [signing_key(settings, key)])))
    click.echo(f"{told['kind']} of {digest[:19]} is kept, signed by {told['signer'][:16]}")


@trust.command()
@click.argument("role", required=False)
@click.argument("key", required=False)
@click.option("--withdraw", is_flag=True, help="Take the role from the key of this id.")
@json_option
def entitle(role: str | None, key: str | None, withdraw: bool, as_json: bool) -> None:
    """Let a public KEY (PEM file) say what a ROLE says: scanner, tester, reviewer or verifier.

    Without arguments, list who may say what besides this installation.
    """
    from clearance.errors import UsageError
    from clearance.settings import load
    from clearance.trust import entitled
    from clearance.trust.keys import load_public_key

    settings = load()
    settings.make_home()
    if role is None:
        found = [{"role": each, "key": id} for each, id in entitled.granted(settings.home)]
        print_records(found, as_json, ["role", "key"])
        return
    if key is None:
        raise UsageError("say which key: a file with the public key, or with --withdraw its id")
    if withdraw:
        id = entitled.withdraw(settings.home, role, key)
        _record("role.withdrawn", id, role=role)
        click.echo(f"{id[:16]} has the role {role} no more")
        return
    public = load_public_key(Path(key))
    entitled.grant(settings.home, role, public)
    _record("role.granted", public.id, role=role)
    click.echo(f"{public.id[:16]} has the role {role}")


@trust.command()
@click.argument("digest")
@click.option("--graph", type=click.Path(path_type=Path, dir_okay=False), help="Draw it as SVG into this file.")
@click.option("--limit", default=1000, type=click.IntRange(1, 100_000), show_default=True, help="At most this many.")
@json_option
def lineage(digest: str, graph: Path | None, limit: int, as_json: bool) -> None:
    """Walk from the artifact DIGEST back to its sources, by signed provenance alone.

    Exit code 3 where the chain is broken: something on the way has no provenance that holds.
    """
    from clearance.cli.runs import reading
    from clearance.settings import load
    from clearance.trust import chain
    from clearance.trust.entitled import entitlements
    from clearance.types.digest import parse_digest

    settings = load()
    with reading() as database:

        def envelopes(of: str) -> list[bytes]:
            rows = database.rows("attestations", of)
            return [bytes(row[3]) for row in rows if row[0] != "model-signature"]

        links = chain.walk(parse_digest(digest), envelopes, entitlements(settings.home, _ring().trusted()), limit)
    if as_json:
        print_json(links)
    else:
        for link in links:
            how = f" by {link.made_by.rpartition('/builder/')[2]}" if link.made_by else ""
            used = f"  as {', '.join(link.used_as)}" if link.used_as and not link.is_source else ""
            more = f"  [{', '.join(link.attested)}]" if link.attested else ""
            name = link.name or "NOT ATTESTED"
            click.echo(f"{'  ' * link.depth}{name} {link.digest[:19]}{how}{used}{more}")
            for code, text in link.refused:
                click.echo(f"{'  ' * link.depth}  FAIL {code}: {text}")
    if graph is not None:
        graph.write_text(chain.draw(links), "utf-8")
        click.echo(f"wrote {graph}", err=True)
    if any(not link.is_source and not link.made_by for link in links):
        click.get_current_context().exit(3)


def _record(action: str, subject: str, **details: Any) -> None:
    """Enters into the audit log what was certified."""
    from clearance.cli.user import tell
    from clearance.run.host.credentials import Record

    tell(Record(action, subject, details))


def _ring() -> Keyring:
    from clearance.settings import load
    from clearance.trust.attest import Attestor

    settings = load()
    settings.make_home()
    return Attestor(settings.home, settings.key_passphrase).ring


def _authority() -> Authority:
    from clearance.settings import load
    from clearance.trust.authority import Authority
    from clearance.types.secret import Secret

    settings = load()
    settings.make_home()
    reference: Any = settings.key_passphrase
    return Authority(settings.home, Secret.parse(reference).reveal().encode() if reference else None)
