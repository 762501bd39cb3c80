"""Random traces of assets, and a slow reference of the mediator that scans everything, written from the rule text."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


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


STEP = st.tuples(
    st.sampled_from(["event"] * 6 + ["done"] * 2 + ["pause", "resume", "resume", "tick"]),
    ASSETS,
    st.sampled_from(["", "k", "w/1", "w/2", "v/1"]),
    st.sampled_from(["p", "q", "r"]),
    st.integers(0, 5),
    st.integers(0, 99),
)
STEPS = st.integers(10, 60).flatmap(lambda length: st.lists(STEP, min_size=length, max_size=length))


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
