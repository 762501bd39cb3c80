"""`clearance logs [-f] RUN TASK`: what an attempt wrote."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click


@click.command()
@click.argument("run")
@click.argument("task")
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the task has ended.")
@click.option("--attempt", type=click.IntRange(1), help="Which attempt; default: the newest.")
def logs(run: str, task: str, follow: bool, attempt: int | None) -> None:
    """Print what a TASK of a RUN wrote to standard output and standard error."""
    from clearance.cli.runs import reading
    from clearance.errors import UsageError
    from clearance.run import views
    from clearance.settings import load

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
