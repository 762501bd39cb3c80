"""`clearance approve|reject RUN TASK`: what a person decides for a task that asks."""

from __future__ import annotations

import click

from clearance.cli.output import print_json


@click.command()
@click.argument("run")
@click.argument("task")
@click.option("--note", default="", help="A remark that is kept with the decision.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def approve(run: str, task: str, note: str, as_json: bool) -> None:
    """Say yes to a TASK of a RUN that asks for a decision; the task goes on."""
    _decide(run, task, "approved", note, as_json)


@click.command()
@click.argument("run")
@click.argument("task")
@click.option("--reason", required=True, help="Why; it is kept with the decision.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reject(run: str, task: str, reason: str, as_json: bool) -> None:
    """Say no to a TASK of a RUN that asks for a decision."""
    _decide(run, task, "rejected", reason, as_json)


def _decide(run: str, task: str, decision: str, note: str, as_json: bool) -> None:
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer, Decide
    from clearance.settings import load

    reply = ask(load(), Decide(run, task, decision, note))
    assert isinstance(reply, Answer)
    told = reply.value
    if as_json:
        print_json({"run": run, "task": task, **told})
        return
    when = "" if told["changed"] else f" already, at {told['at']}"
    click.echo(f"{run} {task} is {told['decision']} by {told['by']}{when}")
