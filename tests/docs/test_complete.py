"""The reference is complete: every command and option, setting, public name, state, table, decision."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest

import clearance
from clearance import context, errors
from clearance.cli.main import cli
from clearance.graph.dag import Dag
from clearance.graph.options import NAMES
from clearance.graph.task import Task
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.types.states import TRANSITIONS, RunState, ServiceState

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def sections(page: str) -> dict[str, str]:
    """Returns the text under each heading of the second level, by heading without backquotes."""
    parts = re.split(r"^## (.+)$", (REFERENCE / page).read_text(), flags=re.MULTILINE)
    return {title.strip("`"): text for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(cli, "clearance"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_its_options_and_exit_codes_are_documented(name: str):
    text = sections("cli.md").get(name)
    assert text is not None, f"docs/reference/cli.md has no section `{name}`"
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            for option in parameter.opts:
                assert re.search(rf"`{option}\b", text), f"{name} {option}"
    assert "Exit codes: 0" in text


def test_no_command_is_documented_that_does_not_exist():
    assert set(sections("cli.md")) == {"clearance", *COMMANDS}


def test_no_option_is_documented_that_does_not_exist():
    for name, command in COMMANDS.items():
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for row in re.findall(r"^\| (`-.*?) \|", sections("cli.md")[name], re.MULTILINE):
            for option in re.findall(r"`(-[\w-]+)", row):
                assert option in known, f"{name} {option}"


def test_every_setting_is_documented_with_its_default():
    text = (REFERENCE / "settings.md").read_text()
    for field in fields(Settings):
        row = re.search(rf"^\| `CLEARANCE_{field.name.upper()}` \| `{field.name}` \| `(.+?)` \|", text, re.MULTILINE)
        assert row is not None, field.name
        if field.default:
            assert row[1] == str(field.default)


def test_every_variable_that_the_source_reads_is_documented():
    text = (REFERENCE / "settings.md").read_text()
    names = {f"CLEARANCE_{field.name.upper()}" for field in fields(Settings)}
    for file in (ROOT / "src").rglob("*.py"):
        names.update(re.findall(r"environ(?:\.get\(|\[)\"(CLEARANCE_\w+)", file.read_text()))
    inside = {"CLEARANCE_ATTEMPT"}
    assert {name for name in names - inside if name not in text} == set()


def test_every_public_name_is_documented():
    known = sections("python.md")
    assert set(clearance.__all__) <= set(known)


def test_every_option_of_a_task_is_documented():
    text = sections("python.md")["task"]
    for name in NAMES:
        assert f"| `{name}` |" in text, name


def test_every_public_method_is_documented():
    python = (REFERENCE / "python.md").read_text()
    for kind, inner in ((Task, {"declaration", "declare", "mapped", "where"}), (Dag, {"not_beside"})):
        for name in vars(kind):
            if not name.startswith("_") and name not in inner:
                assert re.search(rf"\.{name}\b", python), f"{kind.__name__}.{name}"
    for name in vars(type(context)):
        if not name.startswith("_"):
            assert f"context.{name}" in python, name


def test_every_error_is_documented_with_its_exit_code():
    text = sections("python.md")["clearance.errors"]
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.ClearanceError):
            assert f"| `{name}` | {kind.exit_code} |" in text, name


def test_the_states_are_those_of_the_program():
    text = (REFERENCE / "states.md").read_text()
    for state, following in TRANSITIONS.items():
        row = re.search(rf"^\| `{state}` \|.*\| (.*?) \|$", text, re.MULTILINE)
        assert row is not None, state
        assert set(re.findall(r"`(\w+)`", row[1])) == {str(each) for each in following}, state
    for each in (*RunState, *ServiceState):
        assert f"| `{each}` |" in text, each


def test_every_table_and_every_column_worth_it_is_documented(tmp_path: Path):
    text = (REFERENCE / "database.md").read_text()
    with Database(f"sqlite:///{tmp_path}/x.db") as database:
        database.migrate()
        tables = [row[0] for row in database.dialect.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        if not table.startswith("sqlite_"):
            assert f"| `{table}` |" in text, table


def test_every_route_is_documented():
    endpoint = (REFERENCE / "endpoint-api.md").read_text()
    for path in re.findall(r'Route\("([^"]+)"', (ROOT / "src/clearance/serve/application.py").read_text()):
        assert path in endpoint, path
    api = (REFERENCE / "rest-api.md").read_text()
    for file in (ROOT / "src/clearance/web").glob("*.py"):
        base = "/ws/v1" if file.stem == "yunikorn" else "/api/v1"
        for method, path in re.findall(r'@router\.(get|post)\("([^"]+)"', file.read_text()):
            shown = re.sub(r"{(\w+)}", lambda each: "default" if each[1] == "partition" else each[1].upper(), path)
            assert f"`{method.upper()} {base}{shown}" in api, path


def printed_rows() -> set[str]:
    """Returns the key of every row that a bench shows; what is filled in when it runs is `*`."""
    rows = set()
    for file in (ROOT / "bench").glob("*/*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "show":
                key = call.args[0]
                parts = key.values if isinstance(key, ast.JoinedStr) else [key]
                rows.add("".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts))
    return rows


def described_rows() -> set[str]:
    """Returns every row that the page names; what stands in capitals for a part of it is `*`."""
    kinds = "run|cluster|graph|engine|store|trust"
    names = re.findall(rf"`((?:{kinds})\.[\w.*]+)`", (REFERENCE / "benchmarks.md").read_text())
    return {re.sub(r"\b[A-Z]+(?=\b|_)", "*", name) for name in names}


def one_is_the_other(row: str, other: str) -> bool:
    return fnmatch(row.replace("*", "x"), other) or fnmatch(other.replace("*", "x"), row)


def test_every_row_that_a_bench_prints_is_explained():
    described = described_rows()
    assert len(printed_rows()) > 60
    assert {row for row in printed_rows() if not any(one_is_the_other(row, other) for other in described)} == set()


def test_no_row_is_explained_that_no_bench_prints():
    exact = {row for row in printed_rows() if not row.startswith("*")}
    loose = printed_rows() - exact
    for row in described_rows() - {"run.chain"}:  # the family, in a sentence
        assert any(one_is_the_other(row, other) for other in exact) or any(fnmatch(row, other) for other in loose), row


def test_decisions_are_numbered_short_and_in_one_form():
    pages = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    index = (ROOT / "docs" / "adr" / "index.md").read_text()
    for number, page in enumerate(pages, 1):
        lines = page.read_text().splitlines()
        assert lines[0].startswith(f"# {number:04d}. ")
        assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]
        assert len(lines) <= 30, page
        assert f"({page.name})" in index


def test_every_example_is_listed():
    text = (ROOT / "examples" / "README.md").read_text()
    for file in (ROOT / "examples").glob("*.py"):
        assert f"`{file.name}`" in text


def test_every_input_of_a_bench_has_source_checksum_and_licence():
    for name, entry in tomllib.loads((ROOT / "bench" / "data.toml").read_text()).items():
        assert entry["source"].startswith("https://"), name
        assert re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]), name
        assert entry["licence"], name
    example = (ROOT / "examples" / "digits.py").read_text()
    assert tomllib.loads((ROOT / "bench" / "data.toml").read_text())["digits"]["sha256"] in example


def documents() -> list[Path]:
    return [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]


def test_every_link_of_a_document_leads_somewhere():
    for document in documents():
        for link in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if not link.startswith("https://"):
                assert (document.parent / link).exists(), f"{document.relative_to(ROOT)}: {link}"


def test_every_page_is_in_the_navigation():
    listed = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f"- {page.relative_to(ROOT / 'docs')}\n" in listed, page
