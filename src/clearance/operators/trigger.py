"""`trigger_dag`: starts a run of another DAG, and may wait for its end without a process.

    train = trigger_dag("train", "nightly_training", parameters={"day": day}, wait=True)

The id of the run follows from this run and task: however often the task is repeated, one run is started.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from clearance.errors import Defer
from clearance.graph.duration import seconds
from clearance.graph.options import check_id
from clearance.operators.contract import OperatorFailed, attempt, names_of, operator, resumed, values_of

_LONGEST = 160


def trigger_dag(
    name: str,
    dag: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    wait: bool = False,
    timeout: float | str | None = None,
    **how: Any,
) -> Any:
    """Makes a task that starts a run of a DAG.

    Args:
        name: id of the task.
        dag: id of a DAG of which the installation knows a version; the newest is run.
        parameters: of that run: constants or results.
        wait: whether the task ends with that run, and fails unless it succeeds.
        timeout: seconds, or `"2h"`, that it waits at most.
        **how: options of the task.

    Returns:
        A task whose result is `{"run", "state"}`.

    Raises:
        GraphError: no id of a DAG, or an option that is none.
    """
    configuration = {
        "dag": check_id(dag, "dag"), "names": names_of(parameters), "values": values_of(parameters), "wait": wait,
        "timeout": None if timeout is None else seconds(timeout),
    }  # fmt: skip
    return operator(name, run_trigger, dict[str, str], configuration, how)


def run_trigger(dag: str, names: list[str], values: list[Any], wait: bool, timeout: float | None) -> Any:
    """Runs in the attempt's process: see `trigger_dag`."""
    after = resumed()
    if after is None:
        context = attempt()
        try:
            parameters = msgspec.json.decode(msgspec.json.encode(dict(zip(names, values, strict=True))))
        except (TypeError, ValueError) as error:
            raise OperatorFailed(f"the parameters of dag {dag!r} are no plain data: {error}") from None
        details = {"dag": dag, "parameters": parameters, "wait": wait}
        raise Defer("run", _run_id(dag, context.run, context.task, context.instance), timeout=timeout, details=details)
    run, state = after.key, after.payload["state"]
    if wait and state != "success":
        raise OperatorFailed(f"run {run} ended as {state}: retry it, then this task")
    return {"run": run, "state": state}


def _run_id(dag: str, run: str, task: str, instance: int) -> str:
    origin = f"{run}/{task}" + (f"/{instance}" if instance >= 0 else "")
    if len(dag) + len(origin) > _LONGEST:
        origin = hashlib.sha256(origin.encode()).hexdigest()[:32]
    return f"{dag}/by/{origin}"[:200]
