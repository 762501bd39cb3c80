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
    from clearance.run.redo import entries

    with reading() as database:
        found = entries.explain(database, run, task)
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
    from clearance.run.redo import entries

    with reading() as database:
        found = entries.entries(database, limit)
    if as_json:
        print_json(found)
        return
    rows = [
        each | {"made by": f"{each['run']} {each['task']}", "size": size(each["size"]), "used": when(each["used_at"])}
        for each in found
    ]
    print_records(rows, False, ["function", "made by", "size", "used"])


@cache.command()
@click.option("--older", default="30d", show_default=True, metavar="TIME", help="Entries not used for so long.")
@click.option("--grace", default="1d", show_default=True, metavar="TIME", help="Leave files wanted within this time.")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken away.")
@json_option
def gc(older: str, grace: str, dry_run: bool, as_json: bool) -> None:
    """Take away old entries, and the blobs and bundles that nothing names any more.

    Results of runs that are kept stay: `clearance runs prune` takes runs away.
    """
    from clearance.cli.output import count
    from clearance.graph.duration import seconds
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.run.host.orders import Forget
    from clearance.run.redo.forgetting import collect_files
    from clearance.settings import load
    from clearance.store.blobs import open_blobs

    settings = load()
    least, left = seconds(older, "--older"), seconds(grace, "--grace")
    reply = ask(settings, Forget("cache", least, dry_run))
    assert isinstance(reply, Answer)
    with reading() as database:
        found = collect_files(database, open_blobs(settings.blobs), settings.home, left, dry_run)
    told = {"entries": reply.value["taken"], **found}
    if as_json:
        print_json(told)
        return
    word = "would be taken away" if dry_run else "taken away"
    click.echo(
        f"{count(told['entries'], 'entry').replace('entrys', 'entries')}, {count(told['blobs'], 'blob')} "
        f"({size(told['bytes'])}), {count(told['bundles'], 'bundle')} {word}"
    )
