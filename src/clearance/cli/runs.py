"""`clearance runs list|show|tag`: what has run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearance.cli.output import count, print_json, print_table
from clearance.cli.tag import tag, told, wanted_tags
from clearance.cli.target import parse_parameters
from clearance.errors import UsageError

if TYPE_CHECKING:
    from clearance.cli.drawing import Course
    from clearance.graph.model import Graph
    from clearance.store.database import Database


@click.group()
def runs() -> None:
    """What has run, and how it went."""


@runs.command("list")
@click.option("--dag", default="", help="Only runs of this DAG.")
@click.option("--state", default="", help="Only runs in this state.")
@click.option("--tag", "tags", multiple=True, metavar="NAME[=VALUE]", help="Only runs with this tag; may be repeated.")
@click.option(
    "-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Only runs with this parameter."
)
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), show_default=True, help="At most this many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_runs(
    dag: str, state: str, tags: tuple[str, ...], parameters: tuple[str, ...], limit: int, as_json: bool
) -> None:
    """List runs, newest first; `clearance search` knows more."""
    from clearance.run.look import views
    from clearance.run.look.search import conditions

    given = parse_parameters(parameters)
    wanted = conditions(dag=dag, state=state, tags=wanted_tags(tags), parameters=given)
    with reading() as database:
        found = views.runs(database, wanted, limit)
    print_runs(found, as_json)


def print_runs(found: list[dict[str, Any]], as_json: bool) -> None:
    """Prints runs as `views.runs` returns them."""
    if as_json:
        print_json(found)
        return
    rows = [
        [
            each["id"], each["state"], _counts(each["tasks"]), when(each["created_at"]), took(each),
            each["principal"], told(each["tags"]),
        ]
        for each in found
    ]  # fmt: skip
    print_table(["run", "state", "tasks", "created", "took", "by", "tags"], rows)


runs.add_command(tag)


@runs.command()
@click.argument("run")
@click.option("--svg", "svg_file", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into an SVG file.")
@click.option("--png", "png_file", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into a PNG file.")
@click.option("--state", default="", help="Only tasks and instances in this state.")
@click.option(
    "--limit",
    default=200,
    type=click.IntRange(0, 100_000),
    show_default=True,
    help="At most this many mapped instances; where there are more, those that failed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(run: str, svg_file: Path | None, png_file: Path | None, state: str, limit: int, as_json: bool) -> None:
    """Show one run with its tasks, or draw it: each task in the colour of its state, with its seconds.

    A mapped task says how many of its instances are in each state.
    """
    from clearance.run.look import views

    files = [file for file in (svg_file, png_file) if file is not None]
    for file in files:
        if not file.absolute().parent.is_dir():
            raise UsageError(f"{file}: the folder {file.absolute().parent} does not exist")
    with reading() as database:
        found = views.run(database, run, state, limit)
        if files:
            _draw(*_course(database, run), svg_file, png_file)
    if as_json:
        print_json(found)
        return
    if files:
        return
    length = f"  took {took(found)}" if found["finished_at"] else ""
    click.echo(f"{found['id']}  {found['state']}  created {when(found['created_at'])}{length}")
    click.echo(f"version {found['version'][:19]}  by {found['principal']}  parameters {found['parameters']}")
    if found["tags"]:
        click.echo(f"tags {told(found['tags'])}")
    if found["cause"]:
        click.echo(f"started by {_cause(found['cause'])}")
    rows = []
    for task in found["tasks"]:
        failure = _because(task["failure"]) if task["failure"] else task["reason"]
        if "marked" in task:
            failure = f"marked by {task['marked']['by']}: {task['marked']['reason']}"
        if not failure and task.get("instances"):
            failure = _counts(task["instances"])
        rows.append([task["task"], task["state"], str(task["attempts"]), _span(task), _result(task), failure[:80]])
    print_table(["task", "state", "attempts", "took", "result", "why"], rows)
    if found["hidden"]:
        click.echo(f"and {count(found['hidden'], 'instance')} more: --state and --limit choose which are shown")


def _course(database: Database, id: str) -> tuple[Graph, Course]:
    """Returns the graph of a run, and what became of each node: its state, seconds and number of instances."""
    from clearance.cli.drawing import Course
    from clearance.graph.model import decode
    from clearance.run import recovery, rows

    run = recovery.known(database, id)
    graph = decode(bytes(database.rows("version_get", run.version)[0][3]))
    begins = {graph.nodes[node].id: begin for node, begin in database.rows("node_starts", run.number) if begin}
    states: dict[str, str] = {}
    ends: dict[str, float] = {}
    instances: dict[str, int] = {}
    for each in rows.node_rows(database, run.number):
        states[each.task] = "" if each.state == "scheduled" else each.state
        if each.state in ("success", "failed"):
            ends[each.task] = each.changed_at
    for node, scope, _, some in database.rows("instance_counts", run.number):
        if not scope:
            instances[graph.nodes[node].id] = instances.get(graph.nodes[node].id, 0) + some
    for member in graph.nodes:  # a group has as many copies as any task in it
        if member.id in instances and member.group:
            instances.setdefault(member.group, instances[member.id])
    seconds = {task: end - begins[task] for task, end in ends.items() if task in begins}
    parts = [run.id, run.state, count(len(graph.nodes), "task")]
    if run.finished_at:
        parts.append(f"{run.finished_at - run.created_at:.2f} s")
    return graph, Course(states, seconds, instances, " · ".join(parts))


def _draw(graph: Graph, course: Course, svg_file: Path | None, png_file: Path | None) -> None:
    from clearance.cli import drawing

    if svg_file is not None:
        svg_file.write_text(drawing.svg(graph, course))
    if png_file is not None:
        drawing.png(graph, png_file, course)


def reading() -> Any:
    """Opens the database of this home for reading."""
    from clearance.settings import load
    from clearance.store.database import Database

    database = Database(load().database, read_only=True)
    database.check()
    return database


def when(at: float) -> str:
    """Returns a time as people read it."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def took(run: dict[str, Any]) -> str:
    """Returns how long a run took, or nothing while it runs."""
    return f"{run['finished_at'] - run['created_at']:.2f} s" if run["finished_at"] else ""


def _cause(cause: dict[str, Any]) -> str:
    """Returns in one line what started a run."""
    what = f"backfill {cause['backfill']}" if "backfill" in cause else f"its {cause['kind']}"
    if "events" in cause:
        shown = [f"{each['asset']} (event {each['event']})" for each in cause["events"][:3]]
        more = len(cause["events"]) - len(shown)
        what = ", ".join(shown) + (f" and {count(more, 'more event')}" if more else "")
        return what + (f", key {cause['key']}" if cause["key"] else "")
    start, end = cause["interval"]
    return f"{what}, data interval {start} to {end}"


def _because(failure: dict[str, Any]) -> str:
    """Returns a failure in one line: `ValueError: boom`."""
    kind = failure["kind"].rpartition(".")[2]
    first = (failure["message"].splitlines() or [""])[0]
    return f"{kind}: {first}" if first else kind


def _result(task: dict[str, Any]) -> str:
    """Returns the digest of what a task returned, or of what it left when it failed."""
    left = (task["failure"] or {}).get("left")
    return str(task["result"] or (left["digest"] if left else ""))[:19]


def _span(task: dict[str, Any]) -> str:
    if task["started_at"] is None or task["finished_at"] is None:
        return ""
    return f"{task['finished_at'] - task['started_at']:.2f} s"


def _counts(tasks: dict[str, int]) -> str:
    return " ".join(f"{count} {state}" for state, count in sorted(tasks.items()))


@runs.command()
@click.option("--older", required=True, metavar="TIME", help="Runs that ended so long ago, such as 30d.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prune(older: str, dry_run: bool, as_json: bool) -> None:
    """Take away finished runs with all that is remembered of them; what a service stands on stays.

    Their files go with the next `clearance cache gc`.
    """
    from clearance.graph.duration import seconds
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.run.host.orders import Forget
    from clearance.settings import load

    settings, least = load(), seconds(older, "--older")
    taken, more = 0, True
    while more:
        reply = ask(settings, Forget("runs", least, dry_run))
        assert isinstance(reply, Answer)
        taken, more = taken + reply.value["taken"], reply.value["more"]
    if as_json:
        print_json({"runs": taken})
    else:
        click.echo(f"{count(taken, 'run')} {'would be taken away' if dry_run else 'taken away'}")
