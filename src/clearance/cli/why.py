"""`clearance why RUN [TASK]`: what both desks decided, and why."""

from __future__ import annotations

from typing import Any

import click

from clearance.cli.output import print_json
from clearance.cli.runs import reading


@click.command()
@click.argument("run")
@click.argument("task", required=False, default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def why(run: str, task: str, as_json: bool) -> None:
    """Print the clearance of a RUN's tasks: granted, held (for what, by whom) or denied (by which rule)."""
    import time

    from clearance.run.host import lease
    from clearance.run.look import views

    with reading() as database:
        decisions = views.why(database, run, task)
        held = lease.holder(database, time.time())
    if held is not None:
        for decision in decisions:
            if decision["state"] == "awaiting_clearance" and (now := _ask(held.address, run, decision["task"])):
                decision["verdict"], decision["capacity"] = now["verdict"], now
    if as_json:
        print_json(decisions)
        return
    for decision in decisions:
        click.echo(f"{decision['run']} {decision['task']}: {decision['verdict']} ({decision['state']})")
        for desk in ("capacity", "trust"):
            if said := decision.get(desk):
                rule = f" [{said['rule']}]" if said.get("rule") else ""
                queue = f" in {said['queue']}" if said.get("queue") else ""
                click.echo(f"  {desk}: {said['verdict']}{rule}{queue}: {said['reason']}")
                for blocker in said.get("blockers", ())[:5]:
                    click.echo(f"    held by {blocker}")
                for other in said.get("besides", ()):
                    click.echo(f"    then {other}")
        if "reason" in decision:
            click.echo(f"  {decision['reason']}")


def _ask(address: str, run: str, task: str) -> dict[str, Any] | None:
    from clearance.run.host.client import Client, Gone
    from clearance.run.host.messages import Answer, Why

    try:
        with Client(address) as client:
            reply = client.ask(Why(run, task))
    except Gone:
        return None
    return reply.value if isinstance(reply, Answer) else None
