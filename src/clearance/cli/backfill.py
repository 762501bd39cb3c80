"""`clearance backfill create|list|show|pause|resume|cancel`: the intervals of a DAG in the past."""

from __future__ import annotations

from typing import Any

import click

from clearance.cli.output import count, json_option, print_json, print_table
from clearance.cli.runs import reading, when


@click.group()
def backfill() -> None:
    """Run the intervals of a DAG in the past, beside its schedule."""


@backfill.command()
@click.argument("dag", metavar="DAG")
@click.option("--from", "start", metavar="TIME", required=True, help="Intervals that begin at or after it (ISO 8601).")
@click.option("--to", "end", metavar="TIME", required=True, help="Intervals that end at or before it (ISO 8601).")
@click.option(
    "--only", default="missing", show_default=True, metavar="STATES",
    help="Which of the intervals: missing, failed, success, with commas between.",
)  # fmt: skip
@click.option(
    "--order", type=click.Choice(["oldest", "newest"]), default="oldest", show_default=True, help="Which come first."
)
@click.option(
    "--concurrency", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Runs at a time."
)
@click.option("--dry-run", is_flag=True, help="Only show which intervals it would run.")
@json_option
def create(
    dag: str, start: str, end: str, only: str, order: str, concurrency: int, dry_run: bool, as_json: bool
) -> None:
    """Run the intervals of a known DAG between two times, once each; its schedule goes on as it is."""
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.run.host.orders import CreateBackfill
    from clearance.run.starts import causes
    from clearance.settings import load

    which = tuple(dict.fromkeys(word.strip() for word in only.split(",")))
    request = CreateBackfill(
        dag, causes.read(start, "--from"), causes.read(end, "--to"), which, order == "newest", concurrency, dry_run
    )
    reply = ask(load(), request)
    assert isinstance(reply, Answer)
    found = reply.value
    if as_json:
        print_json(found)
        return
    if dry_run:
        rows = [[causes.stamp(one["start"]), causes.stamp(one["end"]), one["was"]] for one in found["intervals"]]
        print_table(["from", "to", "was"], rows)
        return
    click.echo(f"backfill {found['id']}: {count(len(found['intervals']), 'interval')}")


@backfill.command("list")
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), show_default=True, help="At most this many.")
@json_option
def list_backfills(limit: int, as_json: bool) -> None:
    """List backfills, newest first."""
    from clearance.run.look import automation

    with reading() as database:
        found = automation.backfills(database, limit)
    if as_json:
        print_json(found)
        return
    rows = [
        [each["id"], each["state"], each["from"], each["to"], _counts(each["intervals"]), when(each["created_at"])]
        for each in found
    ]
    print_table(["backfill", "state", "from", "to", "intervals", "created"], rows)


@backfill.command()
@click.argument("id", metavar="BACKFILL")
@json_option
def show(id: str, as_json: bool) -> None:
    """Show one backfill with each of its intervals."""
    from clearance.run.look import automation

    with reading() as database:
        found = automation.show_backfill(database, id)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['id']}  {found['state']}  {_counts(found['intervals'])}")
    print_table(
        ["from", "to", "state", "run"], [[*each["interval"], each["state"], each["run"]] for each in found["runs"]]
    )


@backfill.command()
@click.argument("id", metavar="BACKFILL")
def pause(id: str) -> None:
    """Start nothing more of BACKFILL until `resume`; what runs goes on."""
    _change(id, "paused")


@backfill.command()
@click.argument("id", metavar="BACKFILL")
def resume(id: str) -> None:
    """Go on with a paused BACKFILL."""
    _change(id, "running")


@backfill.command()
@click.argument("id", metavar="BACKFILL")
def cancel(id: str) -> None:
    """End BACKFILL: its runs are cancelled, what is pending is left."""
    _change(id, "cancelled")


def _change(id: str, to: str) -> None:
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.run.host.orders import ChangeBackfill
    from clearance.settings import load

    reply = ask(load(), ChangeBackfill(id, to))
    assert isinstance(reply, Answer)
    click.echo(f"backfill {id} is {to}{'' if reply.value else ' already'}")


def _counts(counts: dict[str, Any]) -> str:
    return " ".join(f"{number} {state}" for state, number in sorted(counts.items()))
