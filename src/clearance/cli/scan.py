"""`clearance trust scan …`: scanners of dependencies, licences, secrets and code, with one form of report."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clearance.cli.output import count, json_option, print_json, print_table

if TYPE_CHECKING:
    from clearance.trust.scan.finding import Finding, Report

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path, exists=True)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
OUTPUT = click.Path(path_type=Path, dir_okay=False)
LEVELS = ("low", "medium", "high", "critical")


def report_options(function: F) -> F:
    """Adds what every scan has: `--refuse-from`, `--sarif`, `--json`."""
    function = json_option(function)
    function = click.option("--sarif", type=OUTPUT, help="Write the findings as SARIF 2.1.0 too.")(function)
    return click.option(
        "--refuse-from", type=click.Choice(LEVELS), default="low", show_default=True,
        help="The least severity that refuses; what has no known severity always does.",
    )(function)  # fmt: skip


@click.group()
def scan() -> None:
    """Look for vulnerabilities, licences, secrets and dangerous code."""


@scan.command()
@click.argument("path", type=PATH, required=False)
@click.option(
    "--database", type=click.Path(path_type=Path), help="Folder or zip of OSV JSON; default: HOME/trust/osv.zip."
)
@click.option(
    "--max-age", default=30, type=click.IntRange(1, 36500), show_default=True, help="Days the database may be old."
)
@click.option("--vex", "vex", multiple=True, type=FILE, help="OpenVEX file that lets findings pass; may be repeated.")
@click.option("--product", default="", help="What is scanned, by the name that VEX files have for it.")
@click.option("--predicate", type=OUTPUT, help="Write the vulnerability report for `clearance trust attest`.")
@report_options
def deps(
    path: Path | None,
    database: Path | None,
    max_age: int,
    vex: Sequence[Path],
    product: str,
    predicate: Path | None,
    refuse_from: str,
    sarif: Path | None,
    as_json: bool,
) -> None:
    """Look up the distributions that PATH names in a database of vulnerabilities, offline.

    PATH is an environment lock, requirements in exact versions, pylock.toml, uv.lock, poetry.lock or a folder of
    installed distributions; by default what this interpreter imports. Exit code 3 when one is vulnerable, and when
    the database is missing, empty, damaged or old.
    """
    import sys

    from clearance.settings import load

    try:
        from clearance.trust.keys import trust_directory
        from clearance.trust.scan import database as databases
        from clearance.trust.scan import osv, packages
        from clearance.trust.scan.report import make_report
        from clearance.trust.scan.vex import read_document
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    settings = load()
    started = _now()
    pinned = packages.installed() if path is None else packages.read_packages(path)
    statements = [read_document(_read(file), started, str(file)) for file in vex]
    settings.make_home()
    trust = trust_directory(settings.home)
    known = databases.open_database(database or trust / "osv.zip", trust / "osv-index")
    databases.require_fresh(known.source, started, datetime.timedelta(days=max_age))
    found = osv.vulnerabilities(pinned, known, statements, product)
    target = str(path) if path is not None else sys.prefix
    report = make_report("dependencies", target, len(pinned), found, started, _now(), known.source)
    if predicate is not None:
        from clearance.trust.scan.predicate import vulnerabilities

        _write_json(predicate, vulnerabilities(report))
    _finish(report, "distribution", refuse_from, sarif, as_json)


@scan.command()
@click.argument("path", type=PATH, required=False)
@click.option("--allow", multiple=True, metavar="LICENCE", help="Allow it, besides permissive ones; may be repeated.")
@click.option("--deny", multiple=True, metavar="LICENCE", help="Deny it, whatever else allows it; may be repeated.")
@click.option("--only", is_flag=True, help="Allow what --allow names and nothing else.")
@click.option("--predicate", type=OUTPUT, help="Write the licence report for `clearance trust attest`.")
@report_options
def licences(
    path: Path | None,
    allow: Sequence[str],
    deny: Sequence[str],
    only: bool,
    predicate: Path | None,
    refuse_from: str,
    sarif: Path | None,
    as_json: bool,
) -> None:
    """Judge the licences of installed distributions, or of a model.

    PATH is a folder of distributions, a model's folder, a safetensors file or a card; by default what this interpreter
    imports. LICENCE is an SPDX id (`MPL-2.0`), `A WITH B`, a hub's id (`llama3`) or `LicenseRef-NAME`. Exit code 3 when
    a licence is unknown or not allowed.
    """
    import sys

    try:
        from clearance.trust.scan import licences as rules
        from clearance.trust.scan.declared import read_declared
        from clearance.trust.scan.report import make_report

        policy = rules.make_policy(allow, deny, not only)
        started = _now()
        judged = [rules.judge(each, policy) for each in read_declared(path)]
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    target = str(path) if path is not None else sys.prefix
    report = make_report("licences", target, len(judged), rules.findings(judged), started, _now())
    if predicate is not None:
        from clearance.trust.scan.predicate import licences as predicate_of

        _write_json(predicate, predicate_of(judged, policy))
    _finish(report, "licence", refuse_from, sarif, as_json)


@scan.command()
@click.argument("path", type=PATH)
@click.option("--accept", type=FILE, help="TOML file of findings that are accepted, with reasons.")
@report_options
def secrets(path: Path, accept: Path | None, refuse_from: str, sarif: Path | None, as_json: bool) -> None:
    """Look for passwords, keys and tokens in PATH: a file, a folder or a source bundle (zip).

    What is found is never printed: only its kind, its length and its line. Exit code 3 when there is one, and when the
    scanner cannot look.
    """
    try:
        from clearance.trust.scan.reading import read_files
        from clearance.trust.scan.report import make_report
        from clearance.trust.scan.secrets import scan_secrets

        started = _now()
        files = list(read_files(path))
        found = _accepted(scan_secrets(files), accept, path)
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    report = make_report("secrets", str(path), len(files), found, started, _now())
    _finish(report, "file", refuse_from, sarif, as_json)


@scan.command()
@click.argument("path", type=PATH)
@click.option("--accept", type=FILE, help="TOML file of findings that are accepted, with reasons.")
@report_options
def code(path: Path, accept: Path | None, refuse_from: str, sarif: Path | None, as_json: bool) -> None:
    """Look for dangerous calls in the Python of PATH: a file, a notebook, a folder or a source bundle (zip).

    Nothing is run. Exit code 3 when there is one, and when a file cannot be parsed.
    """
    from clearance.trust.scan.code import scan_code
    from clearance.trust.scan.reading import read_files
    from clearance.trust.scan.report import make_report

    started = _now()
    found, read = scan_code(read_files(path), str(path))
    report = make_report("code", str(path), read, _accepted(found, accept, path), started, _now())
    _finish(report, "file", refuse_from, sarif, as_json)


@scan.command()
@click.argument("path", type=PATH)
@click.option("--sarif", type=OUTPUT, help="Write the findings as SARIF 2.1.0 too.")
@json_option
def model(path: Path, sarif: Path | None, as_json: bool) -> None:
    """Judge a model from outside, a file or a folder, by its content.

    Nothing in it is executed, unpickled or unpacked. Exit code 3 when anything speaks against it.
    """
    from clearance.trust.ingest import judge_model
    from clearance.trust.scan.model import examined, findings
    from clearance.trust.scan.report import make_report

    started = _now()
    judgement = judge_model(path)
    report = make_report("model", str(path), examined(judgement), findings(judgement), started, _now())
    _finish(report, "file", "low", sarif, as_json, {"formats": judgement.formats})


def _accepted(found: Sequence[Finding], accept: Path | None, path: Path) -> Sequence[Finding]:
    if accept is None:
        return found
    from clearance.trust.scan.accepted import apply, read_accepted

    return apply(found, read_accepted(accept), str(path), str(accept))


def _finish(
    report: Report, noun: str, refuse_from: str, sarif: Path | None, as_json: bool, more: dict[str, Any] | None = None
) -> None:
    """Prints a report, writes it as SARIF, and ends with exit code 3 where something is refused.

    Args:
        report: to be printed.
        noun: what was examined.
        refuse_from: the least severity that refuses.
        sarif: the file, if any.
        as_json: print JSON.
        more: what the JSON has besides the report.
    """
    from clearance.trust.scan.finding import Severity, refused

    against = refused(report.findings, Severity(refuse_from))
    if sarif is not None:
        from clearance.trust.scan.sarif import encode

        _write(sarif, encode([report]))
    if as_json:
        import msgspec

        print_json({**msgspec.structs.asdict(report), **(more or {})})
    else:
        if report.findings:
            print_table(
                ["severity", "rule", "where", "what", "mend"],
                [
                    [
                        "passed" if each.suppressed else each.severity,
                        each.rule,
                        f"{each.where}:{each.line}" if each.line else each.where,
                        each.text,
                        each.suppressed or each.mend,
                    ]
                    for each in report.findings
                ],
            )
        knew = report.database
        told = f"; database of {knew.date[:10]}, {count(knew.entries, 'advisory')}" if knew else ""
        told = told.replace("advisorys", "advisories")
        click.echo(
            f"{count(report.examined, noun)}, {count(len(report.findings), 'finding')}, {len(against)} refused{told}",
            err=True,
        )
    if against:
        click.get_current_context().exit(3)


def _write_json(path: Path, data: Any) -> None:
    import msgspec

    _write(path, msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")


def _write(path: Path, data: bytes) -> None:
    from clearance.errors import UsageError

    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}: choose a file that can be written") from None


def _read(path: Path) -> bytes:
    from clearance.errors import UsageError

    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}: choose a file that can be read") from None


def _missing(error: ModuleNotFoundError) -> Exception:
    from clearance.errors import MissingExtra

    if error.name is None or error.name.startswith("clearance"):
        return error
    return MissingExtra(error.name.partition(".")[0].replace("_", "-"), "trust")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
