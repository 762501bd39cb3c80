"""`cache=True`, `cache="7d"`, `version="2"`: how old a result may be that is taken instead of running the task."""

from __future__ import annotations

from typing import Any

from clearance.errors import GraphError
from clearance.graph.duration import seconds

OFF, ANY = 0.0, -1.0
_LONGEST_VERSION = 100


def check_cache(value: Any) -> float | None:
    """Returns the largest age in seconds; `OFF` for no cache, `ANY` for every age, None where nothing is said.

    Raises:
        GraphError: anything but a bool or a duration.
    """
    if value is None or isinstance(value, bool):
        return value if value is None else (ANY if value else OFF)
    try:
        return seconds(value, "cache")
    except GraphError:
        raise GraphError(f"cache is {value!r}: write True, False, or the largest age, for example '7d'") from None


def check_version(value: Any) -> str:
    """Returns the declared version of a task's code.

    Raises:
        GraphError: anything but a whole number or a text of at most 100 characters.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or len(value) > _LONGEST_VERSION:
        raise GraphError(f"version is {value!r}: write a number or a short text, for example version='2'")
    return value
