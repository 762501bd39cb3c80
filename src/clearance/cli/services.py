"""`clearance services list|stop|logs`: what is kept running."""

from __future__ import annotations

from typing import Any

import click

from clearance.cli.output import print_json, print_table
from clearance.cli.runs import reading, when


@click.group()
def services() -> None:
    """What is kept running: endpoints and other services."""


@services.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_services(as_json: bool) -> None:
    """List every service, its state and address."""
    from clearance.run import rows

    with reading() as database:
        found = rows.services(database)
    shown: list[dict[str, Any]] = [
        {
            "name": row.name,
            "state": row.state,
            "url": rows.address(row),
            "starts": row.epoch,
            "message": row.message,
            "changed_at": row.changed_at,
        }
        for row in found
    ]
    if as_json:
        print_json(shown)
        return
    print_table(
        ["service", "state", "url", "starts", "since", "message"],
        [[s["name"], s["state"], s["url"], str(s["starts"]), when(s["changed_at"]), s["message"][:60]] for s in shown],
    )


@services.command()
@click.argument("name")
def stop(name: str) -> None:
    """Drain and stop service NAME, and wait until it has."""
    from clearance.run.host.embedded import stop_service
    from clearance.settings import load

    stop_service(load(), name)
    click.echo(f"service {name} stopped")


@services.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what it writes.")
def logs(name: str, follow: bool) -> None:
    """Print what the newest replica of service NAME wrote."""
    from clearance.cli.logs import print_log
    from clearance.errors import UsageError
    from clearance.run import rows
    from clearance.run.replicas import attempt_key
    from clearance.settings import load

    with reading() as database:
        found = {row.name: row for row in rows.services(database)}
    if name not in found:
        raise UsageError(f"no service {name!r}: see `clearance services list`")
    print_log(load().home, attempt_key(found[name]), follow, lambda: True)
