"""What an event means for the life of a run or of an attempt: it starts, goes on, ends. Pure.

Rules:

1. A run starts where it is created, and again where somebody goes on with it after its end: each is a life of its own.
2. A launch is the life of an attempt. It starts when it is queued, and ends when its outcome is known, or, after a
   wait, when the instance is woken. One turn may end a launch and start the next: then the event tells of both.
3. A step of a flow's own process is told of when it has ended: its event is its whole life.
4. What is skipped or cancelled before it was ever launched has no life.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from clearance.types.states import RunState, TaskState

START, RUNNING, END = "start", "running", "end"
_LIVE = frozenset({TaskState.QUEUED, TaskState.RUNNING})
_RUN_ENDS = frozenset(str(state) for state in RunState if state.finished)
_RUN_STATES = frozenset(map(str, RunState))
_TASK_STATES = frozenset(map(str, TaskState))


class Phase(NamedTuple):
    """What happened to a life: `kind` is `start`, `running` or `end`; `launch` is 0 for the run itself."""

    kind: str
    launch: int


def phases(instance: int, kind: str, payload: dict[str, Any]) -> list[Phase]:
    """Returns what an event of the outbox means, in order.

    Args:
        instance: number of the instance; -1 for the run.
        kind: of the event.
        payload: of the event.
    """
    if instance < 0:
        return _of_run(kind, payload)
    launch = int(payload.get("launch", 0))
    if not launch:
        return []
    if kind == "asset":
        return [Phase(RUNNING, launch)]
    if kind not in _TASK_STATES:
        return []
    if payload.get("whole"):
        return [Phase(START, launch), Phase(END, launch)]
    before = payload.get("from")
    lived = before in _LIVE or before == TaskState.DEFERRED
    if kind == TaskState.QUEUED:
        ended = [Phase(END, launch - 1)] if lived and launch > 1 else []
        return [*ended, Phase(START, launch)]
    if kind == TaskState.RUNNING:
        return [Phase(RUNNING, launch)]
    if kind == TaskState.DEFERRED:
        return [Phase(RUNNING, launch)] if before in _LIVE else []
    return [Phase(END, launch)] if lived else []


def _of_run(kind: str, payload: dict[str, Any]) -> list[Phase]:
    if kind == "created" or (payload.get("resumed") and kind not in _RUN_ENDS):
        return [Phase(START, 0)]
    if kind == RunState.RUNNING:
        return [Phase(RUNNING, 0)]
    return [Phase(END, 0)] if kind in _RUN_ENDS else []


def names(instance: int, kind: str, payload: dict[str, Any]) -> list[str]:
    """Returns the names by which a sink may ask for an event: `run.failed`, `task.success`, `approval`, `asset`."""
    if instance < 0:
        return [f"run.{kind}" if kind == "created" or kind in _RUN_STATES else kind]
    if kind not in _TASK_STATES:
        return [kind]
    return [f"task.{kind}", *(["approval"] if payload.get("waits") == "approval" else [])]
