"""A deferral as data: what a task waits for without a process, and what it is told when it goes on."""

from __future__ import annotations

from typing import Any

import msgspec


class Wait(msgspec.Struct, frozen=True):
    """What an attempt that raised `Defer` waits for; the fields are those of `errors.Defer`, `until` since 1970."""

    kind: str
    key: str = ""
    seconds: float | None = None
    until: float | None = None
    timeout: float | None = None
    soft: bool = False
    state: Any = None
    details: dict[str, Any] = {}


class Resumed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an attempt is told that goes on after a wait.

    Attributes:
        kind: what was waited for: `time`, `approval`, `run` or `asset`.
        key: which.
        state: what the attempt before handed on.
        payload: what happened: the decision, the state of the run, the event; None where only time has passed.
        since: when the first attempt began, seconds since 1970.
        times: how often the task has been deferred.
    """

    kind: str
    key: str = ""
    state: Any = None
    payload: Any = None
    since: float = 0.0
    times: int = 1
