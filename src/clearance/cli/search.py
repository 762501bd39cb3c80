"""`clearance search TERMS`: runs by parameter, tag, DAG, state and time."""

from __future__ import annotations

import click

from clearance.cli.output import json_option
from clearance.cli.runs import print_runs, reading


@click.command()
@click.argument("terms", nargs=-1, required=True)
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), show_default=True, help="At most this many.")
@json_option
def search(terms: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Find runs of which all TERMS hold, newest first.

    A term is a parameter, compared (lr=0.1, lr>0.1), tag:NAME or tag:NAME=VALUE, dag:ID, state:STATE, by:NAME,
    created>=2026-03-01, finished<2026-03-01T12:00:00Z.
    """
    import shlex

    from clearance.run.look import views
    from clearance.run.look.search import parse

    text = terms[0] if len(terms) == 1 else shlex.join(terms)
    wanted = parse(text)
    with reading() as database:
        found = views.runs(database, wanted, limit)
    print_runs(found, as_json)
