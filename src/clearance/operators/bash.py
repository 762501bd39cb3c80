"""`bash`: a command as a task; an argument list needs no shell, and a shell must be asked for by name.

    count = bash("count", ["wc", "-l", images])
    clean = bash("clean", shell='sort "$RAW" | uniq > clean.txt', env={"RAW": raw}, result="clean.txt")

What comes from outside a shell script reaches it in variables, never as a part of its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from clearance.errors import GraphError
from clearance.graph.origin import call_site
from clearance.operators import process
from clearance.operators.contract import OperatorFailed, names_of, operator, secrets_of, text_of, values_of
from clearance.types.references import File
from clearance.types.secret import Secret

SKIP = 99
_TEXTS = {"text": str, "last_line": str, "json": Any, "none": None, "output": File}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def bash(
    name: str,
    arguments: Sequence[Any] | None = None,
    *,
    shell: str | None = None,
    env: Mapping[str, Any] | None = None,
    cwd: str = "",
    result: str = "last_line",
    skip_on: int | Sequence[int] = SKIP,
    **how: Any,
) -> Any:
    """Makes a task that runs a command; it ends with the attempt, and its output is the task's log.

    Args:
        name: id of the task.
        arguments: the program and its arguments, constants or results: a file as its path, text as it is, anything
            else as JSON.
        shell: in place of `arguments`, a script for `bash -o pipefail -ec`; no value is ever put into its text.
        env: variables for it: constants, results or `Secret`s.
        cwd: folder in which it runs; default the attempt's own.
        result: `last_line` of its output, its whole `text` (1 MiB at most) or that read as `json`, `output` for it as a
            file, `none`, or the path of a file that it writes, relative to its folder.
        skip_on: exit codes after which the task is skipped.
        **how: options of the task.

    Raises:
        GraphError: neither or both of `arguments` and `shell`, or an option that is none.
    """
    site = call_site()[0]
    if (arguments is None) == (shell is None):
        raise GraphError(f"task {name!r} ({site}): give an argument list, or shell='…', and not both")
    if isinstance(arguments, str) or (arguments is not None and not len(arguments)):
        raise GraphError(
            f"task {name!r} ({site}): arguments are a list, ['wc', '-l', file]; for a line of a shell write shell='…'"
        )
    for variable in env or ():
        if not isinstance(variable, str) or not _VARIABLE.match(variable):
            raise GraphError(f"task {name!r} ({site}): {variable!r} is no name of an environment variable")
    if result not in _TEXTS and (not result or Path(result).is_absolute() or ".." in Path(result).parts):
        raise GraphError(
            f"task {name!r} ({site}): result is {result!r}: use one of {', '.join(_TEXTS)}, or a path inside its folder"
        )
    codes = [skip_on] if isinstance(skip_on, int) else list(skip_on)
    configuration = {
        "arguments": list(arguments or ()), "shell": shell or "", "names": names_of(env), "values": values_of(env),
        "secrets": secrets_of(env), "cwd": cwd, "result": result, "skip_on": codes,
    }  # fmt: skip
    return operator(name, run_bash, _TEXTS.get(result, File), configuration, how)


def run_bash(
    arguments: list[Any],
    shell: str,
    names: list[str],
    values: list[Any],
    secrets: dict[str, Secret],
    cwd: str,
    result: str,
    skip_on: list[int],
) -> Any:
    """Runs in the attempt's process: see `bash`."""
    command = ["bash", "-o", "pipefail", "-ec", shell] if shell else [text_of(each) for each in arguments]
    what = "the script" if shell else command[0]
    environment = {name: text_of(value) for name, value in zip(names, values, strict=True)}
    environment |= {name: secret.reveal() for name, secret in secrets.items()}
    folder = Path(cwd) if cwd else Path.cwd()
    output = Path.cwd() / "output" if result == "output" else None
    printed = process.run(
        command, what=what, environment=environment, directory=str(folder), output=output, skip_on=skip_on
    )
    if output is not None:
        return File(output)
    if result == "none":
        return None
    if result == "last_line":
        return process.last_line(printed, what)
    if result == "text":
        return process.text(printed, what)
    if result == "json":
        try:
            return msgspec.json.decode(printed[: process.TEXT_LIMIT + 1])
        except msgspec.DecodeError as error:
            raise OperatorFailed(f"{what} printed something else than JSON: {error}") from None
    made = folder / result
    if not made.is_file():
        raise OperatorFailed(f"{what} wrote no file {result!r}")
    return File(made)
