"""`clearance schedule`: when a DAG would run by itself."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from clearance.cli.output import json_option, print_json
from clearance.cli.target import parse_target
from clearance.errors import UsageError

_MOST = 100_000


@click.group()
def schedule() -> None:
    """See when DAGs run by themselves."""


@schedule.command("next")
@click.argument("count", metavar="N", type=click.IntRange(1, _MOST))
@click.argument("target", metavar="[FILE[:DAG]]", required=False)
@click.option("--cron", "expression", metavar="EXPR", help="A cron expression instead of a DAG: five fields.")
@click.option("--tz", metavar="TZ", help="Time zone of --cron; default UTC.")
@click.option("--from", "start", metavar="TIME", help="After this ISO 8601 time; default now. Without offset: in TZ.")
@json_option
def next_fires(
    count: int, target: str | None, expression: str | None, tz: str | None, start: str | None, as_json: bool
) -> None:
    """Print the next N times at which a DAG, or a cron expression, fires."""
    from clearance.graph.schedule import Condition

    if (target is None) == (expression is None):
        raise UsageError("say what: a DAG, for example pipeline.py:digits, or --cron '0 5 * * *'")
    if tz is not None and expression is None:
        raise UsageError("--tz belongs to --cron: the zone of a DAG's schedule stands in its file")
    found: Condition = _of_dag(target) if target is not None else _of_expression(expression or "", tz or "UTC")
    times = [fire.isoformat() for fire in found.fires(_start(start, found), count)]
    if as_json:
        print_json(times)
        return
    for time in times:
        click.echo(time)


def _of_expression(expression: str, tz: str):
    from clearance.graph.crontab import check_expression, zone
    from clearance.graph.schedule import Cron

    zone(tz)
    return Cron(check_expression(expression), tz)
