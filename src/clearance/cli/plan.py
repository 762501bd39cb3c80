"""`clearance run --dry-run`: what a run would do, in waves, and what the desks would say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clearance.cli.output import count, print_json, print_table, size

if TYPE_CHECKING:
    from clearance.run.rehearsal.planning import Planned
    from clearance.settings import Settings


def print_plan(settings: Settings, file: Path, name: str, parameters: dict[str, str], as_json: bool) -> None:
    """Prints what a run would do; exits with 3 where a desk would deny a task."""
    from clearance.graph.loading import choose, load_module, user_errors
    from clearance.graph.origin import locate
    from clearance.run.rehearsal.planning import plan

    dag = choose(load_module(file), name)
    with user_errors(locate(file)[0]):
        graph = dag.graph(**parameters)
    found = plan(graph, settings)
    if as_json:
        print_json(found)
    else:
        rows = [[number, *_row(one)] for number, wave in enumerate(found.waves, 1) for one in wave]
        print_table(["wave", "task", "instances", "asks", "capacity", "trust"], rows)
        tasks = count(sum(map(len, found.waves)), "task")
        click.echo(f"dag {found.dag}: {tasks} in {count(len(found.waves), 'wave')}; nothing was run")
    if found.denied:
        raise SystemExit(3)


def _row(one: Planned) -> list[str]:
    asks = [f"cpu {one.resources['cpu'] / 1000:g}"] if one.resources.get("cpu") else []
    if one.resources.get("memory"):
        asks.append(f"memory {size(one.resources['memory'])}")
    if one.resources.get("gpu"):
        asks.append(f"gpu {one.resources['gpu'] / 1000:g}")
    if one.gang > 1:
        asks.append(f"x {one.gang}")
    if one.pool:
        asks.append(f"pool {one.pool}")
    instances = "?" if one.count is None else str(one.count)
    if one.cached:
        asks = [f"nothing: the cache has the result of {one.cached}"]
    verdict = one.capacity.verdict + (f": {one.capacity.reason}" if one.capacity.verdict != "granted" else "")
    task = f"{one.task}, depends on {one.condition}" if one.condition else one.task
    return [task, instances, " ".join(asks), verdict, f"{one.trust.verdict}: {one.trust.reason}"]
