"""Lines of a trace: what is wrong with one says which it is, and how it is mended."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence

from clearance.errors import UsageError


class BadLine(UsageError):
    """A line of a trace is not what its format says.

    Args:
        source: the file.
        line: its number, from 1.
        what: is wrong, and the mend.
    """

    def __init__(self, source: str, line: int, what: str) -> None:
        super().__init__(f"{source}, line {line}: {what}")


def records(lines: Iterable[str], columns: Sequence[str], source: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the number and the cells of each line of a CSV with a heading.

    Args:
        lines: of the file.
        columns: that must be there.
        source: the file, for messages.

    Raises:
        BadLine: a column is missing, or a line has too few or too many cells.
    """
    reader = csv.reader(lines)
    heading = next(reader, [])
    if missing := [column for column in columns if column not in heading]:
        raise BadLine(source, 1, f"the heading has no column {missing[0]!r}: it needs {', '.join(columns)}")
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(heading):
            raise BadLine(
                source, reader.line_num, f"{len(cells)} cells under {len(heading)} headings: quote commas in cells"
            )
        yield reader.line_num, dict(zip(heading, cells, strict=True))


def number(text: str, name: str, source: str, line: int, least: float = 0) -> float:
    """Returns a finite number that is not too small.

    Raises:
        BadLine: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise BadLine(source, line, f"{name} is {text!r}: write a number of at least {least:g}")
    return value


def whole(text: str, name: str, source: str, line: int, least: int = 0) -> int:
    """Returns a whole number that is not too small.

    Raises:
        BadLine: it is none.
    """
    value = number(text, name, source, line, least)
    if value != int(value):
        raise BadLine(source, line, f"{name} is {text!r}: write a whole number")
    return int(value)
