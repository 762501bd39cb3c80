"""`wait_for`: a task that waits for an event of an asset, without a process, a worker or a slot.

    wait_for(asset("s3://lake/images"), key="2026-03-01") >> train

It consumes nothing: the same event may wake any number of tasks, and start runs of the DAGs that wait for it.
"""

from __future__ import annotations

import datetime
import re
from typing import Any

from clearance.errors import Defer, GraphError
from clearance.graph.asset import wait_key
from clearance.graph.duration import seconds
from clearance.graph.origin import call_site
from clearance.graph.schedule import Asset
from clearance.operators.contract import OperatorFailed, operator, resumed


def wait_for(
    asset: Asset,
    key: Any = None,
    *,
    name: str = "",
    since: datetime.datetime | None = None,
    timeout: float | str | None = None,
    soft_fail: bool = False,
    **how: Any,
) -> Any:
    """Makes a task that waits until an asset is written.

    Args:
        asset: which.
        key: of the partition, a constant or a result. With one, an event that has come before counts too, since a
            partition that was written stays written; without one, only events after the run was made.
        name: id of the task; by default `wait_for_` and the last part of the URI.
        since: from when on events count instead; a moment with a time zone.
        timeout: seconds, or `"6h"`, that it waits at most.
        soft_fail: whether the task is skipped after the timeout, and has not failed.
        **how: options of the task.

    Returns:
        A task whose result is the event: `{"event", "asset", "key", "at"}`.

    Raises:
        GraphError: no asset, an empty key, a moment without a zone, or an option that is none.
    """
    site = call_site()[0]
    if not isinstance(asset, Asset):
        raise GraphError(f"{site}: wait_for({asset!r}) waits for no asset: write wait_for(asset('s3://lake/a'))")
    if key == "" if isinstance(key, str) else isinstance(key, bytes | int | float):
        raise GraphError(f"{site}: wait_for({asset}): the key is {key!r}: write a text such as '2026-03-01'")
    if since is not None and (not isinstance(since, datetime.datetime) or since.utcoffset() is None):
        raise GraphError(f"{site}: wait_for({asset}): since is {since!r}: give a moment with a time zone")
    last = re.sub(r"[^A-Za-z0-9_]+", "_", asset.uri.rstrip("/").rpartition("/")[2]) or "asset"
    configuration = {
        "asset": asset.uri, "key": key, "since": None if since is None else since.timestamp(),
        "timeout": None if timeout is None else seconds(timeout), "soft": bool(soft_fail),
    }  # fmt: skip
    return operator(name or f"wait_for_{last}", run_wait, dict[str, Any], configuration, how)


def run_wait(asset: str, key: Any, since: float | None, timeout: float | None, soft: bool) -> Any:
    """Runs in the attempt's process: see `wait_for`."""
    after = resumed()
    if after is not None and after.payload is not None:
        return after.payload
    if key is not None and (not isinstance(key, str) or not key):
        raise OperatorFailed(f"the key is {key!r}: it must be a text that is not empty")
    details = {} if since is None else {"since": since}
    raise Defer("asset", wait_key(asset, key), timeout=timeout, soft=soft, details=details)
