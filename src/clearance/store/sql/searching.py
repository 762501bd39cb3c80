"""The one statement that is composed: runs by any number of conditions, each answered by an index.

Values are always parameters of the statement, never part of its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

_RUN = "number, key, id, dag, version, state, parameters, principal, environment, created_at, finished_at"
_COLUMNS = ("dag", "state", "principal", "created_at", "finished_at", "number")
_OPERATORS = ("=", "<>", "<", "<=", ">", ">=")
_TAGGED = "SELECT run FROM run_tag WHERE name = ?"
_GIVEN = "SELECT run FROM run_parameter WHERE name = ?"


class Where(NamedTuple):
    """A condition on runs.

    Attributes:
        what: a column of the run, `tag`, `parameter` (its JSON text) or `amount` (a parameter that is a number).
        operator: `=`, `<>`, `<`, `<=`, `>`, `>=`; of a tag also empty: it has one.
        value: what is compared with.
        name: of the tag or parameter.
        text: JSON text that is as good as the number, for `amount` with `=` and `<>`.
    """

    what: str
    operator: str
    value: Any
    name: str = ""
    text: str = ""


def compose(conditions: Sequence[Where], limit: int) -> tuple[str, list[Any]]:
    """Returns text and parameters of the statement that finds the newest runs of which all conditions hold."""
    parts: list[str] = []
    values: list[Any] = []
    for one in conditions:
        text, given = _part(one)
        parts.append(text)
        values += given
    where = f" WHERE {' AND '.join(parts)}" if parts else ""
    return f"SELECT {_RUN} FROM run{where} ORDER BY number DESC LIMIT ?", [*values, limit]  # noqa: S608


def _part(one: Where) -> tuple[str, list[Any]]:
    if one.what == "tag" and not one.operator:
        return f"number IN ({_TAGGED})", [one.name]
    if one.operator not in _OPERATORS:
        raise ValueError(f"no operator {one.operator!r}")
    if one.what == "tag":
        return f"number IN ({_TAGGED} AND value {one.operator} ?)", [one.name, one.value]
    if one.what == "parameter":
        return f"number IN ({_GIVEN} AND value {one.operator} ?)", [one.name, one.value]
    if one.what == "amount" and one.text and one.operator == "=":
        return f"number IN ({_GIVEN} AND (amount = ? OR value = ?))", [one.name, one.value, one.text]
    if one.what == "amount" and one.text and one.operator == "<>":
        return f"number IN ({_GIVEN} AND coalesce(amount <> ?, value <> ?))", [one.name, one.value, one.text]
    if one.what == "amount":
        return f"number IN ({_GIVEN} AND amount {one.operator} ?)", [one.name, one.value]
    if one.what not in _COLUMNS:
        raise ValueError(f"no column {one.what!r}")
    return f"{one.what} {one.operator} ?", [one.value]
