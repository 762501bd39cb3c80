"""Tags of a run and its plain parameters: what it is found by later (`run.search`).

A tag is a name and a text, set by a person at any time. Of the parameters only plain ones are indexed: a truth value,
a number, a text of up to `LONGEST` characters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.errors import UsageError
from clearance.store.database import Database

if TYPE_CHECKING:
    from clearance.run.ledger import Ledger

LONGEST = 200
MOST = 64
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,62}\Z")


def check_tags(tags: Mapping[str, str]) -> None:
    """Checks names and values of tags.

    Raises:
        UsageError: one that is none, or too many.
    """
    for name, value in tags.items():
        if not _NAME.match(name):
            raise UsageError(f"tag {name!r}: a name has up to 63 letters, digits and . _ / -, first a letter or digit")
        if not isinstance(value, str) or len(value) > LONGEST or not value.isprintable():
            raise UsageError(f"tag {name!r}: the value is a text of up to {LONGEST} characters in one line")
    if len(tags) > MOST:
        raise UsageError(f"{len(tags)} tags: a run has at most {MOST}")


def parse_tags(pairs: Iterable[str]) -> dict[str, str]:
    """Returns the tags of `name=value` texts.

    Raises:
        UsageError: no `=`, a name that is said twice, or a tag that is none.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"tag {pair!r}: write name=value")
        if name in found:
            raise UsageError(f"tag {name!r} is said twice")
        found[name] = value
    check_tags(found)
    return found


def add_marks(ledger: Ledger, run: int, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Adds the rows by which a new run is found; `check_tags` has judged its tags."""
    for name, value in parameters.items():
        if (indexed := _indexed(value)) is not None:
            ledger.add("run_parameter_add", run, name, *indexed)
    for name, value in tags.items():
        ledger.add("run_tag_put", run, name, value)


def set_tags(
    database: Database, ledger: Ledger, run: int, tags: Mapping[str, str], remove: Iterable[str]
) -> dict[str, str]:
    """Adds the rows that change the tags of a run; returns the tags that it has then.

    Raises:
        UsageError: a tag that is none, both set and removed, or too many.
    """
    gone = set(remove)
    if both := gone & tags.keys():
        raise UsageError(f"tag {min(both)!r} is both set and removed: choose one")
    old = tags_of(database, run)
    new = {name: value for name, value in {**old, **tags}.items() if name not in gone}
    check_tags(new)
    for name, value in tags.items():
        if old.get(name) != value:
            ledger.add("run_tag_put", run, name, value)
    for name in gone & old.keys():
        ledger.add("run_tag_remove", run, name)
    return dict(sorted(new.items()))


def tags_of(database: Database, run: int) -> dict[str, str]:
    """Returns the tags of the run of this number, by name."""
    return dict(database.rows("run_tags", run))


def _indexed(value: Any) -> tuple[str, float | None] | None:
    """Returns JSON text and number of a plain value; None for one that is not indexed."""
    if isinstance(value, str):
        return (_json(value), None) if len(value) <= LONGEST and "\0" not in value else None
    if isinstance(value, bool) or value is None:
        return _json(value), None
    if isinstance(value, int | float):
        try:
            amount = float(value)
        except OverflowError:
            return None
        return (_json(value), amount) if math.isfinite(amount) else None
    return None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
