"""`clearance pool set|list|remove`: limits that tasks share by name."""

from __future__ import annotations

import click

from clearance.cli.output import json_option, print_records
from clearance.errors import UsageError


@click.group()
def pool() -> None:
    """Limits that tasks share by name: `@task(pool="licences")`."""


@pool.command("set")
@click.argument("name")
@click.argument("slots", type=click.IntRange(0, 1_000_000_000))
def set_pool(name: str, slots: int) -> None:
    """Make the pool NAME, or say how many SLOTS it has from now on; what holds more keeps it until it ends.

    0 lets nothing of the pool start.
    """
    from clearance.graph.options import check_pool

    _tell(check_pool(name), slots)
    click.echo(f"pool {name}: {slots} slots")


@pool.command("list")
@json_option
def list_pools(as_json: bool) -> None:
    """List the pools and their slots."""
    from clearance.cli.runs import reading

    with reading() as database:
        found = [{"pool": name, "slots": slots} for name, slots in database.rows("pools")]
    print_records(found, as_json, ["pool", "slots"])


@pool.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take the pool NAME away; what still waits for it waits until it is there again."""
    if not _tell(name, None):
        raise UsageError(f"no pool {name!r}: see `clearance pool list`")
    click.echo(f"pool {name} removed")


def _tell(name: str, slots: int | None) -> bool:
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer, SetPool
    from clearance.settings import load

    reply = ask(load(), SetPool(name, slots))
    return isinstance(reply, Answer) and bool(reply.value)
