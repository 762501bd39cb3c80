"""What `@task(...)` says beside the function: retries, timeout, resources, gang, isolation, queue, priority."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clearance.errors import GraphError, nearest
from clearance.graph.duration import seconds
from clearance.graph.maxage import check_cache, check_version
from clearance.graph.model import RetryPolicy
from clearance.graph.retry import Retry
from clearance.graph.schedule import Asset
from clearance.graph.trigger import check_rule
from clearance.types.queue import is_queue_path
from clearance.types.resources import Resources

ISOLATIONS = ("process", "worker", "inline")
NAMES = (
    "retries", "timeout", "resources", "gang", "preload", "isolation", "priority", "name", "expect", "trigger_rule",
    "outlets", "concurrency", "pool", "pool_slots", "queue", "on_failure", "on_success", "deadline", "cache", "version",
)  # fmt: skip
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*\Z")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")
_LONGEST_ID = 200
_LARGEST_GANG = 4096
MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """How a task runs; the fields are those of `graph.model.Node`.

    `isolation` is empty where the DAG decides, `trigger_rule` where none is said; handlers are `graph.task.Task`s,
    `cache` is as `graph.maxage.check_cache` returns it.
    """

    retries: RetryPolicy = RetryPolicy()
    timeout: float = 0.0
    resources: Mapping[str, int] = field(default_factory=lambda: Resources().quantities())
    gang: int = 1
    preload: tuple[str, ...] = ()
    isolation: str = ""
    priority: int = 0
    expect: float = 0.0
    trigger_rule: str = ""
    outlets: tuple[str, ...] = ()
    concurrency: int = 0
    pool: str = ""
    pool_slots: int = 1
    queue: str = ""
    on_failure: Any = None
    on_success: Any = None
    deadline: float = 0.0
    cache: float | None = None
    version: str = ""


def check_id(value: Any, what: str = "task") -> str:
    """Returns the id of a task or DAG if it is safe as a file name and in a URL.

    Raises:
        GraphError: anything but letters, digits, `_`, `-` and `.`; no letter or `_` first; `..`; over 200 characters.
    """
    if not isinstance(value, str) or not _ID.match(value) or ".." in value or len(value) > _LONGEST_ID:
        shown = repr(value) if len(repr(value)) < 80 else repr(value)[:77] + "..."
        raise GraphError(
            f"{what} id {shown} is not allowed: begin with a letter or '_', then letters, digits, '_', '-' or '.', "
            f"without '..', at most {_LONGEST_ID} characters"
        )
    return value


def check_pool(value: Any) -> str:
    """Returns the name of a pool if it is one.

    Raises:
        GraphError: anything but up to 200 letters, digits, `_`, `-` and `.`, a letter or `_` first.
    """
    return check_id(value, "pool")


def check_queue(value: Any) -> str:
    """Returns the path of a queue if it is one.

    Raises:
        GraphError: anything but names of up to 64 letters, digits and `_ : # / @ -`, separated by dots.
    """
    if not isinstance(value, str) or not is_queue_path(value):
        raise GraphError(
            f"queue is {value!r}: write its path, for example 'root.ml.train', of names of up to 64 letters, digits "
            "and _ : # / @ -"
        )
    return value


def check_isolation(value: Any) -> str:
    """Returns the isolation if it is one.

    Raises:
        GraphError: another word.
    """
    if value not in ISOLATIONS:
        hint = nearest(value, ISOLATIONS) if isinstance(value, str) else ""
        raise GraphError(f"isolation is {value!r}: use one of {', '.join(ISOLATIONS)}{hint}")
    return str(value)


def whole(name: str, value: Any, least: int, most: int) -> int:
    """Returns the number if it is a whole one between these.

    Raises:
        GraphError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise GraphError(f"{name} is {value!r}: write a whole number from {least} to {most}")
    return value


def _policy(value: Any) -> RetryPolicy:
    if isinstance(value, Retry):
        return value.policy()
    if isinstance(value, int):
        return Retry(value).policy() if value is not False and value != 0 else RetryPolicy()
    raise GraphError(f"retries is {value!r}: write a number of attempts after the first, or Retry(3, backoff=2.0)")


def _quantities(value: Any) -> dict[str, int]:
    if isinstance(value, Resources):
        return value.quantities()
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return Resources(**value).quantities()
    raise GraphError(f"resources is {value!r}: write Resources(cpu=1, memory='2Gi')")


def _modules(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise GraphError(f"preload is {value!r}: write a list of module names, for example ['torch']")
    names = tuple(value)
    for name in names:
        if not isinstance(name, str) or not _MODULE.match(name):
            raise GraphError(f"preload holds {name!r}: write module names, for example ['torch']")
    return names


def _outlets(value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, Asset) or not isinstance(value, list | tuple) else tuple(value)
    for one in found:
        if not isinstance(one, Asset):
            mend = f"asset({one!r})" if isinstance(one, str) else "asset('s3://lake/a')"
            raise GraphError(f"outlets holds {one!r}: write a list of assets, for example [{mend}]")
    return tuple(dict.fromkeys(one.uri for one in found))


def options(
    *,
    retries: int | Retry = 0,
    timeout: float | str | None = None,
    resources: Resources | Mapping[str, Any] | None = None,
    gang: int = 1,
    preload: Iterable[str] = (),
    isolation: str | None = None,
    priority: int = 0,
    expect: float | str | None = None,
    trigger_rule: str | None = None,
    outlets: Asset | Iterable[Asset] = (),
    concurrency: int | None = None,
    pool: str = "",
    pool_slots: int = 1,
    queue: str = "",
    on_failure: Any = None,
    on_success: Any = None,
    deadline: float | str | None = None,
    cache: bool | float | str | None = None,
    version: str | int = "",
    **unknown: Any,
) -> Options:
    """Checks and normalises the options of a task.

    Raises:
        GraphError: an unknown option, or a value that is none.
    """
    for name in unknown:
        raise GraphError(f"unknown option {name!r}{nearest(name, NAMES)}")
    if on_failure is not None or on_success is not None:
        from clearance.graph.handlers import check_handler

        check_handler(on_failure, "on_failure")
        check_handler(on_success, "on_success")
    return Options(
        retries=_policy(retries),
        timeout=0.0 if timeout is None else seconds(timeout),
        resources=Resources().quantities() if resources is None else _quantities(resources),
        gang=whole("gang", gang, 1, _LARGEST_GANG),
        preload=_modules(preload),
        isolation="" if isolation is None else check_isolation(isolation),
        priority=whole("priority", priority, -MOST, MOST),
        expect=0.0 if expect is None else seconds(expect, "expect"),
        trigger_rule="" if trigger_rule is None else check_rule(trigger_rule),
        outlets=_outlets(outlets),
        concurrency=0 if concurrency is None else whole("concurrency", concurrency, 1, MOST),
        pool=check_pool(pool) if pool else "",
        pool_slots=whole("pool_slots", pool_slots, 1, MOST),
        queue=check_queue(queue) if queue else "",
        on_failure=on_failure,
        on_success=on_success,
        deadline=0.0 if deadline is None else seconds(deadline, "deadline"),
        cache=check_cache(cache),
        version=check_version(version),
    )
