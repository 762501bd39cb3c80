"""`python`: a function of a library as a task, without a decorator where it is defined.

    clean = python("clean", mylibrary.clean, rows=rows, strict=True)

A function of the pipeline itself is made a task by `@task`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clearance.graph.definition import current
from clearance.graph.task import task


def python(
    name: str, function: Callable[..., Any], /, *, options: Mapping[str, Any] | None = None, **inputs: Any
) -> Any:
    """Makes a task of a function that a process can import by name.

    Args:
        name: id of the task.
        function: at the top level of its module, typed as any task's.
        options: of the task: `{"retries": 3}`.
        **inputs: its arguments, constants or results; what is left out is filled as in any task.

    Raises:
        GraphError: a function that cannot be a task, an unknown argument or option.
    """
    made = task(name=name, **(options or {}))(function).partial(**inputs)
    return made() if current() is not None else made
