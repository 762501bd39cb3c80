"""Properties of queues: what is handed down, and Go's durations."""

from __future__ import annotations

import pytest

from clearance.cluster.config import load
from clearance.cluster.properties import inherit, parse_duration
from clearance.errors import UsageError
from support.queues import below_root


def test_properties_are_handed_down_as_yunikorn_does():
    """Its documentation of each property, and what of a parent's it keeps: no priority policy or offset, of the
    preemption policies `disabled` alone."""
    top = inherit(None, {
        "application.sort.policy": "fair", "application.sort.priority": "disabled", "priority.policy": "fence",
        "priority.offset": "7", "preemption.policy": "fence", "preemption.delay": "10s", "quota.preemption.delay": "2h",
        "application.unschedasks.backoff": "5", "application.unschedasks.backoff.delay": "1m",
    })  # fmt: skip
    assert (top.priority_policy, top.priority_offset, top.preemption_policy) == ("fence", 7, "fence")
    child = inherit(top, {"preemption.policy": "disabled", "application.sort.policy": "StateAware"})
    assert (child.priority_policy, child.priority_offset) == ("default", 0)
    assert (child.sort_policy, child.sort_priority, child.preemption_delay) == ("fifo", False, 10.0)
    assert (child.quota_preemption_delay, child.unschedulable_backoff) == (7200.0, 5)
    assert child.unschedulable_backoff_delay == 60.0
    grandchild = inherit(child, {})
    assert grandchild.preemption_policy == "disabled"
    assert inherit(top, {}).preemption_policy == "default"


def test_the_properties_of_a_queue_are_those_in_force():
    text = below_root(
        "[{name: a, properties: {preemption.policy: disabled, preemption.delay: 5s}, "
        "queues: [{name: b, properties: {priority.offset: 3}}]}]"
    )
    queue = load(text).default.queues["root.a.b"]
    assert (queue.properties.preemption_policy, queue.properties.preemption_delay) == ("disabled", 5.0)
    assert queue.own_properties == {"priority.offset": "3"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("300ms", 0.3), ("2h45m", 9900), ("1h15m30.918s", 4530.918), ("0", 0),
     ("1µs", 1e-6), ("1ns", 1e-9), (".5s", 0.5), ("5.s", 5)],
)  # fmt: skip
def test_durations_are_read_as_in_go(text: str, seconds: float):
    """pkg.go.dev/time, ParseDuration and its tests: units, fractions, sums."""
    assert parse_duration(text, "x") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "-30s", "s", ".s", "1d", "30 s", "1s x", "+", "1e3s", "3000000h", "1.5"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(UsageError, match="write it as '30s'"):
        parse_duration(text, "preemption.delay")
