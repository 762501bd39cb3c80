"""How a task or a run ended, as its handler is told: `def alert(outcome: Outcome): …`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a task or a run ended.

    Attributes:
        dag: id of the DAG.
        run: id of the run.
        task: the task, `train` or `train[2]`; empty for the run itself.
        state: `success` or `failed`.
        message: why it failed: the failure's message; of a run, which tasks did; empty for a success.
        link: path of the run in the REST API, `/api/v1/runs/…`.
        instances: of a mapped task, those that did not succeed, `("train[3]", "train[7]")`: the first hundred.
    """

    dag: str
    run: str
    task: str
    state: str
    message: str = ""
    link: str = ""
    instances: tuple[str, ...] = ()
