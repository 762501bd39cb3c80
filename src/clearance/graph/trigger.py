"""Trigger rules: whether a task runs, by how those before it ended.

The rules are Apache Airflow 3's (its `TriggerRule`), with one answer of our own: what a rule says never depends on
who finished first, so a failure wins over a skip. "Failed" counts a task that failed, whose upstream failed, or that
was cancelled. With `s` successes, `f` failures and `k` skips of `n` upstream tasks, and `u` of the `f` that never ran
since something before them failed, which `one_done` does not take for done:

| rule | runs | is skipped | upstream_failed |
|---|---|---|---|
| all_success | s = n | k > 0 and f = 0 | f > 0 |
| all_failed | f = n | s + k > 0 | |
| all_done, always | when all have finished | | |
| one_success | s > 0 | k = n | s = 0 and f > 0 |
| one_failed | f > 0 | f = 0 | |
| one_done | s + f > u | s + f = u | |
| none_failed | f = 0 | | f > 0 |
| none_failed_min_one_success | f = 0 and s > 0 | k = n | f > 0 |
| none_skipped | k = 0 | k > 0 | |
| all_skipped | k = n | s + f > 0 | |
| all_done_min_one_success | k = 0 and s > 0 | k > 0 | k = 0 and s = 0 |
"""

from __future__ import annotations

from clearance.errors import GraphError, nearest

RUN, SKIPPED, UPSTREAM_FAILED = "run", "skipped", "upstream_failed"

RULES = (
    "all_success", "all_failed", "all_done", "always", "one_success", "one_failed", "one_done", "none_failed",
    "none_failed_min_one_success", "none_skipped", "all_skipped", "all_done_min_one_success",
)  # fmt: skip

DEFAULT = "all_success"


def check_rule(value: object) -> str:
    """Returns the rule if it is one.

    Raises:
        GraphError: another word; the message names the nearest.
    """
    if not isinstance(value, str) or value not in RULES:
        hint = nearest(value, RULES) if isinstance(value, str) else ""
        raise GraphError(f"trigger_rule is {value!r}: use one of {', '.join(RULES)}{hint}")
    return value


def early(rule: str, succeeded: int, failed: int, barred: int = 0) -> bool:
    """True when the task may run before every upstream has finished, since what is still to come cannot change that.

    The arguments are those of `decide`, so far.
    """
    match rule:
        case "always":
            return True
        case "one_success":
            return succeeded > 0
        case "one_failed":
            return failed > 0
        case "one_done":
            return succeeded + failed > barred
    return False


def decide(rule: str, succeeded: int, failed: int, skipped: int, barred: int = 0) -> str:
    """Returns what becomes of a task whose upstream tasks have all finished: `RUN`, `SKIPPED` or `UPSTREAM_FAILED`.

    Args:
        rule: one of `RULES`.
        succeeded: how many succeeded.
        failed: how many failed, had a failed upstream, or were cancelled.
        skipped: how many were skipped.
        barred: how many of the failed never ran, since something before them failed.
    """
    total = succeeded + failed + skipped
    if not total:
        return RUN
    match rule:
        case "all_success":
            return UPSTREAM_FAILED if failed else SKIPPED if skipped else RUN
        case "all_failed":
            return RUN if failed == total else SKIPPED
        case "one_success":
            return RUN if succeeded else SKIPPED if skipped == total else UPSTREAM_FAILED
        case "one_failed":
            return RUN if failed else SKIPPED
        case "one_done":
            return RUN if succeeded + failed > barred else SKIPPED
        case "none_failed":
            return UPSTREAM_FAILED if failed else RUN
        case "none_failed_min_one_success":
            return UPSTREAM_FAILED if failed else RUN if succeeded else SKIPPED
        case "none_skipped":
            return SKIPPED if skipped else RUN
        case "all_skipped":
            return RUN if skipped == total else SKIPPED
        case "all_done_min_one_success":
            return SKIPPED if skipped else RUN if succeeded else UPSTREAM_FAILED
    return RUN
