"""`clearance dag`: check, list and draw DAGs; nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clearance.cli import known as known_dags
from clearance.cli import versions as known_versions
from clearance.cli.output import count, json_option, print_json, print_records, size
from clearance.cli.target import parameter_option, parse_parameters, parse_target
from clearance.errors import UsageError
from clearance.graph.binding import written
from clearance.graph.dag import Dag
from clearance.graph.loading import choose, dags_of, load_module, user_errors
from clearance.graph.model import Element, Ended, Graph, Node, Result, Value, graph_digest
from clearance.graph.origin import locate
from clearance.graph.predicate import text
from clearance.graph.trigger import DEFAULT


@click.group()
def dag() -> None:
    """Check, list, draw and register DAGs."""


for _command in (
    known_dags.register, known_dags.unregister, known_dags.pause, known_dags.unpause, known_versions.versions,
    known_versions.diff,
):  # fmt: skip
    dag.add_command(_command)


def _build(one: Dag, file: Path, parameters: dict[str, str]) -> Graph:
    with user_errors(locate(file)[0]):
        return one.graph(**parameters)


@dag.command()
@click.argument("target", metavar="FILE[:DAG]")
@parameter_option
@json_option
def check(target: str, parameters: tuple[str, ...], as_json: bool) -> None:
    """Check a DAG, or every DAG of a file.

    Its types, its shape, and the source bundle that would travel; nothing is run.
    """
    from clearance.graph.bundle import make_bundle

    file, name = parse_target(target)
    module = load_module(file)
    dags = [choose(module, name)] if name else list(dags_of(module).values()) or [choose(module, "")]
    values = parse_parameters(parameters)
    if values and len(dags) > 1:
        raise UsageError(f"-p belongs to one DAG: say which, for example {file}:{dags[0].id}")
    records: list[dict[str, Any]] = []
    for one in dags:
        graph = _build(one, file, values)
        records.append(
            {
                "dag": one.id,
                "tasks": len(graph.nodes),
                "edges": sum(len(node.upstream) for node in graph.nodes),
                "digest": graph_digest(graph),
            }
        )
    bundle = make_bundle(file)
    if as_json:
        print_json({"dags": records, "bundle": {"digest": bundle.digest, "files": bundle.files}})
        return
    for record in records:
        shape = f"{count(record['tasks'], 'task')}, {count(record['edges'], 'edge')}"
        click.echo(f"{record['dag']}: ok, {shape}, {record['digest']}")
    click.echo(f"bundle: {count(len(bundle.files), 'file')}, {size(len(bundle.data))}, {bundle.digest}")


@dag.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write here, to no file that exists."
)
@json_option
def import_(file: Path, output: Path | None, as_json: bool) -> None:
    """Turn an Airflow DAG file into one of ours, and list what could not be carried; nothing of it is run.

    The text goes to standard output, or to --output; the list to standard error. Jinja templates are refused.
    """
    from clearance.operators.airflow import convert

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    converted = convert(text, file.name)
    if output is not None:
        try:
            with output.open("x", encoding="utf-8") as target:
                target.write(converted.text)
        except FileExistsError:
            raise UsageError(f"{output} exists: give -o another name") from None
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    if as_json:
        notes = [{"line": note.line, "what": note.what, "mend": note.mend} for note in converted.notes]
        print_json({"dags": converted.dags, "notes": notes, **({} if output else {"text": converted.text})})
        return
    if output is None:
        click.echo(converted.text, nl=False)
    else:
        click.echo(f"{output}: {', '.join(converted.dags)}; look at it, then `clearance dag check {output}`")
    if converted.notes:
        click.echo(f"{file}: not carried:", err=True)
    for note in converted.notes:
        click.echo(f"  {note}", err=True)


@dag.command()
@click.argument("target", metavar="FILE[:DAG]")
@click.option("--fail", multiple=True, metavar="TASK", help="Let this task fail; may be repeated.")
@click.option("--skip", multiple=True, metavar="TASK", help="Let this task skip itself; may be repeated.")
@click.option(
    "--when",
    multiple=True,
    metavar="NAME=VALUE",
    help="What a condition reads, for example best.score=0.95; JSON, else text. May be repeated.",
)
@parameter_option
@json_option
def whatif(
    target: str,
    fail: tuple[str, ...],
    skip: tuple[str, ...],
    when: tuple[str, ...],
    parameters: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the state that every task and the run would end in, through the real state machine; nothing is run.

    FILE may also be a JSON file of DAGs in plain data, {"dags": [{"tasks": {ID: {"up", "rule", "outcome"}}}]}: then a
    list of {"states", "run"} is printed, in the file's order.
    """
    from clearance.run.rehearsal.whatif import replay, what_if

    if target.endswith(".json"):
        print_json([replay(one) for one in _plain_dags(Path(target))])
        return
    file, name = parse_target(target)
    graph = _build(choose(load_module(file), name), file, parse_parameters(parameters))
    found = what_if(graph, fail, skip, dict(map(_given, when)))
    if as_json:
        print_json(found)
        return
    print_records([{"task": task, "state": state} for task, state in found["states"].items()], False, ["task", "state"])
    click.echo(f"run {found['run']}")


def _given(text: str) -> tuple[str, Any]:
    import json

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--when {text}: write NAME=VALUE, for example --when best.score=0.95")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _plain_dags(file: Path) -> list[dict[str, Any]]:
    import json

    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read as JSON: {error}") from None
    dags = found.get("dags") if isinstance(found, dict) else found
    if not isinstance(dags, list) or not all(isinstance(one, dict) for one in dags):
        raise UsageError(f'{file} holds no list of DAGs: write {{"dags": [{{"tasks": …}}]}}')
    return dags


@dag.command("list")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@json_option
def list_dags(file: Path | None, as_json: bool) -> None:
    """List the DAGs of a FILE and their parameters; without one, those that are known, and when they run next."""
    if file is None:
        known_dags.list_known(as_json)
        return
    records = []
    for one in dags_of(load_module(file)).values():
        with user_errors(locate(file)[0]):
            known = one.parameters
        texts = [f"{name}: {one.type}" + ("" if one.required else f" = {one.default!r}") for name, one in known.items()]
        records.append(
            {"dag": one.id, "line": one.site.line, "parameters": texts if as_json else ", ".join(texts), "doc": one.doc}
        )
    print_records(records, as_json, ["dag", "line", "parameters"])


@dag.command()
@click.argument("target", metavar="FILE[:DAG]")
@parameter_option
@click.option("--svg", "svg_file", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into an SVG file.")
@click.option("--png", "png_file", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into a PNG file.")
@json_option
def show(target: str, parameters: tuple[str, ...], svg_file: Path | None, png_file: Path | None, as_json: bool) -> None:
    """Show the tasks of a DAG, layer by layer, or draw it."""
    from clearance.cli import drawing, layout

    file, name = parse_target(target)
    graph = _build(choose(load_module(file), name), file, parse_parameters(parameters))
    for out in (svg_file, png_file):
        if out is not None and not out.absolute().parent.is_dir():
            raise UsageError(f"{out}: the folder {out.absolute().parent} does not exist")
    if svg_file is not None:
        svg_file.write_text(drawing.svg(graph))
    if png_file is not None:
        drawing.png(graph, png_file)
    if as_json:
        print_json(graph)
    elif svg_file is None and png_file is None:
        column = layout.columns(drawing.layers(graph))
        records = _blocks([(node, column[node.id]) for node in graph.nodes])
        print_records(records, False, ["layer", "task", "inputs", "after", "returns", "how"])
        if graph.schedule is not None:
            click.echo(f"schedule: {graph.schedule}, catch-up {'on' if graph.catchup else 'off'}")
        if graph.deadline:
            click.echo(f"deadline: {graph.deadline:g} s after a run was made")


def _blocks(nodes: list[tuple[Node, int]]) -> list[dict[str, Any]]:
    """Returns the tasks by layer; those of a group follow its line, or the line of its name, as a block."""
    blocks: dict[str, list[tuple[Node, int]]] = {}
    for node, layer in nodes:
        blocks.setdefault(node.id.partition(".")[0], []).append((node, layer))
    records: list[dict[str, Any]] = []
    for name, block in sorted(blocks.items(), key=lambda item: min(layer for _, layer in item[1])):
        block.sort(key=lambda item: item[1])
        if len(block) > 1 and block[0][0].id != name:
            first = {"layer": block[0][1] + 1, "task": name, "how": f"group of {len(block)}"}
            records.append(dict.fromkeys(("inputs", "after", "returns"), "") | first)
        for node, layer in block:
            record = _record(node, layer)
            record["task"] = "  " * node.id.count(".") + node.id if len(block) > 1 else node.id
            records.append(record)
    return records


def _record(node: Node, layer: int) -> dict[str, Any]:
    inputs = [f"{name}={_binding(binding)}" for name, binding in node.inputs.items()]
    inputs += [f"{name} over {_binding(binding)}" for name, binding in node.mapped.items()]
    how = [f"gang of {node.gang}"] if node.gang > 1 else []
    how += [f"{node.retries.times} retries"] if node.retries.times else []
    how += [f"timeout {node.timeout:g} s"] if node.timeout else []
    how += [] if node.isolation == "process" or node.is_group else [node.isolation]
    how += ["mapped group"] if node.is_group else []
    how += ["every combination"] if node.product else []
    how += [f"{node.copies} at once"] if node.copies else []
    how += [f"{node.concurrency} in all runs"] if node.concurrency else []
    how += [f"pool {node.pool}" + (f" x{node.pool_slots}" if node.pool_slots > 1 else "")] if node.pool else []
    how += [f"when {text(condition)}" for condition in node.conditions]
    how += [f"on {node.on} of {node.of or 'the run'}"] if node.on else []
    how += [f"takes down {node.setup}" + (", fails the run" if node.fails_run else "")] if node.setup else []
    how += [node.trigger_rule] if node.trigger_rule != DEFAULT else []
    how += [f"deadline {node.deadline:g} s"] if node.deadline else []
    return {
        "layer": layer + 1,
        "task": node.id,
        "inputs": ", ".join(inputs),
        "after": ", ".join(node.upstream[:4])
        + (f" and {len(node.upstream) - 4} more" if len(node.upstream) > 4 else ""),
        "returns": node.returns.replace("clearance.types.references.", ""),
        "how": ", ".join(how),
    }


def _binding(binding: Any) -> str:
    if isinstance(binding, Result):
        return f"<{written(binding)}>"
    if isinstance(binding, Element):
        return f"<{written(binding)} of {binding.group}>"
    if isinstance(binding, Ended):
        return f"<{written(binding)}>"
    text = repr(binding.value) if isinstance(binding, Value) else "[" + ", ".join(map(_binding, binding.items)) + "]"
    return text if len(text) <= 40 else text[:39] + "…"
