"""`clearance logs [-f] RUN TASK`: what an attempt wrote; `clearance logs --search TEXT`: what any of them wrote."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clearance.run.look.logline import Line, Query


@click.command()
@click.argument("run", metavar="[RUN]", default="")
@click.argument("task", metavar="[TASK]", default="")
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the task has ended.")
@click.option("--attempt", type=click.IntRange(1), help="Which attempt; default: the newest.")
@click.option("--search", metavar="TEXT", default="", help="Search lines that hold TEXT, in every log.")
@click.option("--regex", metavar="RE", default="", help="Search lines in which a regular expression is found.")
@click.option("--level", metavar="LEVEL", default="", help="Search lines of this level or a higher one.")
@click.option("--field", "fields", metavar="NAME=VALUE", multiple=True, help="Search JSON lines by a field.")
@click.option("--since", metavar="TIME", default="", help="Search lines since then: 1h, 2d, or an ISO 8601 time.")
@click.option("--dag", metavar="DAG", default="", help="Search only logs of this DAG.")
@click.option("--run", "of_run", metavar="RUN", default="", help="Search only logs of this run.")
@click.option("--task", "of_task", metavar="TASK", default="", help="Search only logs of this task.")
@click.option("--control", is_flag=True, help="Search the log of the control plane, not those of tasks.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most so many lines.")
@click.option("--json", "as_json", is_flag=True, help="Print each line found as a line of JSON.")
def logs(
    run: str, task: str, follow: bool, attempt: int | None, search: str, regex: str, level: str,
    fields: tuple[str, ...], since: str, dag: str, of_run: str, of_task: str, control: bool, limit: int, as_json: bool,
) -> None:  # fmt: skip
    """Print what a TASK of a RUN wrote to standard output and standard error, or search the logs.

    Found lines come by run, the newest first; in a log by time.
    """
    from clearance.cli.runs import reading
    from clearance.errors import UsageError
    from clearance.run.look import views
    from clearance.run.look.logline import query
    from clearance.settings import load

    if any((search, regex, level, fields, since, dag, of_run, of_task, control, as_json)):
        if follow or attempt is not None:
            raise UsageError("--follow and --attempt print one log; they cannot be used in a search")
        if (run and of_run) or (task and of_task):
            raise UsageError("the run or the task is said twice: once as an argument, once as an option")
        asked = query(search, regex, level, fields, _since(since))
        _print_found(asked, dag, run or of_run, task or of_task, control, limit, as_json)
        return
    if not run or not task:
        raise UsageError("say which log, `clearance logs RUN TASK`, or what to search, `clearance logs --search TEXT`")
    with reading() as database:
        row, instance = views.find(database, run, task)
        epochs = views.epochs(database, row, instance)
        if not epochs:
            raise UsageError(f"{run} {task} is {instance.state} and has not been started")
        if attempt is not None and attempt > len(epochs):
            raise UsageError(f"{run} {task} has had {len(epochs)} attempts")
        epoch = epochs[attempt - 1] if attempt else epochs[-1]

        def live() -> bool:
            now = views.find(database, run, task)[1]
            return now.epoch == epoch and now.state in ("queued", "running")

        print_log(load().home, f"{row.key}.{instance.number}.{epoch}", follow, live)


def _print_found(asked: Query, dag: str, run: str, task: str, control: bool, limit: int, as_json: bool) -> None:
    from itertools import islice

    from clearance.cli.runs import reading
    from clearance.run import recovery
    from clearance.run.look import logsearch
    from clearance.settings import load

    home = load().home
    with reading() as database:
        if run:
            recovery.known(database, run)
        if control:
            found = logsearch.search_control(home, asked)
        else:
            found = logsearch.search(home, database, asked, dag, run, task)
        for number, line in enumerate(islice(found, limit + 1), 1):
            if number > limit:
                click.echo(f"there are more: these are the first {limit}; say --limit, or ask for less", err=True)
            elif as_json:
                click.echo(logsearch.encode(line))
            else:
                click.echo(_shown(line))


def _shown(line: Line) -> str:
    from datetime import datetime

    at = datetime.fromtimestamp(line.at).astimezone().isoformat(timespec="milliseconds")
    if line.stream == "control":
        return f"{at} {line.text}"
    rank = f" rank {line.rank}" if line.rank else ""
    return f"{at} {line.run} {line.task} attempt {line.attempt}{rank} {line.stream}: {line.text}"


def _since(text: str) -> float:
    """Returns seconds since 1970 of a moment, or of so long ago; 0 where nothing is said."""
    import time
    from datetime import UTC, datetime

    from clearance.errors import ClearanceError, UsageError
    from clearance.graph.duration import seconds

    if not text:
        return 0.0
    try:
        return time.time() - seconds(text, "--since")
    except ClearanceError:
        pass
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"--since {text}: write how long ago (90s, 10m, 1h, 2d), or an ISO 8601 time") from None
    return (found if found.utcoffset() is not None else found.replace(tzinfo=UTC)).timestamp()


def print_log(home: Path, attempt: str, follow: bool, live: Callable[[], bool]) -> None:
    """Writes the frames of an attempt's log to the same streams they came from.

    Args:
        home: of the installation.
        attempt: key of the attempt.
        follow: go on while `live` says that it has not ended.
        live: whether more can come.
    """
    import time

    from clearance.engine.local.frames import STDERR, read

    path = home / "logs" / f"{attempt}.frames"
    offset = 0
    while True:
        more = follow and live()
        frames, offset = read(path, offset)
        for frame in frames:
            stream = sys.stderr if frame.stream == STDERR else sys.stdout
            stream.buffer.write(frame.data)
            stream.buffer.flush()
        if frames:
            continue
        if not more:
            return
        time.sleep(0.1)
