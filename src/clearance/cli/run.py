"""`clearance run FILE[:DAG]`: run a pipeline to its end, with no daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clearance.cli.output import print_json
from clearance.cli.progress import progress
from clearance.errors import UsageError


@click.command()
@click.argument("target", metavar="FILE[:DAG]")
@click.option("-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter of the DAG.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="How many CPUs to offer; default: this machine's.")
@click.option("--run-id", default="", metavar="ID", help="Name the run; the same id again goes on with it.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished run as JSON.")
def run(target: str, pairs: tuple[str, ...], workers: int | None, run_id: str, as_json: bool) -> None:
    """Run the DAG of a pipeline FILE and wait for its end.

    Exit codes: 0 success, 1 the run failed, 2 wrong usage or graph, 3 refused by a desk, 4 infrastructure.
    """
    from dataclasses import replace

    from clearance.graph.bundle import make_bundle
    from clearance.run.embedded import run_to_end
    from clearance.run.messages import Submit
    from clearance.settings import load
    from clearance.store.bundles import keep

    settings = load()
    if workers:
        settings = replace(settings, workers=workers)
    file, name = split_target(target)
    bundle = make_bundle(file)
    keep(bundle.digest, bundle.data, settings.home)
    request = Submit(bundle.digest, f"{bundle.module}:{name}", parse_parameters(pairs), run_id)
    view = progress(as_json)
    try:
        id, state = run_to_end(settings, request, view.show)
    finally:
        view.close()
    finish(settings, id, state, as_json)


def finish(settings: Any, id: str, state: str, as_json: bool) -> None:
    """Says how a run ended, where to look next, and exits with its code."""
    from clearance.run import views
    from clearance.store.database import Database

    with Database(settings.database, read_only=True) as database:
        shown = views.run(database, id)
        denied = state != "success" and views.denied(database, id)
    if as_json:
        print_json(shown)
    else:
        took = (shown["finished_at"] or shown["created_at"]) - shown["created_at"]
        click.echo(f"run {id} {state} in {took:.2f} s")
        for task in shown["tasks"]:
            if task["state"] == "failed":
                click.echo(f"  {task['task']} failed: see `clearance logs {id} {task['task']}`")
        if state != "success":
            click.echo(f"go on with `clearance retry {id}`; ask `clearance why {id}`")
    if state != "success":
        raise SystemExit(3 if denied else 1)


def split_target(target: str) -> tuple[Path, str]:
    """Splits `FILE[:DAG]`."""
    path, colon, name = target.rpartition(":")
    if colon and path.endswith(".py"):
        return Path(path), name
    return Path(target), ""


def parse_parameters(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Splits `name=value` pairs; the values stay text, which the graph converts by annotation.

    Raises:
        UsageError: a pair without `=`, or a name given twice.
    """
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"parameter {pair!r}: write -p NAME=VALUE")
        if name in parameters:
            raise UsageError(f"parameter {name!r} is given twice")
        parameters[name] = value
    return parameters
