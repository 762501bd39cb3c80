"""Handlers: a task that runs when another one, or the run, has failed or succeeded: `@task(on_failure=alert)`.

Rules:

1. A handler is a node of the graph like any other, with logs, retries and a state; `train.on_failure` is its id, and
   `on_failure` that of a DAG's.
2. It gets a `clearance.types.outcome.Outcome` in the parameter that is annotated so, else in the first that is free.
3. What becomes of it never changes how the run ends, nor how a group ends.
4. A task that was cancelled, skipped, or whose upstream failed has neither failed nor succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from clearance.errors import GraphError
from clearance.graph.annotations import accepts, anything
from clearance.graph.build import Declaration
from clearance.graph.definition import Definition
from clearance.graph.model import Ended
from clearance.types.outcome import Outcome

KINDS = ("failure", "success")


def check_handler(value: Any, name: str) -> Any:
    """Returns the handler, or None for none.

    Raises:
        GraphError: no task, one that is mapped or has handlers itself, or one that has no room for the outcome.
    """
    from clearance.graph.task import Task

    if value is None:
        return None
    if not isinstance(value, Task):
        mend = "decorate it with @task" if callable(value) else "write a task"
        shown = getattr(value, "__name__", None) or repr(value)
        raise GraphError(f"{name} is {shown}, which is no task: {mend}")
    if value.mapped:
        raise GraphError(f"{name} is {value.where}, which is mapped: one handler runs for all")
    if value.options.on_failure is not None or value.options.on_success is not None:
        raise GraphError(f"{name} is {value.where}, which has a handler itself: a handler has none")
    return value


def with_handlers(dag: str, declarations: Iterable[Declaration], failure: Any, success: Any) -> list[Declaration]:
    """Returns the declarations with those of their handlers, and of the DAG's, behind them."""
    found = [*declarations]
    for one in list(found):
        for kind, handler in zip(KINDS, (one.options.on_failure, one.options.on_success), strict=True):
            if handler is not None:
                found.append(_declared(dag, handler, kind, one.id, one.group))
    for kind, handler in zip(KINDS, (failure, success), strict=True):
        if handler is not None:
            found.append(_declared(dag, handler, kind, "", ""))
    return found


def _declared(dag: str, handler: Any, kind: str, of: str, group: str) -> Declaration:
    made: Declaration = handler.declaration(Definition(dag))
    if made.upstream:
        raise GraphError(f"{handler.where} is on_{kind} of {of or 'the dag'} and takes the result of a task: it cannot")
    annotations = made.signature.annotations
    free = [name for name in annotations if name not in made.inputs]
    named = [name for name in free if not anything(annotations[name]) and accepts(annotations[name], Outcome)]
    room = named or [name for name in free if anything(annotations[name])]
    inputs = dict(made.inputs)
    if room:
        inputs[room[0]] = Ended(of)
    for name in made.signature.required:
        if name not in inputs:
            raise GraphError(
                f"{handler.where} is on_{kind} of {of or 'the dag'}: parameter {name!r} has no value: "
                "a handler takes one Outcome; fix the others with .partial"
            )
    return replace(made, id=f"{of}.on_{kind}" if of else f"on_{kind}", group=group, inputs=inputs, on=kind, of=of)
