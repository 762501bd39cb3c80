"""The options of Airflow's tasks and DAGs, as ours: what each is called, and which have no counterpart."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, NamedTuple

from clearance.errors import GraphError
from clearance.graph.crontab import check_expression
from clearance.graph.trigger import RULES
from clearance.operators.airflow.source import UNKNOWN, Source

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_RETRY = ("retries", "retry_delay", "retry_exponential_backoff", "max_retry_delay")
_SILENT = {
    "task_id",
    "dag",
    "owner",
    "doc_md",
    "doc",
    "start_date",
    "do_xcom_push",
    "provide_context",
    "ui_color",
    "tags",
}
_OF_DAGS = {
    "dag_id", "schedule", "schedule_interval", "catchup", "description", "default_args", "max_active_runs",
    "max_active_tasks", "concurrency", "default_view", "orientation", "is_paused_upon_creation", "dag_display_name",
}  # fmt: skip
_MENDS = {
    "depends_on_past": "make the DAG's runs one at a time with max_active_runs=1, or wait for an asset",
    "wait_for_downstream": "make the DAG's runs one at a time with max_active_runs=1",
    "email": "add a notification",
    "email_on_failure": "add a notification",
    "email_on_retry": "add a notification",
    "on_failure_callback": "make it a task that takes an Outcome: on_failure=…",
    "on_success_callback": "make it a task that takes an Outcome: on_success=…",
    "deadline": "give the DAG a deadline, in seconds since the run was made",
    "queue": "use resources= or pool=",
    "executor": "use isolation=",
    "executor_config": "use resources=",
    "end_date": "pause the DAG when it is over",
    "template_searchpath": "give paths",
    "user_defined_macros": "write a function",
    "params": "make them parameters of the graph function",
    "render_template_as_native_obj": "pass values, not templates",
}


class Defaults(NamedTuple):
    """`default_args` of a DAG, and where they stand."""

    values: Mapping[str, Any]
    where: ast.AST


NO_DEFAULTS = Defaults({}, ast.Pass())


def task_options(source: Source, node: ast.Call, defaults: Defaults, own: set[str]) -> list[ast.keyword]:
    """Returns the options of our task for those of an Airflow operator.

    Args:
        source: the file; gets notes on what has no counterpart.
        node: the call of the operator, or of its decorator.
        defaults: `default_args` of the DAG.
        own: the operator's own arguments, which are translated elsewhere.
    """
    given: dict[str, Any] = {name: (value, defaults.where) for name, value in defaults.values.items()}
    given |= {each.arg: (source.value(each.value), each.value) for each in node.keywords if each.arg}
    kept: dict[str, ast.expr] = {}
    if retries := _retries(source, node, given):
        kept["retries"] = retries
    for name, (value, where) in given.items():
        if name in _RETRY or name in own or name in _SILENT or value in (None, False, [], {}):
            continue
        if value is UNKNOWN and name in ("execution_timeout", "priority_weight", "trigger_rule", "pool", "sla"):
            source.note(where, f"{name} is not written out", "write its value")
        elif name == "execution_timeout":
            kept["timeout"] = ast.Constant(value)
        elif name == "sla":
            kept["deadline"] = ast.Constant(value)
        elif name == "priority_weight":
            kept["priority"] = ast.Constant(value)
        elif name == "trigger_rule":
            rule = _rule(source, where, str(value))
            if rule:
                kept["trigger_rule"] = ast.Constant(rule)
        elif name == "pool" and value != "default_pool":
            kept["pool"] = ast.Constant(value)
        elif name == "max_active_tis_per_dag":
            kept["concurrency"] = ast.Constant(value)
        elif name == "outlets":
            kept["outlets"] = ast.List(_outlets(source, where))
        elif name != "pool":
            source.note(where, f"{name} is not carried", _MENDS.get(name, "look whether it is needed"))
    return [ast.keyword(name, value) for name, value in kept.items()]


def _retries(source: Source, node: ast.AST, given: Mapping[str, Any]) -> ast.expr | None:
    found = {name: given[name][0] for name in _RETRY if name in given}
    times = found.get("retries", 0)
    if UNKNOWN in found.values():
        source.note(node, "the retries are not written out", "write Retry(times, delay=seconds)")
        return None
    if not times:
        return None
    delay = float(found.get("retry_delay", 300) or 0)
    grows = bool(found.get("retry_exponential_backoff"))
    longest = float(found.get("max_retry_delay") or (86400 if grows else delay))
    arguments = {"backoff": 2.0 if grows else 1.0, "delay": delay, "max_delay": max(longest, delay), "jitter": grows}
    keywords = [ast.keyword(name, ast.Constant(value)) for name, value in arguments.items()]
    return ast.Call(ast.Name("Retry"), [ast.Constant(times)], keywords)


def _outlets(source: Source, node: ast.AST) -> list[ast.expr]:
    """Returns the assets that a task makes."""
    node = source.expression(node) if isinstance(node, ast.expr) else node
    found = [_schedule(source, each, "") for each in (node.elts if isinstance(node, (ast.List, ast.Tuple)) else [])]
    return [each for each in found if each is not None]


def _rule(source: Source, where: ast.AST, name: str) -> str:
    name = {"dummy": "always", "none_failed_or_skipped": "none_failed_min_one_success"}.get(name, name)
    if name in RULES:
        return "" if name == "all_success" else name
    source.note(where, f"the trigger rule {name!r} is unknown", f"use one of {', '.join(RULES)}")
    return ""


def dag_options(source: Source, node: ast.Call) -> tuple[list[ast.keyword], Defaults]:
    """Returns the options of our `@dag` for those of Airflow's, and the `default_args`."""
    given = {each.arg: each.value for each in node.keywords if each.arg}
    kept: dict[str, ast.expr] = {}
    found = source.value(given.get("default_args"), {})
    if not isinstance(found, dict):
        source.note(node, "default_args are not written out", "give each task its options")
        found = {}
    zone = _zone(source, given.get("start_date"))
    when = given.get("schedule", given.get("schedule_interval", given.get("timetable")))
    if when is not None and (schedule := _schedule(source, when, zone)) is not None:
        kept["schedule"] = schedule
        if source.value(given.get("catchup"), False) is True:
            kept["catchup"] = ast.Constant(True)
            source.note(node, "start_date is not carried", "say where catching up begins with start=")
    described = source.value(given.get("description"), "")
    if isinstance(described, str) and described:
        kept["doc"] = ast.Constant(described)
    for name, ours in (("max_active_runs", "max_active_runs"), ("max_active_tasks", "max_active_tasks")):
        if isinstance(limit := source.value(given.get(name)), int):
            kept[ours] = ast.Constant(limit)
    for name, value in given.items():
        if name not in _SILENT and name not in _OF_DAGS:
            source.note(value, f"{name} is not carried", _MENDS.get(name, "look whether it is needed"))
    where = source.expression(given["default_args"]) if "default_args" in given else node
    return [ast.keyword(name, value) for name, value in kept.items()], Defaults(found, where)


def _zone(source: Source, start: ast.expr | None) -> str:
    """Returns the time zone of a start date, which is that of the schedule; empty for UTC."""
    start = source.expression(start) if start is not None else None
    if not isinstance(start, ast.Call):
        return ""
    for each in start.keywords:
        if each.arg in ("tz", "tzinfo"):
            value = each.value
            if isinstance(value, ast.Call) and value.args:
                value = value.args[0]
            name = source.value(value)
            if isinstance(name, str):
                return "" if name.upper() == "UTC" else name
            if ast.unparse(value).rpartition(".")[2].upper() != "UTC":
                source.note(value, "the time zone is not written out", "give cron(…, tz='Area/City')")
    return ""


def _schedule(source: Source, node: ast.expr, zone: str) -> ast.expr | None:
    node = source.expression(node)
    if isinstance(node, (ast.List, ast.Tuple)) and node.elts:
        return _joined(source, [_schedule(source, each, zone) for each in node.elts], ast.BitAnd())
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
        return _joined(source, [_schedule(source, node.left, zone), _schedule(source, node.right, zone)], node.op)
    if isinstance(node, ast.Call) and source.called(node) in ("Dataset", "Asset"):
        uri = source.value(
            node.args[0] if node.args else next((e.value for e in node.keywords if e.arg == "uri"), None)
        )
        if isinstance(uri, str) and "://" in uri:
            return ast.Call(ast.Name("asset"), [ast.Constant(uri)], [])
        source.note(node, "the asset has no URI", "write asset('scheme://place')")
        return None
    if isinstance(node, ast.Call) and source.called(node).endswith(
        ("CronTriggerTimetable", "CronDataIntervalTimetable")
    ):
        zone = source.value(next((e.value for e in node.keywords if e.arg == "timezone"), None)) or zone
        return _schedule(source, node.args[0], "" if zone == "UTC" else zone) if node.args else None
    value = source.value(node)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return ast.Call(ast.Name("every"), [ast.Constant(value)], [])
    if isinstance(value, str) and value not in ("@once", "@continuous"):
        return _cron(source, node, PRESETS.get(value, value), zone)
    if value is not None:
        source.note(node, f"the schedule {ast.unparse(node)} is not carried", "write cron(…), every(…) or asset(…)")
    return None


def _cron(source: Source, node: ast.expr, expression: str, zone: str) -> ast.expr | None:
    try:
        check_expression(expression)
    except GraphError as error:
        source.note(node, f"the schedule {expression!r} is not carried", str(error))
        return None
    keywords = [ast.keyword("tz", ast.Constant(zone))] if zone else []
    return ast.Call(ast.Name("cron"), [ast.Constant(expression)], keywords)


def _joined(source: Source, parts: list[ast.expr | None], how: ast.operator) -> ast.expr | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    whole = known[0]
    for part in known[1:]:
        whole = ast.BinOp(whole, how, part)
    return whole
