"""A line of a log as data: its text, its level, and its fields where it is a JSON object. Pure.

Levels are those of Python's `logging`, by name or number: a line has one if it is a JSON object with `level`,
`levelname`, `severity` or `lvl`, or if it begins as `logging.basicConfig` writes it (`WARNING:name:…`).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from clearance.errors import UsageError, nearest

LEVELS = {
    "trace": 5, "debug": 10, "info": 20, "notice": 25, "warn": 30, "warning": 30, "err": 40, "error": 40,
    "fatal": 50, "critical": 50, "panic": 50,
}  # fmt: skip
_KEYS = ("level", "levelname", "severity", "lvl")
_PREFIX = re.compile(r"\[?(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)\b[\]:\s]")
_decoder = msgspec.json.Decoder()


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line.

    Attributes:
        at: seconds since 1970, when its beginning was read.
        run: id; `dag`, `task`: names.
        attempt: which launch of the task, from 1.
        rank: which process of a gang.
        stream: `stdout`, `stderr` or `note` (of the engine).
        text: without the newline; what is no UTF-8 is replaced.
        fields: of a JSON object.
        level: in small letters; empty for none.
    """

    at: float
    run: str = ""
    dag: str = ""
    task: str = ""
    attempt: int = 0
    rank: int = 0
    stream: str = ""
    text: str
    fields: dict[str, Any] | None = None
    level: str = ""


def fields_of(text: str) -> dict[str, Any] | None:
    """Returns the object that a line is; None where it is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def level_of(text: str, fields: dict[str, Any] | None) -> str:
    """Returns the level of a line in small letters; empty for none."""
    for key in _KEYS:
        value = (fields or {}).get(key)
        if isinstance(value, str) and value.lower() in LEVELS:
            return value.lower()
        if isinstance(value, int) and not isinstance(value, bool):
            return next((name for name, number in LEVELS.items() if number >= value), "critical")
    match = _PREFIX.match(text) if fields is None else None
    return match[1].lower() if match else ""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines are meant; empty conditions hold always.

    Attributes:
        text: is in the line.
        pattern: is found in the line.
        level: it has this one or a higher.
        fields: dotted name and text of the value.
        since: at or after this time, in seconds since 1970.
    """

    text: str = ""
    pattern: re.Pattern[str] | None = None
    level: int = 0
    fields: tuple[tuple[str, str], ...] = ()
    since: float = 0.0

    def wanted(self, text: str) -> bool:
        """True for the text of a line that may be meant, before it is read as data."""
        return self.text in text and (self.pattern is None or self.pattern.search(text) is not None)

    def holds(self, line: Line) -> bool:
        """True for a line that is meant."""
        return (
            line.at >= self.since
            and self.wanted(line.text)
            and (not self.level or LEVELS.get(line.level, 0) >= self.level)
            and all(_has(line.fields, name, value) for name, value in self.fields)
        )


def query(text: str = "", regex: str = "", level: str = "", fields: tuple[str, ...] = (), since: float = 0.0) -> Query:
    """Reads what a person asks for.

    Raises:
        UsageError: no regular expression, no level, or a field without `=`.
    """
    try:
        pattern = re.compile(regex) if regex else None
    except re.error as error:
        raise UsageError(f"--regex {regex!r}: {error}") from None
    if level and level.lower() not in LEVELS:
        raise UsageError(f"--level {level}: use one of {', '.join(LEVELS)}{nearest(level.lower(), LEVELS)}")
    pairs = []
    for one in fields:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise UsageError(f"--field {one}: write --field name=value")
        pairs.append((name, value))
    return Query(
        text=text, pattern=pattern, level=LEVELS[level.lower()] if level else 0, fields=tuple(pairs), since=since
    )


def _has(fields: dict[str, Any] | None, name: str, value: str) -> bool:
    found: Any = fields
    if fields is not None and name in fields:
        found = fields[name]
    else:
        for part in name.split("."):
            if not isinstance(found, dict) or part not in found:
                return False
            found = found[part]
    return value == (found if isinstance(found, str) else msgspec.json.encode(found).decode())
