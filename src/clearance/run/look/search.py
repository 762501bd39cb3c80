"""Finding runs: a line such as `lr>0.1 tag:team=vision state:failed created>=2026-03-01` as conditions.

| term | holds for runs |
|---|---|
| `lr=0.1`, `lr!=0.1`, `lr<0.1`, `<=`, `>`, `>=` | with that parameter: what looks like a number is compared as one |
| `p:state=a` | the same, for a parameter that is called like one of the words below |
| `tag:team`, `tag:team=vision`, `tag:team!=vision` | that have the tag; with this value; with another one |
| `dag:digits`, `state:failed`, `by:mia` | of this DAG; in this state; that this person started |
| `created>=2026-03-01`, `finished<2026-03-01T12:00:00Z` | made or ended then; a day is a day in UTC |

All terms must hold. A term with spaces stands in quotes: `"tag:note=two words"`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from clearance.errors import UsageError, nearest
from clearance.run.rows import RunRow
from clearance.store.database import Database
from clearance.store.sql.searching import Where
from clearance.types.states import RunState

PAGE = 200
_TERM = re.compile(r"(?:(p|tag|dag|state|by):)?([^\s=<>!:]+)(?:(!=|<=|>=|=|<|>)(.*))?\Z", re.DOTALL)
_COLUMNS = {"dag": "dag", "state": "state", "by": "principal"}
_TIMES = {"created": "created_at", "finished": "finished_at"}


def parse(text: str) -> list[Where]:
    """Returns the conditions of a line.

    Raises:
        UsageError: a term that is none.
    """
    try:
        terms = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"search {text!r}: {error}: close the quote") from None
    return [_term(term) for term in terms]


def conditions(
    *,
    dag: str = "",
    state: str = "",
    tags: Mapping[str, str | None] | None = None,
    parameters: Mapping[str, str] | None = None,
) -> list[Where]:
    """Returns the conditions that options say; a tag with None is one of any value, a parameter is text as typed.

    Raises:
        UsageError: a state that is none.
    """
    found = [Where("dag", "=", dag)] if dag else []
    if state:
        found.append(Where("state", "=", check_state(state)))
    for name, value in (tags or {}).items():
        found.append(Where("tag", "" if value is None else "=", value, name))
    found += [_parameter(name, "=", value) for name, value in (parameters or {}).items()]
    return found


def find(database: Database, wanted: list[Where], limit: int, before: int | None = None) -> list[RunRow]:
    """Returns the newest runs of which every condition holds, with a number below `before`."""
    extra = [] if before is None else [Where("number", "<", before)]
    return [RunRow(*row) for row in database.search([*wanted, *extra], limit)]


def pages(read: Any, wanted: list[Where], limit: int | None = None) -> Iterator[RunRow]:
    """Yields runs, newest first, a page at a time.

    Args:
        read: opens the database for reading, as a context manager.
        wanted: the conditions.
        limit: how many at most; None for all.
    """
    before = None
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        with read() as database:
            page = find(database, wanted, size, before)
        yield from page
        if len(page) < size:
            return
        before = page[-1].number
        left = None if left is None else left - len(page)


def check_state(state: str) -> str:
    """Returns the state of a run, if it is one.

    Raises:
        UsageError: it is none.
    """
    known = [each.value for each in RunState]
    if state not in known:
        raise UsageError(f"state {state!r}{nearest(state, known)}: a run is one of {', '.join(known)}")
    return state


def _term(term: str) -> Where:
    match = _TERM.match(term)
    if match is None:
        raise UsageError(f"search term {term!r}: write NAME=VALUE, tag:NAME=VALUE, dag:ID, state:STATE or by:NAME")
    kind, name, operator, value = match.groups()
    if kind in _COLUMNS:
        if operator:
            raise UsageError(f"search term {term!r}: write {kind}:VALUE")
        return Where(_COLUMNS[kind], "=", check_state(name) if kind == "state" else name)
    if kind == "tag":
        if operator not in (None, "=", "!="):
            raise UsageError(f"search term {term!r}: a tag is compared with = or !=")
        return Where("tag", _sql(operator or ""), value, name)
    if operator is None:
        raise UsageError(f"search term {term!r}: compare it, for example {name}=1, or write tag:{name}")
    if kind is None and name in _TIMES:
        return Where(_TIMES[name], _sql(operator), _moment(term, value))
    return _parameter(name, operator, value)


def _parameter(name: str, operator: str, text: str) -> Where:
    """Compares as a number where the text is one; as a truth value or null where it is one; else as text."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = text
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return Where("amount", _sql(operator), float(value), name, msgspec.json.encode(text).decode())
        except OverflowError:
            raise UsageError(f"search term {name}{operator}{text}: too large to be compared") from None
    if not isinstance(value, bool | str | None):
        raise UsageError(f"search term {name}{operator}{text}: lists and objects are not searched")
    if operator not in ("=", "!="):
        raise UsageError(f"search term {name}{operator}{text}: {text!r} is no number: compare it with = or !=")
    return Where("parameter", _sql(operator), msgspec.json.encode(value).decode(), name)


def _sql(operator: str) -> str:
    return "<>" if operator == "!=" else operator


def _moment(term: str, text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"search term {term!r}: write a day, 2026-03-01, or 2026-03-01T12:00:00Z") from None
    if found.tzinfo is None:
        if len(text) > 10:
            raise UsageError(f"search term {term!r}: say the zone: {text}Z, or {text}+01:00")
        found = found.replace(tzinfo=UTC)
    return found.timestamp()
