"""The mediator's core: the recorded traces, and properties against a slow reference that scans everything."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from clearance.errors import GraphError, UsageError
from clearance.run.starts.mediator import AllOf, AnyOf, Mediator, Subscription, parse_condition, parse_subscription
from support.assets import STEPS, named, subscriptions, trace

DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[4] / "shared/data")) / "flow"


def through(mediator: Mediator, operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = []
    for operation in operations:
        now = operation["t"]
        match operation["op"]:
            case "event":
                started = mediator.emit(operation["asset"], now, operation.get("key"))
            case "done":
                started = mediator.finish(runs[operation["run"]]["sub"], now)
            case "pause":
                started = mediator.pause(operation["sub"], now)
            case "resume":
                started = mediator.resume(operation["sub"], now)
            case _:
                started = mediator.tick(now)
        for each in started:
            run = {"sub": each.subscription, "t": now, "events": list(each.events)}
            runs.append(run if each.key is None else run | {"key": each.key})
    return runs


@given(subscriptions(), STEPS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_trace_gives_the_runs_of_the_reference(subs: list[dict[str, Any]], steps: list[tuple[Any, ...]]):
    operations, reference = trace(subs, steps)
    assert through(Mediator(map(parse_subscription, subs)), operations) == reference.runs


@given(subscriptions(), STEPS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_event_is_consumed_once_and_none_that_counts_is_lost(
    subs: list[dict[str, Any]], steps: list[tuple[Any, ...]]
):
    operations, _ = trace(subs, steps)
    mediator = Mediator(map(parse_subscription, subs))
    runs = through(mediator, operations)
    counts = Counter((run["sub"], event) for run in runs for event in run["events"])
    assert set(counts.values()) <= {1}
    # When everything is resumed, every run ends and every condition is met, all that came before is consumed.
    now = max([operation["t"] for operation in operations], default=0) + 100
    extra = [
        *({"op": "resume", "sub": sub["name"], "t": now} for sub in subs),
        *(
            {"op": "event", "asset": asset, "t": now, "key": key}
            for asset in "abc" for key in ("k", "w/1", "w/2", "v/1", "v/2")
        ),
    ]  # fmt: skip
    runs = through(Mediator(map(parse_subscription, subs)), operations + extra)
    done = {operation["run"] for operation in operations if operation["op"] == "done"}
    number = 0
    while number < len(runs):
        if number not in done:
            extra.append({"op": "done", "run": number, "t": now + 50})
        number += 1
        runs = through(Mediator(map(parse_subscription, subs)), operations + extra)
    events = [each for each in operations if each["op"] == "event"]
    for sub in subs:
        consumed = {event for run in runs if run["sub"] == sub["name"] for event in run["events"]}
        for index, event in enumerate(events, 1):
            counting = event["asset"] in named(sub["on"]) and event["t"] >= sub.get("at", 0)
            key = event.get("key", "")
            if counting and (sub["mode"] not in ("key", "rollup") or (key if sub["mode"] == "key" else "/" in key)):
                assert index in consumed, (sub, index)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data are not at {DATA}")
def test_the_recorded_traces_give_their_runs_whatever_the_order_of_the_subscriptions():
    for one in json.loads((DATA / "mediator_traces.json").read_text())["traces"]:
        subs = list(map(parse_subscription, one["subs"]))
        assert through(Mediator(subs), one["ops"]) == one["runs"], one["id"]
        random.Random(one["id"]).shuffle(subs)
        assert through(Mediator(subs), one["ops"]) == one["runs"], one["id"]


def test_an_event_touches_only_the_subscriptions_that_name_its_asset():
    mediator = Mediator(Subscription(f"dag{number}", f"asset{number}") for number in range(100))
    for name, inbox in mediator._inboxes.items():
        if name != "dag7":
            inbox.add = inbox.settle = None  # type: ignore[method-assign, assignment]
    assert [each.subscription for each in mediator.emit("asset7", 0)] == ["dag7"]


def test_conditions_are_read_from_plain_data():
    assert parse_condition(["all", "a", ["any", "b", "c"]]) == AllOf(("a", AnyOf(("b", "c"))))
    for wrong in ([], ["all"], ["none", "a"], [1, 2], {"all": 1}, "", 7, ["all", ""]):
        with pytest.raises(GraphError):
            parse_condition(wrong)
    deep: Any = "a"
    for _ in range(40):
        deep = ["all", deep]
    with pytest.raises(GraphError, match="flatten"):
        parse_condition(deep)


@pytest.mark.parametrize(
    ("fields", "mend"),
    [
        ({"mode": "drian"}, "use one of drain, each, key, rollup; did you mean 'drain'"),
        ({"mode": "rollup", "expect": 2, "on": ["all", "a", ["any", "b", "c"]]}, "use all instead of any"),
        ({"mode": "rollup"}, "needs expect"),
        ({"mode": "rollup", "expect": 0}, "1 or more"),
        ({"expect": 2}, "expect belongs to rollup"),
        ({"mode": "each", "on": ["any", "a", "b"]}, "follows one asset, not a, b"),
        ({"debounce": -1}, "seconds from 0 up"),
        ({"debounce": float("inf")}, "seconds from 0 up"),
        ({"debounce": "5"}, "seconds from 0 up"),
        ({"mode": "key", "debounce": 5}, "debounce belongs to drain"),
        ({"max_active": 0}, "1 or more, or pause"),
        ({"max_active": True}, "1 or more"),
        ({"at": float("nan")}, "seconds since 1970"),
        ({"on": "s3://lake/a#part"}, "write 's3://lake/a'"),
        ({"on": "s3://lake/my file"}, "%20"),
        ({"max_activ": 1}, "did you mean 'max_active'"),
        ({"name": ""}, "named by the DAG"),
    ],
)
def test_what_is_wrong_is_refused_with_the_mend(fields: dict[str, Any], mend: str):
    with pytest.raises(GraphError, match=mend.replace("(", r"\(")):
        parse_subscription({"name": "dag", "on": "a", **fields})


def test_two_subscriptions_of_one_name_and_an_unknown_one_are_refused():
    with pytest.raises(GraphError, match="two subscriptions"):
        Mediator([Subscription("dag", "a"), Subscription("dag", "b")])
    with pytest.raises(UsageError, match="did you mean 'train'"):
        Mediator([Subscription("train", "a")]).pause("trian", 0)
    with pytest.raises(GraphError, match="fragment"):
        Mediator([]).emit("s3://lake/a#x", 0)
