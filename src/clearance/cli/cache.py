"""`clearance cache explain|list`: why a task was or was not taken from the cache, and what is in it."""

from __future__ import annotations

import click

from clearance.cli.output import json_option, print_json, print_records, size
from clearance.cli.runs import reading, when


@click.group()
def cache() -> None:
    """See why a task was or was not taken from the cache, and clean up."""


@cache.command()
@click.argument("run")
@click.argument("task")
@json_option
def explain(run: str, task: str, as_json: bool) -> None:
    """Say what TASK of RUN asked of the cache, and which field differed from the nearest entry."""
    from clearance.run import cached

    with reading() as database:
        found = cached.explain(database, run, task)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['run']} {found['task']}: {found['outcome']}")
    if source := found["from"]:
        click.echo(f"  from {source['run']} {source['task']}")
    if found["reason"]:
        click.echo(f"  {found['reason']}")
    if near := found["nearest"]:
        click.echo(f"  nearest: {near['run']} {near['task']}")
    for each in found["differs"]:
        name = f" {each['name']}" if each["name"] else ""
        click.echo(f"  {each['field']}{name}: {each['what']}")


@cache.command("list")
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), show_default=True, help="At most this many.")
@json_option
def list_entries(limit: int, as_json: bool) -> None:
    """List the entries, the last used first."""
    from clearance.run import cached

    with reading() as database:
        found = cached.entries(database, limit)
    if as_json:
        print_json(found)
        return
    rows = [
        each | {"made by": f"{each['run']} {each['task']}", "size": size(each["size"]), "used": when(each["used_at"])}
        for each in found
    ]
    print_records(rows, False, ["function", "made by", "size", "used"])
