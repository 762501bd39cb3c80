"""Properties of a queue: how its jobs are sorted, how its priority counts, whether it preempts, how it backs off.

Rules (YuniKorn, "Partition and Queue Configuration", properties):

1. `priority.policy` and `priority.offset` hold at their queue alone.
2. Of `preemption.policy` only `disabled` is handed down.
3. Everything else is handed down to the queues below, which may say otherwise.
4. `stateaware` is another word for `fifo` (YuniKorn 1.6).
5. `queue.sort.policy` and `queue.usage.halflife` are ours; YuniKorn passes over them. Shares are rescaled all the way
   down or not at all: below a queue that says `drf` none says `fair`.
6. A duration is written as in Go: `30s`, `1m30s`, `1.5h`; a number without a unit is refused, but for `0`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from clearance.errors import UsageError, nearest

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]{1,30})?(?:\.([0-9]{0,30}))?(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = 2**63 - 1


class QueueProperties(msgspec.Struct, frozen=True):
    """The properties in force at one queue.

    Attributes:
        sort_policy: of the jobs in a leaf: `fifo` or `fair`.
        sort_priority: whether priorities count when queues and jobs are sorted.
        priority_policy: `default`, or `fence`: priorities below do not count outside.
        priority_offset: added to the priority of the queue; with `fence` it is the priority.
        preemption_policy: `default`; `fence`: what is below preempts nothing outside; `disabled`: nothing in it is
            ever a victim.
        preemption_delay: seconds that an ask waits before it may preempt.
        quota_preemption_delay: seconds after which a lowered maximum preempts; 0: never.
        unschedulable_backoff: how many asks of a job may fail in a turn before it is left alone for a while; 0: no end.
        unschedulable_backoff_delay: seconds for which it is left alone.
        queue_sort_policy: of queues: `fair`, or `drf`; see `cluster.shares`.
        usage_half_life: seconds in which past use comes to count half; 0: it does not count.
    """

    sort_policy: str = "fifo"
    sort_priority: bool = True
    priority_policy: str = "default"
    priority_offset: int = 0
    preemption_policy: str = "default"
    preemption_delay: float = 30.0
    quota_preemption_delay: float = 0.0
    unschedulable_backoff: int = 0
    unschedulable_backoff_delay: float = 30.0
    queue_sort_policy: str = "fair"
    usage_half_life: float = 0.0


DEFAULTS = QueueProperties()


def parse_duration(text: str, where: str) -> float:
    """Returns a duration of Go in seconds.

    Raises:
        UsageError: not a duration, negative, or longer than Go's (292 years).
    """
    rest = text.strip()
    if rest in ("0", "+0"):
        return 0.0
    nanoseconds, rest = 0, rest.removeprefix("+")
    valid = bool(rest)
    while rest and valid:
        match = _PART.match(rest)
        valid = match is not None and bool(match[1] or match[2])
        if match is not None and valid:
            unit, fraction = _UNITS[match[3]], match[2] or ""
            nanoseconds += int(match[1] or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
            rest = rest[match.end() :]
    if not valid or nanoseconds > _LONGEST:
        raise UsageError(f"{where} is {text!r}: it is no duration; write it as '30s', '1m30s' or '2h'")
    return nanoseconds / 10**9


def parse_property(name: str, text: str, where: str) -> Any:
    """Returns the value of one property, typed as in `QueueProperties`.

    Args:
        name: as in the file, `preemption.delay`.
        text: as in the file.
        where: the dotted path of the map of properties, for the message.

    Raises:
        UsageError: an unknown property, or a value that it cannot have.
    """
    if name not in PROPERTIES:
        raise UsageError(f"{where}.{name} is {text!r}: there is no property {name!r}{nearest(name, PROPERTIES)}")
    return PROPERTIES[name][1](text, f"{where}.{name}")


def inherit(parent: QueueProperties | None, own: Mapping[str, str], where: str = "properties") -> QueueProperties:
    """Returns the properties in force at a queue.

    Args:
        parent: those in force above it; None at the root.
        own: what the queue says itself, by name.
        where: the dotted path of `own`, for the message.

    Raises:
        UsageError: an unknown property, or a value that it cannot have.
    """
    handed = DEFAULTS if parent is None else msgspec.structs.replace(
        parent,
        priority_policy="default",
        priority_offset=0,
        preemption_policy="disabled" if parent.preemption_policy == "disabled" else "default",
    )  # fmt: skip
    found = {PROPERTIES[name][0]: parse_property(name, text, where) for name, text in own.items()}
    if handed.queue_sort_policy == "drf":
        found["queue_sort_policy"] = "drf"
    return msgspec.structs.replace(handed, **found)


def _one_of(*known: str) -> Callable[[str, str], str]:
    def parse(text: str, where: str) -> str:
        if text.lower() not in known:
            raise UsageError(f"{where} is {text!r}: use {', '.join(known)}{nearest(text.lower(), known)}")
        return text.lower()

    return parse


def _sort_policy(text: str, where: str) -> str:
    policy = _one_of("fifo", "fair", "stateaware")(text, where)
    return "fifo" if policy == "stateaware" else policy


def _enabled(text: str, where: str) -> bool:
    return _one_of("enabled", "disabled")(text, where) == "enabled"


def _offset(text: str, where: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,12}", text) or not -(2**31) <= int(text) < 2**31:
        raise UsageError(f"{where} is {text!r}: write a whole number from -2147483648 to 2147483647")
    return int(text)


def _count(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > _LONGEST:
        raise UsageError(f"{where} is {text!r}: write a whole number, 0 for no end")
    return int(text)


def _positive(text: str, where: str) -> float:
    seconds = parse_duration(text, where)
    if seconds == 0:
        raise UsageError(f"{where} is {text!r}: it must be longer than 0; write it as '30s'")
    return seconds


PROPERTIES: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    "application.sort.policy": ("sort_policy", _sort_policy),
    "application.sort.priority": ("sort_priority", _enabled),
    "priority.policy": ("priority_policy", _one_of("default", "fence")),
    "priority.offset": ("priority_offset", _offset),
    "preemption.policy": ("preemption_policy", _one_of("default", "fence", "disabled")),
    "preemption.delay": ("preemption_delay", _positive),
    "quota.preemption.delay": ("quota_preemption_delay", parse_duration),
    "application.unschedasks.backoff": ("unschedulable_backoff", _count),
    "application.unschedasks.backoff.delay": ("unschedulable_backoff_delay", _positive),
    "queue.sort.policy": ("queue_sort_policy", _one_of("fair", "drf")),
    "queue.usage.halflife": ("usage_half_life", parse_duration),
}
