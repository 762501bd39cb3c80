"""A deferral as data: what a task waits for without a process, and what it is told when it goes on."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from clearance.errors import Defer, UsageError


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


class Asked(msgspec.Struct, frozen=True):
    """The `details` of a wait as the controller reads them; what it does not know is only shown.

    Attributes:
        message: what is asked of a person, or what a wait is for.
        approvers: names, or `group:NAME`, of who may decide; empty for anybody.
        dag: id of the DAG of which a run is to be started; empty where the run is there already.
        parameters: of that run.
        wait: whether its end is waited for, or only its start.
    """

    message: str = ""
    approvers: tuple[str, ...] = ()
    dag: str = ""
    parameters: dict[str, Any] = {}
    wait: bool = True


_asked = msgspec.json.Decoder(Asked)


def asked(details: str) -> Asked:
    """Reads the `details` of a row, which `checked` has judged."""
    return _asked.decode(details)


def checked(data: dict[str, Any]) -> Wait:
    """Reads what an attempt handed over with its `Defer`, which may be of a class of the user's own.

    Raises:
        UsageError: it is no wait.
    """
    try:
        wait = msgspec.convert(data, Wait)
        msgspec.convert(wait.details, Asked)
        msgspec.json.encode([wait.state, wait.details])
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise UsageError(f"the task raised a Defer that says nothing: {error}") from None
    endless = wait.kind == "time" and wait.seconds is None and wait.until is None
    nameless = wait.kind in ("run", "asset") and not wait.key
    times = [each for each in (wait.seconds, wait.until, wait.timeout) if each is not None]
    if endless or nameless or wait.kind not in Defer.KINDS or not all(map(math.isfinite, times)):
        raise UsageError(f"the task raised a Defer({wait.kind!r}) that can never end: see clearance.Defer")
    return wait


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
