"""The mediator's core: the recorded traces, and properties against a slow reference that scans everything."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import GraphError, UsageError
from clearance.run.mediator import AllOf, AnyOf, Mediator, Subscription, parse_condition, parse_subscription

DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[3] / "shared/data")) / "flow"


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


class Reference:
    """The rules word by word: after every operation each subscription looks at all events that ever were."""

    def __init__(self, subscriptions: list[dict[str, Any]]) -> None:
        self.subscriptions = sorted(subscriptions, key=lambda each: each["name"])
        self.events: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.over: set[int] = set()
        self.paused: set[str] = set()

    def apply(self, operation: dict[str, Any]) -> None:
        name, now = operation.get("sub"), operation["t"]
        match operation["op"]:
            case "event":
                self.events.append({"number": len(self.events) + 1, **operation})
            case "done":
                self.over.add(operation["run"])
            case "pause" if now >= next(s.get("at", 0) for s in self.subscriptions if s["name"] == name):
                self.paused.add(name)
            case "resume":
                self.paused.discard(name)
        for subscription in self.subscriptions:
            while self.fires(subscription, now):
                pass

    def fires(self, sub: dict[str, Any], now: float) -> bool:
        name, assets = sub["name"], named(sub["on"])
        active = sum(run["sub"] == name and number not in self.over for number, run in enumerate(self.runs))
        if name in self.paused or active >= sub.get("max_active", 10**9):
            return False
        consumed = {event for run in self.runs if run["sub"] == name for event in run["events"]}
        counting = [event for event in self.events if event["asset"] in assets and event["t"] >= sub.get("at", 0)]
        waiting = [event for event in counting if event["number"] not in consumed]
        windows: dict[str, list[dict[str, Any]]] = {}
        if sub["mode"] == "drain":
            if counting and now < counting[-1]["t"] + sub.get("debounce", 0):
                return False
            windows[""] = waiting
        elif sub["mode"] == "each":
            windows = {str(event["number"]): [event] for event in waiting}
        elif sub["mode"] == "key":
            for event in waiting:
                if "key" in event:
                    windows.setdefault(event["key"], []).append(event)
        else:
            for event in waiting:
                if "/" in event.get("key", ""):
                    windows.setdefault(event["key"].split("/")[0], []).append(event)
        best: tuple[int, str] | None = None
        for key, events in windows.items():
            for length in range(1, len(events) + 1):
                if self.complete(sub, key, events[:length]):
                    candidate = (events[length - 1]["number"], key)
                    best = candidate if best is None else min(best, candidate)
                    break
        if best is None:
            return False
        run = {"sub": name, "t": now, "events": [event["number"] for event in windows[best[1]]]}
        self.runs.append(run | {"key": best[1]} if sub["mode"] in ("key", "rollup") else run)
        return True

    def complete(self, sub: dict[str, Any], key: str, events: list[dict[str, Any]]) -> bool:
        if sub["mode"] == "rollup":
            if any(run["sub"] == sub["name"] and run["key"] == key for run in self.runs):
                return True
            keys = {asset: {e["key"] for e in events if e["asset"] == asset} for asset in named(sub["on"])}
            return all(len(found) >= sub["expect"] for found in keys.values())
        return true(sub["on"], {event["asset"] for event in events})


def named(on: Any) -> set[str]:
    return {on} if isinstance(on, str) else set().union(*map(named, on[1:]))


def true(on: Any, present: set[str]) -> bool:
    if isinstance(on, str):
        return on in present
    return (all if on[0] == "all" else any)([true(part, present) for part in on[1:]])


ASSETS = st.sampled_from(["a", "b", "c"])
CONDITIONS = st.recursive(
    ASSETS, lambda inner: st.tuples(st.sampled_from(["all", "any"]), inner, inner).map(list), max_leaves=5
)


@st.composite
def subscriptions(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for name in draw(st.permutations(["p", "q", "r"])):
        mode = draw(st.sampled_from(["drain", "each", "key", "rollup"]))
        one: dict[str, Any] = {"name": name, "mode": mode, "on": draw(ASSETS if mode == "each" else CONDITIONS)}
        if mode == "rollup":
            one |= {"on": ["all", *sorted(named(one["on"]))], "expect": draw(st.integers(1, 2))}
        if draw(st.booleans()):
            one["max_active"] = draw(st.integers(1, 2))
        if mode == "drain" and draw(st.booleans()):
            one["debounce"] = draw(st.integers(0, 6))
        if draw(st.booleans()):
            one["at"] = draw(st.integers(0, 20))
        found.append(one)
    return found


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["event"] * 5 + ["done"] * 2 + ["pause", "resume", "tick"]),
        ASSETS,
        st.sampled_from(["", "k", "w/1", "w/2", "v/1"]),
        st.sampled_from(["p", "q", "r"]),
        st.integers(0, 5),
        st.integers(0, 99),
    ),
    max_size=50,
)


def trace(subs: list[dict[str, Any]], steps: list[tuple[Any, ...]]) -> tuple[list[dict[str, Any]], Reference]:
    """Turns random steps into operations that make sense: `done` names a run that goes on."""
    reference, now, operations = Reference(subs), 0, []
    for kind, asset, key, sub, wait, choice in steps:
        now += wait
        going = [number for number in range(len(reference.runs)) if number not in reference.over]
        operation: dict[str, Any] = {"op": kind, "t": now}
        if kind == "event":
            operation |= {"asset": asset} | ({"key": key} if key else {})
        elif kind == "done":
            if not going:
                continue
            operation["run"] = going[choice % len(going)]
        elif kind != "tick":
            operation["sub"] = sub
        operations.append(operation)
        reference.apply(operation)
    return operations, reference


@given(subscriptions(), STEPS)
@settings(max_examples=300, deadline=None)
def test_every_trace_gives_the_runs_of_the_reference(subs: list[dict[str, Any]], steps: list[tuple[Any, ...]]):
    operations, reference = trace(subs, steps)
    assert through(Mediator(map(parse_subscription, subs)), operations) == reference.runs


@given(subscriptions(), STEPS)
@settings(max_examples=60, deadline=None)
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
