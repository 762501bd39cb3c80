"""`clearance retry|cancel|resume`: what a person tells a run to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from clearance.errors import UsageError

if TYPE_CHECKING:
    from clearance.run.host.messages import Submit


@click.command()
@click.argument("run")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option("--newest", is_flag=True, help="With the newest version of the DAG, in a new run.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished run as JSON.")
def retry(run: str, tasks: tuple[str, ...], newest: bool, as_json: bool) -> None:
    """Do the failed tasks of a RUN again (or only these TASKs, and what depends on them), and wait for its end."""
    if newest and tasks:
        raise UsageError("--newest goes on with the whole run: leave the tasks out, or use `clearance clear --newest`")
    _go_on(
        run,
        list(tasks) or None,
        newest,
        as_json,
        missing="has nothing to retry: every task succeeded, or it is running",
    )


@click.command()
@click.argument("run")
@click.option("--newest", is_flag=True, help="With the newest version of the DAG, in a new run.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished run as JSON.")
def resume(run: str, newest: bool, as_json: bool) -> None:
    """Go on with a RUN that was interrupted, failed or cancelled, and wait for its end."""
    _go_on(run, None, newest, as_json, missing="")


@click.command()
@click.argument("run")
def cancel(run: str) -> None:
    """Cancel a RUN: what runs gets a notice and the grace period, what waits is cancelled."""
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer, Cancel
    from clearance.settings import load

    reply = ask(load(), Cancel(run))
    if not isinstance(reply, Answer) or not reply.value:
        raise UsageError(f"run {run!r} is not running")
    click.echo(f"run {run} is being cancelled")


def on_newest(run: str, again: tuple[str, ...] = ()) -> Submit:
    """Returns the request for a run like this one with the newest version of its DAG; `again` is not taken over."""
    import json

    from clearance.cli.runs import reading
    from clearance.run import recovery
    from clearance.run.host.messages import Submit

    with reading() as database:
        row = recovery.known(database, run)
        bundle, module = database.rows("version_newest", row.dag)[0]
    return Submit(bundle, f"{module}:{row.dag}", json.loads(row.parameters), adopt=run, again=again)


def _go_on(run: str, tasks: list[str] | None, newest: bool, as_json: bool, missing: str) -> None:
    from clearance.cli.progress import progress
    from clearance.cli.run import finish
    from clearance.run.host.embedded import run_to_end
    from clearance.run.host.messages import Resume
    from clearance.settings import load

    settings = load()
    view = progress(as_json)
    began = time.time()
    try:
        request = on_newest(run) if newest else Resume(run, tasks)
        run, state, changed = run_to_end(settings, request, view.show)
    finally:
        view.close()
    if not changed and missing and state == "success":
        raise UsageError(f"run {run!r} {missing}")
    finish(settings, run, state, as_json, began)
