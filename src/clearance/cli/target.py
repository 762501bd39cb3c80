"""What a command line says about a pipeline: `FILE[:DAG]` and `-p name=value`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from clearance.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def parse_target(text: str) -> tuple[Path, str]:
    """Returns the file and the DAG's name (empty where none is said) of `FILE[:DAG]`."""
    if not text.endswith(".py") and ".py:" in text:
        file, _, name = text.rpartition(":")
        return Path(file), name
    return Path(text), ""


def parameter_option(function: F) -> F:
    """Adds `-p name=value`, which may be repeated; the command receives `parameters` as text pairs."""
    return click.option(
        "-p",
        "--parameter",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a parameter of the DAG; may be repeated.",
    )(function)


def parse_parameters(pairs: Sequence[str]) -> dict[str, str]:
    """Returns the values by name, as text; the DAG reads them by its annotations.

    Raises:
        UsageError: no `=`, or a name that is said twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"-p {pair}: write -p name=value")
        if name in found:
            raise UsageError(f"-p {name} is said twice")
        found[name] = value
    return found
