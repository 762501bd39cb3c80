"""`clearance flow`: the steps of a flow, and a run that goes on from one of them."""

from __future__ import annotations

import secrets
import time

import click

from clearance.cli.output import json_option, print_records


@click.group()
def flow() -> None:
    """See the steps of a flow, or go on from one of them."""


@flow.command()
@click.argument("run")
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="At most this many steps.")
@click.option("--after", type=click.IntRange(0), default=0, help="Only steps from this position on.")
@json_option
def steps(run: str, limit: int, after: int, as_json: bool) -> None:
    """List the steps of RUN, in the order in which the flow called them."""
    from clearance.cli.runs import reading
    from clearance.run.look import views

    with reading() as database:
        found = views.steps(database, run, after, limit)
    print_records(found, as_json, ["position", "path", "step", "state", "attempts", "seconds"])


@flow.command()
@click.argument("run")
@click.option("--from", "step", required=True, metavar="STEP", help="The first step that is done anew: train[2].")
@click.option("--run-id", default="", help="Name of the new run; made up where there is none.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished run as JSON.")
def fork(run: str, step: str, run_id: str, as_json: bool) -> None:
    """Run the flow of RUN again from STEP on, in a new run with what the steps before it returned; wait for its end."""
    from clearance.cli.progress import progress
    from clearance.cli.run import finish
    from clearance.run.host.embedded import run_to_end
    from clearance.run.host.messages import Fork
    from clearance.settings import load

    settings = load()
    view = progress(as_json)
    began = time.time()
    request = Fork(run, step, run_id or f"{run}/fork-{secrets.token_hex(3)}")
    try:
        made, state, _ = run_to_end(settings, request, view.show)
    finally:
        view.close()
    finish(settings, made, state, as_json, began)
