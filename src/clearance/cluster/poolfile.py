"""From a `pools.yaml` to its data: the pools of nodes, when they come and go, and what is done about sick ones.

Rules:

1. `pools` and `autoscale` make up the autoscaling, `health` the node health; what is left away is as in
   `cluster.pools` and `cluster.condition`.
2. The rules of `health` are added to the built-in ones, or stand for them with `builtinrules: false`.
3. Keys are written as in `queues.yaml`, in one word; everything that is wrong is said at once, with its line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from clearance.cluster.condition import RULES, Action, FailureRule, HealthPolicy, HealthRule, Preflight
from clearance.cluster.document import Fields, compose, line_of, read_file
from clearance.cluster.node import NO_EXECUTE, NO_SCHEDULE, PREFER_NO_SCHEDULE, Taint
from clearance.cluster.pools import Autoscale, Headroom, Pool
from clearance.cluster.problems import Problems
from clearance.cluster.quantities import parse_quantity
from clearance.errors import nearest

FILE_KEYS = ("pools", "autoscale", "health")
POOL_KEYS = (
    "name", "capacity", "maxnodes", "minnodes", "price", "startseconds", "labels", "taints", "headroom",
)  # fmt: skip
TAINT_KEYS = ("key", "value", "effect")
HEADROOM_KEYS = ("slots", "resources")
SCALE_KEYS = {
    "interval": "interval", "idleseconds": "idle_seconds", "cooldownseconds": "cooldown_seconds",
    "patience": "patience", "largestremoval": "largest_removal", "removalwindow": "removal_window",
}  # fmt: skip
HEALTH_KEYS = ("rules", "builtinrules", "failures", "preflight", "calmseconds", "probationseconds", "mostout")
RULE_KEYS = ("signal", "then", "limit", "below", "values", "count", "window")
FAILURE_KEYS = ("enabled", "then", "count", "times", "window")
PREFLIGHT_KEYS = ("resources", "timeout", "seconds", "new", "command")

_EFFECTS = (NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE)
_ACTIONS = {action.name.lower(): action for action in Action}
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?\Z")


class PoolFile(msgspec.Struct, frozen=True):
    """What such a file says.

    Attributes:
        autoscale: None: it names no pools.
        health: None: it says nothing of health.
    """

    autoscale: Autoscale | None
    health: HealthPolicy | None


def load_pools(source: str | Path) -> PoolFile:
    """Reads a file of pools.

    Args:
        source: its path; or its text, which is told from a path by a line end or a colon in it.

    Raises:
        UsageError: the file cannot be read.
        InvalidQueues: with everything that is wrong with it.
    """
    if isinstance(source, str) and ("\n" in source or ":" in source):
        return parse_pools(source)
    return parse_pools(read_file(str(source)), str(source))


def parse_pools(text: str, name: str = "pools.yaml") -> PoolFile:
    """Returns what a text says.

    Args:
        text: YAML.
        name: of the file, for the message.

    Raises:
        InvalidQueues: with all that is wrong with it.
    """
    problems = Problems()
    node = compose(text, problems)
    problems.raise_any(name)
    file = Fields(node, "", problems, FILE_KEYS)
    autoscale, health = _autoscale(file, problems), _health(file, problems)
    if autoscale is None and health is None:
        problems.add("it says nothing: write `pools:` with at least one, or `health:`")
    problems.raise_any(name)
    for section, read in (("autoscale", autoscale), ("health", health)):
        if read is not None:
            with problems.at(file.line_at(section)):
                read.check()
    problems.raise_any(name)
    return PoolFile(autoscale, health)


def _autoscale(file: Fields, problems: Problems) -> Autoscale | None:
    found: list[Pool] = []
    for number, element in enumerate(file.elements("pools")):
        pool = _pool(element, number, problems)
        if pool is not None and any(pool.name == other.name for other in found):
            problems.add(f"pool {pool.name!r} stands twice: rename one", line_of(element))
        elif pool is not None:
            found.append(pool)
    fields = file.mapping("autoscale", SCALE_KEYS)
    given = {ours: _number(fields, key) for key, ours in SCALE_KEYS.items() if key in fields}
    if "pools" not in file:
        if "autoscale" in file:
            problems.add("autoscale has no pools: write `pools:` with at least one", file.line_at("autoscale"))
        return None
    return Autoscale(tuple(found), **given)


def _pool(node: yaml.Node, number: int, problems: Problems) -> Pool | None:
    name = Fields(node, "", Problems(), None).text("name")
    fields = Fields(node, f"pools.{name or number}", problems, POOL_KEYS)
    given: dict[str, Any] = {}
    if "price" in fields:
        given["price"] = _number(fields, "price")
    if "startseconds" in fields:
        given["start_seconds"] = _number(fields, "startseconds")
    if "headroom" in fields:
        headroom = fields.mapping("headroom", HEADROOM_KEYS)
        given["headroom"] = Headroom(headroom.count("slots") or 1, _amounts(headroom, "resources", problems))
    if "maxnodes" not in fields:
        problems.add(f"{fields.path('maxnodes')} is missing: say how many nodes there may be", fields.line)
        return None
    pool = Pool(
        name,
        _amounts(fields, "capacity", problems),
        fields.count("maxnodes") or 1,
        _whole(fields, "minnodes", 0),
        labels={key: value for key, value, _ in fields.mapping("labels", None).items()},
        taints=tuple(_taint(each, fields.path("taints"), problems) for each in fields.elements("taints")),
        **given,
    )
    with problems.at(line_of(node)):
        pool.check()
    return pool


def _taint(node: yaml.Node, where: str, problems: Problems) -> Taint:
    fields = Fields(node, where, problems, TAINT_KEYS)
    effect = fields.text("effect", NO_SCHEDULE)
    if effect not in _EFFECTS:
        problems.add(
            f"{fields.path('effect')} is {effect!r}{nearest(effect, _EFFECTS)}: write one of {', '.join(_EFFECTS)}",
            fields.line_at("effect"),
        )
    if not fields.text("key"):
        problems.add(f"{where} has a taint without a key: give it one", fields.line)
    return Taint(fields.text("key"), fields.text("value"), effect)


def _health(file: Fields, problems: Problems) -> HealthPolicy | None:
    if "health" not in file:
        return None
    fields = file.mapping("health", HEALTH_KEYS)
    rules = [_rule(each, f"{fields.path('rules')}[{i}]", problems) for i, each in enumerate(fields.elements("rules"))]
    given: dict[str, Any] = {
        ours: _number(fields, key)
        for key, ours in (("calmseconds", "calm_seconds"), ("probationseconds", "probation_seconds"))
        if key in fields
    }
    if "mostout" in fields:
        given["most_out"] = fields.text("mostout")
    if "preflight" in fields:
        given["preflight"] = _preflight(fields.mapping("preflight", PREFLIGHT_KEYS), problems)
    if "failures" in fields:
        given["failures"] = _failures(fields.mapping("failures", FAILURE_KEYS), problems)
    return HealthPolicy((*(RULES if fields.boolean("builtinrules", True) else ()), *rules), **given)


def _rule(node: yaml.Node, where: str, problems: Problems) -> HealthRule:
    fields = Fields(node, where, problems, RULE_KEYS)
    if not fields.text("signal"):
        problems.add(f"{where} has no signal: say what it looks at, such as gpu_error", fields.line)
    values = []
    for text in fields.texts("values"):
        if text.isascii() and text.isdigit() and len(text) < 10:
            values.append(int(text))
        else:
            problems.add(f"{fields.path('values')} has {text!r}: write whole numbers", fields.line_at("values"))
    rule = HealthRule(
        fields.text("signal"),
        _action(fields, problems, Action.TEST),
        _number(fields, "limit") if "limit" in fields else None,
        fields.boolean("below", False),
        tuple(values),
        fields.count("count") or 1,
        _number(fields, "window") if "window" in fields else 600.0,
    )
    with problems.at(fields.line):
        rule.check()
    return rule


def _failures(fields: Fields, problems: Problems) -> FailureRule | None:
    if not fields.boolean("enabled", True):
        return None
    given: dict[str, Any] = {key: _number(fields, key) for key in ("times", "window") if key in fields}
    if "count" in fields:
        given["count"] = fields.count("count") or 1
    return FailureRule(_action(fields, problems, Action.TEST), **given)


def _preflight(fields: Fields, problems: Problems) -> Preflight:
    given: dict[str, Any] = {key: _number(fields, key) for key in ("timeout", "seconds") if key in fields}
    if "resources" in fields:
        given["resources"] = _amounts(fields, "resources", problems)
    return Preflight(new=fields.boolean("new", True), command=tuple(fields.texts("command")), **given)


def _action(fields: Fields, problems: Problems, default: Action) -> Action:
    text = fields.text("then", default.name.lower()).lower()
    if text not in _ACTIONS:
        near = nearest(text, _ACTIONS)
        known = ", ".join(_ACTIONS)
        problems.add(f"{fields.path('then')} is {text!r}{near}: write one of {known}", fields.line_at("then"))
    return _ACTIONS.get(text, default)


def _amounts(fields: Fields, key: str, problems: Problems) -> Mapping[str, int | str]:
    found = {}
    inner = fields.mapping(key, None)
    for name, text, line in inner.items():
        with problems.at(line):
            parse_quantity(name, text, inner.where)
            found[name] = text
    return found


def _number(fields: Fields, key: str) -> float:
    text = fields.text(key)
    if _NUMBER.match(text):
        return float(text)
    fields.problems.add(f"{fields.path(key)} is {text!r}: write a number such as 12.5", fields.line_at(key))
    return 1.0


def _whole(fields: Fields, key: str, default: int) -> int:
    text = fields.text(key, str(default))
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    fields.problems.add(f"{fields.path(key)} is {text!r}: write a whole number from 0", fields.line_at(key))
    return default
