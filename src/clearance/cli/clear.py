"""`clearance clear|mark`: do tasks again that have ended, or say how one is to count."""

from __future__ import annotations

import time

import click

from clearance.cli.output import count, print_json
from clearance.errors import UsageError


@click.command()
@click.argument("run")
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@click.option("--only", is_flag=True, help="Leave what depends on them as it is.")
@click.option("--newest", is_flag=True, help="With the newest version of the DAG, in a new run.")
@click.option("--dry-run", is_flag=True, help="Only say what would be cleared.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished run, or what would be cleared, as JSON.")
def clear(run: str, tasks: tuple[str, ...], only: bool, newest: bool, dry_run: bool, as_json: bool) -> None:
    """Do TASKs of a RUN again whatever they ended with, and what depends on them, and wait for its end."""
    from clearance.cli.control import on_newest
    from clearance.cli.progress import progress
    from clearance.cli.run import finish
    from clearance.run.host.embedded import ask, run_to_end
    from clearance.run.host.messages import Answer
    from clearance.run.host.orders import Clear
    from clearance.settings import load

    if newest and (only or dry_run):
        raise UsageError("--newest makes a new run: it goes with neither --only nor --dry-run")
    settings = load()
    request = on_newest(run, tasks) if newest else Clear(run, list(tasks), only, dry_run)
    if dry_run:
        reply = ask(settings, request)
        assert isinstance(reply, Answer)
        if as_json:
            print_json(reply.value)
            return
        for task, some in reply.value["tasks"].items():
            click.echo(f"{task}  {count(some, 'instance')}")
        return
    view = progress(as_json)
    began = time.time()
    try:
        id, state, _ = run_to_end(settings, request, view.show)
    finally:
        view.close()
    finish(settings, id, state, as_json, began)


@click.command()
@click.argument("run")
@click.argument("task")
@click.argument("state", type=click.Choice(["success", "failed"]))
@click.option("--reason", required=True, help="Why; it is kept with the run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def mark(run: str, task: str, state: str, reason: str, as_json: bool) -> None:
    """Let TASK of a RUN count as success or failed; one that runs is ended first.

    What depends on it is decided anew; it goes on in the background.
    """
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.run.host.orders import MarkTask
    from clearance.settings import load

    reply = ask(load(), MarkTask(run, task, state, reason))
    changed = isinstance(reply, Answer) and bool(reply.value)
    if as_json:
        print_json({"run": run, "task": task, "state": state, "changed": changed})
    else:
        click.echo(f"{run} {task} is marked {state}" if changed else f"{run} {task} is {state} already")
