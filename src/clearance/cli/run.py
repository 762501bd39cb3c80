"""`clearance run FILE[:DAG]`: run a pipeline to its end, with no daemon."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from clearance.cli.output import print_json
from clearance.cli.progress import progress
from clearance.cli.tag import tag_option
from clearance.cli.target import parameter_option, parse_parameters, parse_target


@click.command()
@click.argument("target", metavar="FILE[:DAG]")
@parameter_option
@click.option("--workers", type=click.IntRange(1), metavar="N", help="How many CPUs to offer; default: this machine's.")
@click.option("--nodes", metavar="SPEC", help="Virtual nodes to offer, such as 2x1cpu or big=2x4cpu+16Gi+2gpu.")
@click.option("--run-id", default="", metavar="ID", help="Name the run; the same id again goes on with it.")
@tag_option
@click.option("--dry-run", is_flag=True, help="Say what would run, when, and what the desks say; run nothing.")
@click.option("--id-file", type=click.Path(dir_okay=False, writable=True), hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print the finished run as JSON.")
def run(
    target: str,
    parameters: tuple[str, ...],
    workers: int | None,
    nodes: str | None,
    run_id: str,
    tags: tuple[str, ...],
    dry_run: bool,
    id_file: str | None,
    as_json: bool,
) -> None:
    """Run the DAG of a pipeline FILE and wait for its end; DAG may be left out where the file holds one.

    Exit codes: 0 success, 1 the run failed, 2 wrong usage or graph, 3 refused by a desk, 4 infrastructure.
    """
    from clearance.cli.nodes import offering
    from clearance.graph.bundle import make_bundle, unpack
    from clearance.run.host.embedded import run_to_end
    from clearance.run.host.messages import Submit
    from clearance.run.tags import parse_tags
    from clearance.run.telemetry.tracing import caller
    from clearance.settings import load
    from clearance.types.digest import hex_of

    settings = load()
    settings = offering(settings, workers, nodes)
    file, name = parse_target(target)
    given = parse_parameters(parameters)
    chosen = parse_tags(tags)
    if dry_run:
        from clearance.cli.plan import print_plan

        print_plan(settings, file, name, given, as_json)
        return
    bundle = make_bundle(file)
    settings.make_home()
    unpack(bundle.data, settings.home / "bundles" / hex_of(bundle.digest), bundle.digest)
    request = Submit(
        bundle.digest, f"{bundle.module}:{name}", dict(given), run_id, traceparent=caller(dict(os.environ)), tags=chosen
    )
    view = progress(as_json)
    began = time.time()
    try:
        id, state, _ = run_to_end(settings, request, view.show)
        if id_file:
            Path(id_file).write_text(id)
    finally:
        view.close()
    finish(settings, id, state, as_json, began)


def finish(settings: Any, id: str, state: str, as_json: bool, began: float) -> None:
    """Says how a run ended, where to look next, and exits with its code.

    Args:
        settings: which home.
        id: of the run.
        state: in which it ended.
        as_json: print the run as JSON instead.
        began: when the command began, seconds since 1970: a run that ended before was only looked at.
    """
    from clearance.run.look import views
    from clearance.store.database import Database

    with Database(settings.database, read_only=True) as database:
        shown = views.run(database, id)
        denied = state != "success" and views.denied(database, id)
    if as_json:
        print_json(shown)
    else:
        took = (shown["finished_at"] or shown["created_at"]) - shown["created_at"]
        if (shown["finished_at"] or began) < began:
            click.echo(f"run {id} ended before: nothing to do")
        click.echo(f"run {id} {state} in {took:.2f} s")
        for task in shown["tasks"]:
            if task["state"] == "failed":
                look = "logs" if task["attempts"] else "why"
                click.echo(f"  {task['task']} failed: see `clearance {look} {id} {task['task']}`")
        if state != "success":
            click.echo(f"tracebacks: `clearance runs show {id} --json`; go on with `clearance retry {id}`")
    if state != "success":
        raise SystemExit(3 if denied else 1)
