"""The states of runs, tasks and services, and the transitions that are allowed.

A task: scheduled → awaiting_clearance → queued → running → success | failed | up_for_retry |
deferred | preempted | skipped | upstream_failed | cancelled. Every change is one row, written by
compare-and-set from a state in `TRANSITIONS`; any other change is refused.
"""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """Where one task instance stands."""

    SCHEDULED = "scheduled"
    AWAITING_CLEARANCE = "awaiting_clearance"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    UP_FOR_RETRY = "up_for_retry"
    DEFERRED = "deferred"
    PREEMPTED = "preempted"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """True when nothing moves this instance any more, short of a person."""
        return self in FINISHED


class RunState(StrEnum):
    """Where a whole run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        return self not in (RunState.QUEUED, RunState.RUNNING)


class ServiceState(StrEnum):
    """Where a service stands; a service never succeeds, it is stopped."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    BACKOFF = "backoff"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


FINISHED = frozenset(
    {TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED}
)

_S = TaskState
TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    _S.SCHEDULED: frozenset(
        {_S.AWAITING_CLEARANCE, _S.DEFERRED, _S.SUCCESS, _S.SKIPPED, _S.UPSTREAM_FAILED, _S.FAILED, _S.CANCELLED}
    ),
    _S.AWAITING_CLEARANCE: frozenset({_S.QUEUED, _S.SUCCESS, _S.FAILED, _S.CANCELLED}),
    _S.QUEUED: frozenset(
        {_S.RUNNING, _S.SUCCESS, _S.FAILED, _S.UP_FOR_RETRY, _S.DEFERRED, _S.PREEMPTED, _S.SKIPPED, _S.CANCELLED}
    ),
    _S.RUNNING: frozenset(
        {_S.SUCCESS, _S.FAILED, _S.UP_FOR_RETRY, _S.DEFERRED, _S.PREEMPTED, _S.CANCELLED, _S.SKIPPED}
    ),
    _S.UP_FOR_RETRY: frozenset({_S.AWAITING_CLEARANCE, _S.CANCELLED}),
    _S.DEFERRED: frozenset({_S.AWAITING_CLEARANCE, _S.SUCCESS, _S.FAILED, _S.UP_FOR_RETRY, _S.SKIPPED, _S.CANCELLED}),
    _S.PREEMPTED: frozenset({_S.AWAITING_CLEARANCE, _S.CANCELLED}),
    # A finished instance moves only when a person says so: retry, resume, clear, mark.
    _S.SUCCESS: frozenset({_S.SCHEDULED}),
    _S.FAILED: frozenset({_S.SCHEDULED}),
    _S.SKIPPED: frozenset({_S.SCHEDULED}),
    _S.UPSTREAM_FAILED: frozenset({_S.SCHEDULED}),
    _S.CANCELLED: frozenset({_S.SCHEDULED}),
}
