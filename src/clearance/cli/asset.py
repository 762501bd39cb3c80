"""`clearance asset`: assets, and the mediator that starts runs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clearance.cli.output import json_option, print_json, print_table
from clearance.errors import UsageError


@click.group()
def asset() -> None:
    """Replay recorded events of assets through the mediator."""


@asset.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def replay(file: Path, as_json: bool) -> None:
    """Print the runs that recorded traces start, through the real mediator on a scratch database; nothing is run.

    FILE is JSON, {"traces": [{"id", "subs", "ops"}]}.
    """
    from clearance.run.replay import replay as replay_traces

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
