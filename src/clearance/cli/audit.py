"""`clearance audit log|verify|prove|checkpoint|export`: what was decided and signed, and that nobody changed it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearance.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from clearance.trust.audit.verify import Report
    from clearance.trust.keys import PublicKey

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def audit() -> None:
    """The audit log: what was decided and what was signed, which nobody can edit unnoticed."""


@audit.command()
@click.option("--action", default="", help="Only entries of this action, or of all that begin with `NOUN.`.")
@click.option("--subject", default="", help="Only entries about this run, digest, key or user.")
@click.option("--actor", default="", help="Only what this principal did.")
@click.option("--limit", default=50, type=click.IntRange(1), show_default=True, help="At most this many, newest first.")
@json_option
def log(action: str, subject: str, actor: str, limit: int, as_json: bool) -> None:
    """List entries, newest first; `verify` says whether they can be believed."""
    import msgspec

    from clearance.cli.runs import reading, when
    from clearance.trust.audit.log import decode_entry
    from clearance.trust.audit.reader import AuditReader

    found = []
    with reading() as database:
        for text in AuditReader(database).newest_first():
            entry = decode_entry(text)
            named = entry.action.startswith(action) if action.endswith(".") else action in ("", entry.action)
            about = not subject or entry.subject == subject or entry.subject.startswith(subject + " ")
            if named and about and actor in ("", entry.actor):
                found.append(entry)
                if len(found) == limit:
                    break
    if as_json:
        print_json(found)
        return
    rows = [
        [each.number, when(each.at), each.actor, each.action, each.subject, msgspec.json.encode(each.details).decode()]
        for each in found
    ]
    print_table(["number", "at", "actor", "action", "subject", "details"], rows)


@audit.command()
@click.argument("file", type=FILE, required=False)
@click.option("--key", "keys", multiple=True, type=FILE, help="A public key (PEM) that is trusted; may be repeated.")
@click.option("--checkpoint", "kept", multiple=True, type=FILE, help="A checkpoint that was kept elsewhere.")
@json_option
def verify(file: Path | None, keys: tuple[Path, ...], kept: tuple[Path, ...], as_json: bool) -> None:
    """Verify the log of this installation, or an exported FILE, or a proof.

    For a FILE nothing else is needed but --key. Exit code 3 when something does not hold.
    """
    from clearance.errors import UsageError
    from clearance.trust.audit.verify import verify as verified

    if file is not None and not keys:
        raise UsageError("say whom you trust: --key PATH of the log's public key, which did not come with the file")
    trusted = _keys(keys)
    witnessed = [path.read_text() for path in kept]
    if file is None:
        from clearance.cli.runs import reading
        from clearance.trust.audit.reader import AuditReader

        with reading() as database:
            reader = AuditReader(database)
            entries = ((leaf, entry) for _, entry, leaf in reader.entries())
            report = verified(entries, list(reader.checkpoints()), trusted, witnessed)
    else:
        from clearance.trust.audit import export

        with file.open("rb") as lines:
            if export.is_proof(lines):
                _verify_proof(file, trusted, as_json)
                return
            report = verified(*export.read(lines), trusted, witnessed)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report.problems:
        click.get_current_context().exit(3)


@audit.command()
@click.argument("number", type=click.IntRange(0), required=False)
@click.option("--since", type=FILE, help="Prove instead that the log goes on from this older checkpoint.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: standard output.")
def prove(number: int | None, since: Path | None, output: Path | None) -> None:
    """Prove that entry NUMBER is in the log, or that the log goes on from an older checkpoint.

    The proof is a small JSON document that `clearance audit verify PROOF --key KEY` verifies anywhere.
    """
    import msgspec

    from clearance.cli.runs import reading
    from clearance.errors import UsageError
    from clearance.trust.audit import export
    from clearance.trust.audit.reader import AuditReader

    if (number is None) == (since is None):
        raise UsageError("say the NUMBER of an entry, or --since CHECKPOINT")
    with reading() as database:
        reader = AuditReader(database)
        if since is not None:
            proof = export.consistency(reader, since.read_text())
        else:
            proof = export.inclusion(reader, number or 0)
    _write([msgspec.json.encode(proof) + b"\n"], output)


@audit.command()
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: standard output.")
def checkpoint(output: Path | None) -> None:
    """Print the newest signed checkpoint: keep it elsewhere, and nobody can cut the log short or write it anew."""
    from clearance.cli.runs import reading
    from clearance.trust.audit.reader import AuditReader

    with reading() as database:
        reader = AuditReader(database)
        reader.checkpoint()
        text = reader.newest() or ""
    _write([text.encode()], output)


@audit.command()
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: standard output.")
def export(output: Path | None) -> None:
    """Write the whole log as one file for `clearance audit verify FILE --key KEY`."""
    from clearance.cli.runs import reading
    from clearance.trust.audit import export as exported
    from clearance.trust.audit.reader import AuditReader

    with reading() as database:
        _write(exported.write(AuditReader(database)), output)


def _write(lines: Any, output: Path | None) -> None:
    from clearance.errors import UsageError

    if output is None:
        sys.stdout.buffer.writelines(lines)
        return
    if output.exists():
        raise UsageError(f"{output} is there already: choose another --output")
    with output.open("wb") as file:
        file.writelines(lines)
    click.echo(f"wrote {output}")


def _keys(files: tuple[Path, ...]) -> list[PublicKey]:
    from clearance.settings import load
    from clearance.trust.attest import Attestor
    from clearance.trust.keys import load_public_key

    if files:
        return [load_public_key(file) for file in files]
    settings = load()
    return Attestor(settings.home, settings.key_passphrase).verifiers()


def _verify_proof(file: Path, trusted: list[PublicKey], as_json: bool) -> None:
    from clearance.trust import strict
    from clearance.trust.audit.export import Proof
    from clearance.trust.audit.verify import verify_proof

    proof = strict.decode(file.read_bytes(), Proof, "proof")
    found = verify_proof(proof, trusted)
    if as_json:
        print_json({"holds": True, "origin": found.origin, "size": found.size, "at": found.at, "entry": proof.entry})
    elif proof.entry is None:
        click.echo(f"the log of {found.size} entries goes on from its checkpoint of {proof.number}")
    else:
        click.echo(f"entry {proof.number} is in the log of {found.size} entries: {proof.entry}")


def _print(report: Report) -> None:
    from clearance.cli.runs import when

    for problem in report.problems:
        click.echo(f"FAIL {problem.code}: {problem.text}")
    if report.problems:
        return
    open_ones = report.size - report.covered
    more = f"; {open_ones} more wait for the next checkpoint" if open_ones else ""
    click.echo(f"ok   {report.covered} entries of {report.origin}, signed at {when(report.at)}{more}")
