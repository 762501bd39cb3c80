"""What every command prints: tables for people (rich on a terminal, aligned text elsewhere) and `--json`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Adds `--json`; the command receives it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def print_json(data: Any) -> None:
    """Prints data as indented JSON; structs, dates and paths included."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(data, enc_hook=str), indent=2)
    click.echo(text.decode())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table: a rich one on a terminal, else columns that are aligned with spaces.

    Args:
        columns: the headings.
        rows: a cell a column; None is an empty cell.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column)
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(line[index]) for line in [list(columns), *cells]) for index in range(len(columns))]
    for row in [[column.upper() for column in columns], *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def print_records(records: Sequence[Mapping[str, object]], as_json: bool, columns: Sequence[str]) -> None:
    """Prints records as JSON, or as a table of the named keys."""
    if as_json:
        print_json(records)
    else:
        print_table(columns, [[record.get(column) for column in columns] for record in records])


def duration(seconds: float) -> str:
    """Returns a length of time as people read it: `0.4 s`, `42 s`, `3m10s`, `2h05m`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def size(count: float) -> str:
    """Returns bytes as people read them: `512 B`, `2.0 KiB`, `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def count(number: int, noun: str) -> str:
    """Returns `1 task`, `2 tasks`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
