"""Durations as people write them: `90`, `"90s"`, `"10m"`, `"1h30m"`."""

from __future__ import annotations

import math
import re

from clearance.errors import GraphError

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")


def seconds(value: float | str, where: str = "timeout") -> float:
    """Returns a duration in seconds: 90, "90s", "10m", "1h30m", "500ms", "2d".

    Raises:
        GraphError: not a positive, finite duration.
    """
    number: float | None = None
    if isinstance(value, str):
        text = value.strip().replace(" ", "")
        parts = _PART.findall(text)
        if parts and "".join(amount + unit for amount, unit in parts) == text:
            number = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
        elif re.fullmatch(r"\d+(\.\d+)?", text):
            number = float(text)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    if number is None or not math.isfinite(number) or number <= 0:
        raise GraphError(f"{where} is {value!r}: write seconds, or a duration such as '90s', '10m' or '1h30m'")
    return number


def written(number: float) -> str:
    """Returns seconds as `seconds` reads them: 5400 is "1h30m"."""
    if number != int(number):
        return f"{number!r}s"
    left, text = int(number), ""
    for unit in ("d", "h", "m", "s"):
        amount, left = divmod(left, int(_UNITS[unit]))
        text += f"{amount}{unit}" if amount else ""
    return text
