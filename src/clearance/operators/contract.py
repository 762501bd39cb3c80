"""The contract of an operator: a factory that makes a task of a function of this room and of its configuration.

Rules:

1. Every parameter of the function is fixed by the factory, so that nothing is filled by a guess and none becomes a
   parameter of the DAG: configuration is data in the graph, seen by `dag show`, hashed in the version.
2. Where a value may be the result of another task, its parameter is `Any` or holds a list; a dict travels as two
   lists (`names_of`, `values_of`), since a result cannot stand in a dict of the graph.
3. A secret is only ever a constant of its own parameter: what a task returns is never taken for a reference.
4. Inside an `@dag` function a factory declares its node and returns its step, like a task that is called; anywhere
   else it returns a task for `>>`.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

import clearance
from clearance.errors import ClearanceError, GraphError
from clearance.graph.definition import current
from clearance.graph.options import check_id, options
from clearance.graph.origin import Origin, call_site
from clearance.graph.signature import Signature
from clearance.graph.task import Task
from clearance.types.deferral import Resumed
from clearance.types.references import File, Tree
from clearance.types.secret import Secret


class OperatorFailed(ClearanceError):
    """What an operator did for a task did not succeed: a command, a request, a container.

    Attributes:
        left: what is kept of it all the same, and shown by `artifact show`; None for nothing.
    """

    exit_code = 1

    def __init__(self, message: str, left: File | None = None) -> None:
        super().__init__(message)
        self.left = left


def operator(
    name: str, function: Callable[..., Any], returns: Any, configuration: Mapping[str, Any], how: Mapping[str, Any]
) -> Any:
    """Returns a task (inside an `@dag` function: a step) that runs a function of this room.

    Args:
        name: id of the node.
        function: at the top level of its module, with annotations.
        returns: annotation of the result.
        configuration: a value for each of its parameters.
        how: options of the task: retries, timeout, resources, …

    Raises:
        GraphError: an id, an option or a value that is none.
    """
    site = call_site()[0]
    hints = typing.get_type_hints(function)
    hints.pop("return", None)
    assert hints.keys() == configuration.keys(), f"{function}: {hints.keys() ^ configuration.keys()}"
    where = f"task {name!r} ({site})"
    code = function.__code__
    origin = Origin(function.__module__, function.__qualname__, site, code.co_filename)
    try:
        chosen = options(**how)
    except GraphError as error:
        raise GraphError(f"{where}: {error}") from None
    made: Task[..., Any] = Task(
        function, origin, Signature(where, hints, returns), chosen, check_id(name), fixed=configuration
    )
    return made() if current() is not None else made


def attempt() -> Any:
    """Returns `clearance.context`, which knows the attempt that runs in this process."""
    return clearance.context


def resumed() -> Resumed | None:
    """Returns what happened, where this attempt goes on after a wait; None also where no task is running."""
    try:
        found: Resumed | None = clearance.context.resumed
    except ClearanceError:
        return None
    return found


def names_of(values: Mapping[str, Any] | None) -> list[str]:
    """Returns the names of the values that are no secrets."""
    return [name for name, value in (values or {}).items() if not isinstance(value, Secret)]


def values_of(values: Mapping[str, Any] | None) -> list[Any]:
    """Returns the values that are no secrets, in the same order."""
    return [value for value in (values or {}).values() if not isinstance(value, Secret)]


def secrets_of(values: Mapping[str, Any] | None) -> dict[str, Secret]:
    """Returns the secrets by name."""
    return {name: value for name, value in (values or {}).items() if isinstance(value, Secret)}


def text_of(value: Any) -> str:
    """Returns a value as one argument or one variable: a path of files, text as it is, anything else as JSON.

    Raises:
        OperatorFailed: it has no such form, or holds a NUL character.
    """
    if isinstance(value, File | Tree):
        value = str(value.path)
    elif not isinstance(value, str):
        try:
            value = msgspec.json.encode(value, enc_hook=_path).decode()
        except (TypeError, ValueError, NotImplementedError):
            raise OperatorFailed(
                f"a value of type {type(value).__qualname__} is no argument of a command: pass text, a number or a file"
            ) from None
    if "\0" in value:
        raise OperatorFailed("an argument of a command holds a NUL character: pass such data in a file")
    return str(value)


def _path(value: Any) -> Any:
    if hasattr(value, "__fspath__"):
        return str(value)
    raise NotImplementedError


def check_choice(what: str, value: Any, choices: tuple[str, ...]) -> str:
    """Returns the value if it is one of these.

    Raises:
        GraphError: it is none.
    """
    if value not in choices:
        raise GraphError(f"{call_site()[0]}: {what} is {value!r}: use one of {', '.join(choices)}")
    return str(value)
