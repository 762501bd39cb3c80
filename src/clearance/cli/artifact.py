"""`clearance artifact show|verify|get|lineage`: what a task returned, if it can be believed, where it came from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from clearance.cli.output import json_option, print_json, print_table, size
from clearance.cli.runs import reading, when


@click.group()
def artifact() -> None:
    """What a run produced: show it, verify it, fetch it."""


@artifact.command()
@click.argument("run")
@click.argument("task")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write its cards as one HTML page."
)
@click.option("--open", "open_it", is_flag=True, help="Show its cards in the browser.")
@json_option
def show(run: str, task: str, output: Path | None, open_it: bool, as_json: bool) -> None:
    """Show what TASK of RUN returned, or left if it failed, who signed it, and its cards."""
    from clearance.run.look import inspection
    from clearance.settings import load

    settings = load()
    with reading() as database:
        found = inspection.describe(settings, database, run, task)
        cards = inspection.cards(settings, database, run, task)
    if output is not None or open_it:
        _write_page(found, cards, output, open_it)
        return
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['run']} {found['task']}: {found['type']} ({found['serializer']}), {size(found['size'])}")
    if found["state"] != "success":
        click.echo(f"  state    {found['state']}")
    click.echo(f"  digest   {found['digest']}")
    for key, value in found["metadata"].items():
        click.echo(f"  {key:<8} {value}")
    for file in found["files"]:
        click.echo(f"  file     {file['path']}  {size(file['size'])}  {file['digest'][:19]}")
    for each in found["attestations"]:
        click.echo(f"  signed   {each['kind']} by {each['signer']} at {when(each['created_at'])}")
    for card in cards:
        click.echo()
        _print_card(card)


def _print_card(card: Any) -> None:
    from clearance.run.look.cards import text_of
    from clearance.types.card import Markdown

    if isinstance(card, Markdown) and sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown as Rendered

        Console().print(Rendered(text_of(card), hyperlinks=False))
    else:
        click.echo(text_of(card))


def _write_page(found: dict[str, Any], cards: list[Any], output: Path | None, open_it: bool) -> None:
    import tempfile

    from clearance.errors import UsageError
    from clearance.run.look.cards import page

    if not cards:
        raise UsageError(
            f"{found['run']} {found['task']} has no cards: a task returns Markdown, HTML, Image or a figure"
        )
    if output is None:
        output = Path(tempfile.mkdtemp(prefix="clearance-card-")) / "card.html"
    elif output.exists():
        raise UsageError(f"{output} is there already: choose another --output")
    elif not output.absolute().parent.is_dir():
        raise UsageError(f"{output}: the folder {output.absolute().parent} does not exist")
    output.write_text(page(f"{found['run']} {found['task']}", found["digest"], cards), "utf-8")
    click.echo(f"wrote {output}")
    if open_it:
        import webbrowser

        webbrowser.open(output.absolute().as_uri())


@artifact.command()
@click.argument("run")
@click.argument("task")
@json_option
def verify(run: str, task: str, as_json: bool) -> None:
    """Verify what TASK of RUN returned: its bytes and signatures.

    Exit code 3 when one of them does not hold.
    """
    from clearance.run.look import inspection
    from clearance.settings import load

    with reading() as database:
        checks = inspection.verify(load(), database, run, task)
    if as_json:
        print_json(checks)
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check['holds'] else 'FAIL'} {check['what']}: {check['detail']}")
    if not all(check["holds"] for check in checks):
        raise SystemExit(3)


@artifact.command()
@click.argument("run")
@click.argument("task")
@click.option("--down", is_flag=True, help="What was made of it, instead of what it was made of.")
@click.option("--limit", default=1000, type=click.IntRange(1, 100_000), show_default=True, help="At most this many.")
@json_option
def lineage(run: str, task: str, down: bool, limit: int, as_json: bool) -> None:
    """Show what TASK of RUN was made of, nearest first, across runs."""
    from clearance.run.look.lineage import trace

    with reading() as database:
        steps = trace(database, run, task, down, limit)
    if as_json:
        print_json(steps)
        return
    attested = {None: "", True: "yes", False: "NO"}
    rows = [
        [
            "  " * step.depth + f"{step.run} {step.task}", step.type, step.digest[:19], step.via,
            " ".join(step.of), attested[step.attested],
        ]
        for step in steps
    ]  # fmt: skip
    print_table(["result", "type", "digest", "used as" if down else "as", "of", "attested"], rows)
    if len(steps) == limit:
        click.echo("there may be more: --limit says how many are shown")


@artifact.command()
@click.argument("run")
@click.argument("task")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write; default: standard output.")
def get(run: str, task: str, output: Path | None) -> None:
    """Fetch what TASK of RUN returned, or left if it failed.

    Plain data is printed as JSON, or written to --output; a file, tree, dataset or model needs --output. Beside a model
    its signature is written as NAME.sig.
    """
    from clearance.errors import UsageError
    from clearance.run.look import inspection
    from clearance.settings import load

    with reading() as database:
        fetched: Any = inspection.fetch(load(), database, run, task, output)
    if isinstance(fetched, Path):
        click.echo(f"wrote {fetched}")
    elif fetched is None:
        raise UsageError(f"{run} {task} returned files: say where with --output")
    else:
        sys.stdout.buffer.write(fetched if fetched.endswith(b"\n") else fetched + b"\n")
