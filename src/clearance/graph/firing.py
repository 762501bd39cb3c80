"""How a DAG takes what its schedule brings: how events become runs, how many runs go on, and since when.

Rules:

1. `mode`, `expect` and `debounce` say how events of assets become runs; their meaning is that of
   `clearance.run.starts.mediator`, which checks the same values by the same function.
2. `max_active_runs` counts here the runs that a schedule or events have started, together; a person's and a backfill's
   do not count.
3. `start` is when the schedule begins: the first fire is at or after it. It may lie in the past, and with catch-up
   the intervals since then are made up for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from clearance.errors import GraphError, nearest
from clearance.graph.duration import seconds
from clearance.graph.schedule import AllOf, AnyOf, Asset, Condition

MODES = ("drain", "each", "key", "rollup")
NAMES = ("mode", "expect", "debounce", "start")


class Firing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `dag(…)` says beside its schedule.

    Attributes:
        mode: `drain`, `each`, `key` or `rollup`.
        expect: distinct keys of every asset that make a window whole; rollup only.
        debounce: seconds without an event before a run; drain only.
        max_active: how many runs of the schedule and of events go on at a time, the DAG's `max_active_runs`; None for
            the default: 16 of the schedule, any number of events.
        start: when the schedule begins, aware of its zone.
    """

    mode: str = "drain"
    expect: int | None = None
    debounce: float = 0.0
    max_active: int | None = None
    start: datetime | None = None


DEFAULT = Firing()


def waits_for(schedule: Condition | None) -> Any:
    """Returns the part of a schedule that waits for assets, as the plain data of the mediator; None for none.

    It is the URI of an asset, `["all", …]` or `["any", …]`.
    """
    if isinstance(schedule, Asset):
        return schedule.uri
    if not isinstance(schedule, AnyOf | AllOf):
        return None
    parts = [part for one in schedule.of if (part := waits_for(one)) is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    return ["any" if isinstance(schedule, AnyOf) else "all", *parts]


def check_mode(
    where: str,
    mode: Any,
    assets: Sequence[str],
    names_any: bool,
    expect: Any = None,
    max_active: Any = None,
    debounce: Any = 0.0,
) -> None:
    """Checks how events become runs.

    Args:
        where: how the error names the DAG or subscription.
        mode: one of `MODES`.
        assets: that the condition names, each once.
        names_any: the condition holds an `any`.
        expect: keys of a window.
        max_active: runs at a time.
        debounce: seconds.

    Raises:
        GraphError: what is wrong, and the mend.
    """
    if mode not in MODES:
        raise GraphError(f"{where}: no mode {mode!r}: use one of {', '.join(MODES)}{nearest(str(mode), MODES)}")
    if mode == "each" and len(assets) > 1:
        raise GraphError(f"{where}: each follows one asset, not {', '.join(assets)}: use drain or key, or several DAGs")
    if mode == "rollup" and names_any:
        raise GraphError(f"{where}: a rollup waits for every asset it names: use all instead of any")
    if mode == "rollup" and not _count(expect):
        raise GraphError(f"{where}: a rollup needs expect, the keys of a window, 1 or more, not {expect!r}")
    if mode != "rollup" and expect is not None:
        raise GraphError(f"{where}: expect belongs to rollup, not to {mode}: leave it away")
    check_most(where, max_active)
    if not isinstance(debounce, int | float) or isinstance(debounce, bool) or not 0 <= debounce < math.inf:
        raise GraphError(f"{where}: debounce is {debounce!r}: use seconds from 0 up")
    if debounce and mode != "drain":
        raise GraphError(f"{where}: debounce belongs to drain, not to {mode}: leave it away")


def check_most(where: str, max_active: Any) -> None:
    """Checks how many runs may go on at a time.

    Raises:
        GraphError: no whole number from 1 up.
    """
    if max_active is not None and not _count(max_active):
        raise GraphError(f"{where}: max_active is {max_active!r}: use 1 or more, or pause it")


def check_firing(
    schedule: Condition | None, given: dict[str, Any], where: str, max_active: int | None = None
) -> Firing | None:
    """Returns what `dag(…)` says beside its schedule; None where it says nothing.

    Args:
        schedule: of the DAG, checked.
        given: by name, of `NAMES`; what is None was not said.
        where: how the error names the DAG.
        max_active: how many of its runs may go on at a time, checked.

    Raises:
        GraphError: a value is wrong, or belongs to another schedule.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if not said and (schedule is None or max_active is None):
        return None
    on = waits_for(schedule)
    if schedule is None:
        raise GraphError(
            f"{where}: {next(iter(said))} belongs to a schedule: add schedule=cron(…), every(…) or asset(…)"
        )
    for name in ("mode", "expect", "debounce"):
        if name in said and on is None:
            raise GraphError(f"{where}: {name} says how events become runs, but the schedule waits for no asset")
    if "debounce" in said:
        said["debounce"] = seconds(said["debounce"], "debounce")
    firing = Firing(**said, max_active=max_active)
    if on is not None:
        check_mode(where, firing.mode, _assets(on), _names_any(on), firing.expect, firing.max_active, firing.debounce)
    if firing.start is not None:
        if not isinstance(firing.start, datetime) or firing.start.utcoffset() is None:
            raise GraphError(
                f"{where}: start is {firing.start!r}: write an instant with its zone, for example "
                "datetime(2026, 1, 1, tzinfo=timezone.utc)"
            )
        if not schedule.timed:
            raise GraphError(f"{where}: start belongs to a schedule that fires by time: add cron(…) or every(…)")
    return firing


def _assets(on: Any) -> list[str]:
    if isinstance(on, str):
        return [on]
    return list(dict.fromkeys(asset for part in on[1:] for asset in _assets(part)))


def _names_any(on: Any) -> bool:
    return not isinstance(on, str) and (on[0] == "any" or any(map(_names_any, on[1:])))


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
