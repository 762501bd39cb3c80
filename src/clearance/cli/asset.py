"""`clearance asset`: assets, and the mediator that starts runs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clearance.cli.output import count, json_option, print_json, print_table
from clearance.cli.runs import reading, when
from clearance.errors import UsageError


@click.group()
def asset() -> None:
    """See what started which run and what still waits, tell of an event, or replay recorded ones."""


@asset.command()
@click.argument("uri", metavar="[ASSET]", default="")
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), show_default=True, help="At most this many.")
@json_option
def events(uri: str, limit: int, as_json: bool) -> None:
    """List events, of one ASSET or of all, newest first: what wrote it, what it started, where it still waits."""
    from clearance.run.look import automation

    with reading() as database:
        found = automation.asset_events(database, uri, limit)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            each["event"], each["asset"], each["key"], when(each["at"]), each["source"],
            ", ".join(started["run"] for started in each["started"]), ", ".join(each["waits_in"]),
        ]
        for each in found
    ]  # fmt: skip
    print_table(["event", "asset", "key", "at", "by", "started", "waits in"], rows)


@asset.command()
@click.argument("uri", metavar="ASSET")
@click.option("--key", help="Of the partition that was written.")
@click.option("--id", "name", default="", metavar="NAME", help="Names what happened: told again, it is the same event.")
@json_option
def emit(uri: str, key: str | None, name: str, as_json: bool) -> None:
    """Tell that ASSET was written, by something that is no task; what waits for it starts."""
    from clearance.graph.asset import normal
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.run.host.orders import Emit
    from clearance.settings import load

    if key is not None and not key:
        raise UsageError("--key is empty: leave it away, or name the partition")
    reply = ask(load(), Emit(normal(uri), key, name))
    assert isinstance(reply, Answer)
    if as_json:
        print_json(reply.value)
        return
    if not reply.value["new"]:
        click.echo(f"event {reply.value['event']} of {normal(uri)} was told before")
        return
    started = ", ".join(reply.value["runs"]) or "nothing"
    click.echo(f"event {reply.value['event']} of {normal(uri)} started {started}")


@asset.command()
@click.argument("dag", metavar="[DAG]", default="")
@json_option
def why(dag: str, as_json: bool) -> None:
    """Say of each DAG that waits for assets, or of one, what waits in it, and why it does not run."""
    from clearance.run.look import automation

    with reading() as database:
        found = automation.asset_why(database, dag)
    if as_json:
        print_json(found)
        return
    for each in found:
        click.echo(f"{each['dag']}: {each['because']}")
        for uri, waits in each.get("waiting", {}).items():
            click.echo(f"  {uri}: {count(waits['events'], 'event')} since {when(waits['oldest'])}")


@asset.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def replay(file: Path, as_json: bool) -> None:
    """Print the runs that recorded traces start, through the real mediator on a scratch database; nothing is run.

    FILE is JSON, {"traces": [{"id", "subs", "ops"}]}.
    """
    from clearance.run.starts.replay import replay as replay_traces

    found = replay_traces(_traces(file))
    if as_json:
        print_json(found)
        return
    rows = [
        [trace["id"], number, run["sub"], run["t"], run.get("key"), ", ".join(map(str, run["events"]))]
        for trace in found
        for number, run in enumerate(trace["runs"])
    ]
    print_table(["trace", "run", "subscription", "at", "key", "events"], rows)


def _traces(file: Path) -> list[Any]:
    import msgspec

    try:
        data = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON: {error}") from None
    if isinstance(data, dict) and isinstance(data.get("traces"), list):
        return list(data["traces"])
    raise UsageError(f'{file}: a file of traces is {{"traces": [{{"id", "subs", "ops"}}]}}')
