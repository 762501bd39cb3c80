"""Sensors: tasks that wait until something is so, without a process and without a slot between two looks.

    @sensor(poke_interval="1m", timeout="6h")
    def arrived(day: str) -> str | None:
        return find(day)

A falsy value defers the task; any other is its result. Ready made: `file_sensor`, `http_sensor`, `sql_sensor`,
`time_sensor`.
"""

from __future__ import annotations

import datetime
import functools
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clearance.errors import ClearanceError, Defer, GraphError
from clearance.graph.annotations import members
from clearance.graph.duration import seconds
from clearance.graph.origin import call_site
from clearance.graph.signature import Signature
from clearance.graph.task import Task, task
from clearance.operators.contract import attempt, operator, resumed, text_of
from clearance.operators.http import request
from clearance.operators.sql import check_url, query
from clearance.types import clock
from clearance.types.secret import Secret

LONGEST = 3600.0


def sensor(
    *,
    poke_interval: float | str = 60,
    timeout: float | str | None = None,
    exponential: bool = False,
    soft_fail: bool = False,
    **how: Any,
) -> Callable[[Callable[..., Any]], Task[..., Any]]:
    """Makes a predicate a task that waits until it holds.

    Args:
        poke_interval: seconds, or `"1m"`, between two looks.
        timeout: the longest that it waits, from the first attempt on, and that one look may take; default no limit.
        exponential: whether each wait is twice the one before, up to an hour.
        soft_fail: whether the task is skipped after the timeout, and has not failed.
        **how: options of the task, `timeout` excepted. `retries` are for looks that raise.

    Raises:
        GraphError: a duration that is none, or a function that cannot be a task.
    """
    pace = _pace(poke_interval, timeout, exponential, soft_fail)

    def decorate(predicate: Callable[..., Any]) -> Task[..., Any]:
        @functools.wraps(predicate)
        def poke(*args: Any, **kwargs: Any) -> Any:
            return _held(predicate(*args, **kwargs), pace)

        made: Task[..., Any] = task(**_limited(how, pace))(poke)
        made.signature = _Held(made.signature)
        return made

    return decorate


class _Held(Signature):
    """The signature of a predicate that has held: its result is not None."""

    def __init__(self, predicate: Signature) -> None:
        vars(self).update(vars(predicate))

    @property
    def returns(self) -> Any:
        """The annotation of the result without None."""
        found = super().returns
        some = tuple(member for member in members(found) if member is not type(None))
        return typing.Union[some] if some and len(some) < len(members(found)) else found  # noqa: UP007


def file_sensor(name: str, path: Any, *, poke_interval: float | str = 60, **how: Any) -> Any:
    """Makes a task that waits until a file or folder is there; its result is the path, as text.

    Args:
        name: id of the task.
        path: absolute, a constant or a result.
        poke_interval: as for `sensor`.
        **how: options of `sensor` and of the task.
    """
    if isinstance(path, str) and not Path(path).is_absolute():
        raise GraphError(f"task {name!r} ({call_site()[0]}): a task runs in a folder of its own: give an absolute path")
    return _ready_made(name, poke_file, str, {"path": path}, poke_interval, how)


def http_sensor(name: str, url: Any, *, auth: Secret | None = None, poke_interval: float | str = 60, **how: Any) -> Any:
    """Makes a task that waits until a GET is answered with a status of 2xx; its result is that status.

    Args:
        name: id of the task.
        url: as for `http`.
        auth: as for `http`.
        poke_interval: as for `sensor`.
        **how: options of `sensor` and of the task.
    """
    return _ready_made(name, poke_http, int, {"url": url, "auth": auth}, poke_interval, how)


def sql_sensor(
    name: str,
    url: str,
    statement: str,
    parameters: Any = None,
    *,
    password: Secret | None = None,
    poke_interval: float | str = 60,
    **how: Any,
) -> Any:
    """Makes a task that waits until the first column of the first row is true; its result is that value.

    Args:
        name: id of the task.
        url: as for `sql`, like `statement`, `parameters` (a list) and `password`.
        statement: a query.
        parameters: bound by the driver.
        password: of the database.
        poke_interval: as for `sensor`.
        **how: options of `sensor` and of the task.
    """
    check_url(url, f"task {name!r} ({call_site()[0]})")
    given = {"url": url, "statement": statement, "parameters": parameters, "password": password}
    return _ready_made(name, poke_sql, Any, given, poke_interval, how)


def time_sensor(name: str, until: datetime.datetime, **how: Any) -> Any:
    """Makes a task that waits until a moment with a time zone has come; it has no result.

    Args:
        name: id of the task.
        until: the moment.
        **how: options of the task.
    """
    if not isinstance(until, datetime.datetime) or until.tzinfo is None:
        raise GraphError(
            f"task {name!r} ({call_site()[0]}): until is {until!r}: give a moment with a time zone, "
            "datetime(2027, 1, 1, tzinfo=UTC)"
        )
    return operator(name, poke_time, None, {"until": until}, how)


def poke_file(path: Any, pace: dict[str, Any]) -> Any:
    """Looks for a file: see `file_sensor`."""
    found = text_of(path)
    return _held(found if Path(found).exists() else None, pace)


def poke_http(url: Any, auth: Secret | None, pace: dict[str, Any]) -> Any:
    """Asks a server: see `http_sensor`."""
    private = {"Authorization": f"Bearer {auth.reveal()}"} if auth is not None else {}
    headers = {"User-Agent": "clearance"}
    answer = request(text_of(url), "GET", headers, private, None, limit=1 << 24, patience=60.0)
    print(f"GET {answer.url}: {answer.status}")
    return _held(answer.status if 200 <= answer.status < 300 else None, pace)


def poke_sql(url: str, statement: str, parameters: Any, password: Secret | None, pace: dict[str, Any]) -> Any:
    """Asks a database: see `sql_sensor`."""
    return _held(query(url, statement, parameters, password), pace)


def poke_time(until: datetime.datetime) -> None:
    """Waits for a moment: see `time_sensor`."""
    if clock.now() < until:
        raise Defer("time", until=until)


def _pace(interval: float | str, timeout: float | str | None, exponential: bool, soft_fail: bool) -> dict[str, Any]:
    return {
        "interval": seconds(interval, "poke_interval"), "exponential": bool(exponential), "soft": bool(soft_fail),
        "timeout": None if timeout is None else seconds(timeout),
    }  # fmt: skip


def _limited(how: dict[str, Any], pace: dict[str, Any]) -> dict[str, Any]:
    return how if pace["timeout"] is None else {"timeout": pace["timeout"], **how}


def _ready_made(
    name: str, function: Callable[..., Any], returns: Any, given: dict[str, Any], interval: Any, how: dict[str, Any]
) -> Any:
    rest = dict(how)
    timeout, exponential, soft = rest.pop("timeout", None), rest.pop("exponential", False), rest.pop("soft_fail", False)
    pace = _pace(interval, timeout, exponential, soft)
    return operator(name, function, returns, {**given, "pace": pace}, _limited(rest, pace))


def _held(value: Any, pace: dict[str, Any]) -> Any:
    """Returns a value that holds; defers the task where it does not. Outside a run, any value is returned."""
    try:
        attempt().attempt  # noqa: B018
    except ClearanceError:
        return value
    if value:
        return value
    after = resumed()
    looks = after.state if after is not None and isinstance(after.state, int) else 0
    wait = pace["interval"]
    if pace["exponential"]:
        wait = max(wait, min(wait * 2.0 ** min(looks, 60), LONGEST))
    raise Defer(
        "time", seconds=wait, timeout=pace["timeout"], soft=pace["soft"], state=looks + 1,
        details={"message": f"looked {looks + 1} times, looks again"},
    )  # fmt: skip
