"""`clearance runs list|show`: what has run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from clearance.cli.output import print_json, print_table


@click.group()
def runs() -> None:
    """What has run, and how it went."""


@runs.command("list")
@click.option("--dag", default="", help="Only runs of this DAG.")
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), help="At most this many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_runs(dag: str, limit: int, as_json: bool) -> None:
    """List runs, newest first."""
    from clearance.run import views

    with reading() as database:
        found = views.runs(database, dag, limit)
    if as_json:
        print_json(found)
        return
    rows = [
        [each["id"], each["state"], _counts(each["tasks"]), when(each["created_at"]), took(each), each["principal"]]
        for each in found
    ]
    print_table(["run", "state", "tasks", "created", "took", "by"], rows)


@runs.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(run: str, as_json: bool) -> None:
    """Show one run with its tasks."""
    from clearance.run import views

    with reading() as database:
        found = views.run(database, run)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['id']}  {found['state']}  created {when(found['created_at'])}  took {took(found)}")
    click.echo(f"version {found['version'][:19]}  by {found['principal']}  parameters {found['parameters']}")
    rows = []
    for task in found["tasks"]:
        failure = task["failure"]["message"].splitlines()[0] if task["failure"] else ""
        rows.append(
            [task["task"], task["state"], str(task["attempts"]), _span(task), (task["result"] or "")[:19], failure[:80]]
        )
    print_table(["task", "state", "attempts", "took", "result", "why"], rows)


def reading() -> Any:
    """Opens the database of this home for reading."""
    from clearance.settings import load
    from clearance.store.database import Database

    database = Database(load().database, read_only=True)
    database.check()
    return database


def when(at: float) -> str:
    """Returns a time as people read it."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def took(run: dict[str, Any]) -> str:
    """Returns how long a run took, or nothing while it runs."""
    return f"{run['finished_at'] - run['created_at']:.2f} s" if run["finished_at"] else ""


def _span(task: dict[str, Any]) -> str:
    if task["started_at"] is None or task["finished_at"] is None:
        return ""
    return f"{task['finished_at'] - task['started_at']:.2f} s"


def _counts(tasks: dict[str, int]) -> str:
    return " ".join(f"{count} {state}" for state, count in sorted(tasks.items()))
