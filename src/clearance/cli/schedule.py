"""`clearance schedule`: when a DAG fires by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from clearance.cli.output import json_option, print_json
from clearance.cli.target import parse_target
from clearance.errors import UsageError

if TYPE_CHECKING:
    from clearance.graph.schedule import Condition

_MOST = 100_000


@click.group()
def schedule() -> None:
    """See when DAGs fire by themselves."""


@schedule.command("next")
@click.argument("count", metavar="N", type=click.IntRange(1, _MOST))
@click.argument("target", metavar="[FILE[:DAG]]", required=False)
@click.option("--cron", "expression", metavar="EXPR", help="A cron expression instead of a DAG: five fields.")
@click.option("--tz", metavar="TZ", help="Time zone of --cron; default UTC.")
@click.option(
    "--from",
    "start",
    metavar="TIME",
    help="Fires after this ISO 8601 time; default now. Without an offset it is on the schedule's own clock.",
)
@json_option
def next_fires(
    count: int, target: str | None, expression: str | None, tz: str | None, start: str | None, as_json: bool
) -> None:
    """Print the next N times at which a DAG, or a cron expression, fires."""
    if target is not None and expression is None:
        if tz is not None:
            raise UsageError("--tz belongs to --cron: the zone of a DAG's schedule stands in its file")
        found = _of_dag(target)
    elif expression is not None and target is None:
        found = _of_expression(expression, "UTC" if tz is None else tz)
    else:
        raise UsageError("say either a DAG, for example pipeline.py:digits, or --cron '0 5 * * *'")
    times = [fire.isoformat() for fire in found.fires(_start(start, found), count)]
    if as_json:
        print_json(times)
        return
    for time in times:
        click.echo(time)


def _of_dag(target: str) -> Condition:
    from clearance.graph.loading import load

    file, name = parse_target(target)
    dag = load(file, name)
    if dag.schedule is None:
        raise UsageError(f"dag {dag.id!r} ({dag.site}) has no schedule: give it one, schedule=cron('0 5 * * *')")
    if not dag.schedule.timed:
        raise UsageError(f"dag {dag.id!r} ({dag.site}) waits for {dag.schedule}: no time of its own fires it")
    return dag.schedule


def _of_expression(expression: str, tz: str) -> Condition:
    from clearance.graph.crontab import check_expression, zone
    from clearance.graph.schedule import Cron

    zone(tz)
    return Cron(check_expression(expression), tz)


def _start(text: str | None, found: Condition) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        start = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"--from {text}: write an ISO 8601 time such as 2026-03-29T01:30:00+01:00") from None
    if start.utcoffset() is not None:
        return start
    from clearance.graph.crontab import zone

    zones = sorted(found.zones())
    if len(zones) > 1:
        raise UsageError(f"--from {text} has no offset, and the schedule several zones, {', '.join(zones)}: add one")
    return start.replace(tzinfo=zone(zones[0]))
