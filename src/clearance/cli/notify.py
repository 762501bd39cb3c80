"""`clearance notify list|deliveries|test|retry`: where the controller tells what happens, and what became of it."""

from __future__ import annotations

import time

import click

from clearance.cli.output import count, json_option, print_json, print_records, print_table
from clearance.cli.runs import reading, when
from clearance.errors import ClearanceError, UsageError


@click.group()
def notify() -> None:
    """Webhooks, Slack, mail, OpenLineage, OpenTelemetry: see what was told, and try it."""


@notify.command("list")
@json_option
def list_sinks(as_json: bool) -> None:
    """List the sinks of the settings, and those of which deliveries are remembered."""
    from clearance.settings import load

    settings = load()
    counts: dict[str, dict[str, int]] = {}
    try:
        with reading() as database:
            for name, state, number in database.rows("deliveries_summary"):
                counts.setdefault(name, {})[state] = int(number)
    except ClearanceError:
        counts = {}  # nothing has run here yet
    known = {sink.name: sink for sink in settings.notify}
    rows = [
        {
            "sink": name, "kind": known[name].kind if name in known else None,
            "dags": " ".join(known[name].dags) if name in known else None,
            "events": " ".join(getattr(known[name], "events", ())) if name in known else None,
            **{state: counts.get(name, {}).get(state, 0) for state in ("pending", "delivered", "failed")},
        }
        for name in [*known, *sorted(counts.keys() - known.keys())]
    ]  # fmt: skip
    print_records(rows, as_json, ["sink", "kind", "dags", "events", "pending", "delivered", "failed"])


@notify.command()
@click.option("--sink", default="", metavar="SINK", help="Only of this one.")
@click.option("--state", type=click.Choice(["pending", "delivered", "failed"]), help="Only in this state.")
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), show_default=True, help="At most this many.")
@json_option
def deliveries(sink: str, state: str | None, limit: int, as_json: bool) -> None:
    """List deliveries, newest first: what, to whom, how often it was tried, and what went wrong last."""
    from clearance.run.telemetry.sender import Delivery

    with reading() as database:
        rows = database.rows("deliveries_list", sink, sink, state or "", state or "", limit)
        found = [Delivery(*row) for row in rows]
        numbers = {each.run for each in found}
        ids = {number: database.rows("run_at", number)[0][2] if number else "" for number in numbers}
    if as_json:
        print_json(
            [{"sink": each.sink, "run": ids[each.run], "seq": each.seq, "event": each.kind, "state": each.state,
              "attempts": each.attempts, "due_at": each.due_at if each.state == "pending" else None,
              "created_at": each.created_at, "finished_at": each.finished_at, "message": each.message}
             for each in found]
        )  # fmt: skip
        return
    print_table(
        ["sink", "run", "event", "state", "tries", "since", "message"],
        [
            [each.sink, ids[each.run], each.kind, each.state, each.attempts, when(each.created_at), each.message]
            for each in found
        ],
    )


@notify.command()
@click.argument("sink", metavar="SINK")
def test(sink: str) -> None:
    """Send a test message to SINK, now and from here, and say whether it was taken."""
    from clearance.run.telemetry.deliveries import unknown
    from clearance.run.telemetry.transport import trial
    from clearance.settings import load

    known = {each.name: each for each in load().notify}
    if sink not in known:
        raise UsageError(unknown(sink, known))
    began = time.monotonic()
    trial.send(known[sink])
    click.echo(f"{sink} took it in {time.monotonic() - began:.2f} s")


@notify.command()
@click.argument("sink", metavar="[SINK]", default="")
def retry(sink: str) -> None:
    """Try again what was given up of SINK, or of each."""
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.run.host.orders import RetryDeliveries
    from clearance.settings import load

    reply = ask(load(), RetryDeliveries(sink))
    assert isinstance(reply, Answer)
    click.echo(f"{count(int(reply.value), 'delivery').replace('deliverys', 'deliveries')} will be tried again")
