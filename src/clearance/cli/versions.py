"""`clearance dag versions|diff`: which versions of a DAG there are, and what differs between two."""

from __future__ import annotations

from typing import Any

import click

from clearance.cli.output import json_option, print_json, print_records


@click.command()
@click.argument("name", metavar="DAG")
@json_option
def versions(name: str, as_json: bool) -> None:
    """List the versions of DAG, newest first; one that runs by itself runs the one that is `known`."""
    from clearance.cli.runs import reading, when
    from clearance.run.redo import versions as stored

    with reading() as database:
        listed = stored.versions(database, name)
        known = {row[1] for row in database.rows("dag_get", name)}
    records: list[dict[str, Any]] = [
        {
            "digest": each.digest, "created_at": each.created_at, "bundle": each.bundle, "module": each.module,
            "runs": each.runs, "known": each.digest in known,
        }
        for each in listed
    ]  # fmt: skip
    if as_json:
        print_json(records)
        return
    shown = [
        {
            "version": each["digest"][:19], "created": when(each["created_at"]), "bundle": each["bundle"][:19],
            "runs": each["runs"], "known": "known" if each["known"] else "",
        }
        for each in records
    ]  # fmt: skip
    print_records(shown, False, ["version", "created", "bundle", "runs", "known"])


@click.command()
@click.argument("name", metavar="DAG")
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@json_option
def diff(name: str, old: str, new: str, as_json: bool) -> None:
    """Print what differs between versions A and B of DAG: graph, code, environment.

    A and B are the first digits of a version, or runs.
    """
    from clearance.cli.runs import reading
    from clearance.run.redo import versions as stored
    from clearance.settings import load

    with reading() as database:
        found = stored.diff(database, load().home, name, old, new)
    if as_json:
        print_json(found)
        return
    lines = [*_graph(found["graph"]), *_environment(found["environment"])]
    for line in lines:
        click.echo(line)
    code = found["code"]
    for word, sign in (("added", "+"), ("removed", "-")):
        for file in code[word]:
            click.echo(f"{sign} file {file}")
    for text in code["changed"].values():
        click.echo(text, nl=False)
    if not lines and not any(code.values()):
        click.echo("nothing differs")


def _graph(graph: dict[str, Any]) -> list[str]:
    lines = [f"~ dag {name}: {_text(was)} → {_text(now)}" for name, (was, now) in graph["options"].items()]
    lines += [f"~ parameter {name}: {_text(was)} → {_text(now)}" for name, (was, now) in graph["parameters"].items()]
    lines += [f"+ task {id}" for id in graph["added"]] + [f"- task {id}" for id in graph["removed"]]
    for id, fields in graph["changed"].items():
        lines += [f"~ task {id} {name}: {_text(was)} → {_text(now)}" for name, (was, now) in fields.items()]
    return lines


def _environment(found: dict[str, Any]) -> list[str]:
    lines = [f"+ {name} {version}" for name, version in found["added"].items()]
    lines += [f"- {name} {version}" for name, version in found["removed"].items()]
    return lines + [f"~ {name} {was} → {now}" for name, (was, now) in found["changed"].items()]


def _text(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
