"""Files of traces and nodes: what they are is seen from what is in them, whatever they are called.

Rules:

1. A line that begins with `{` makes it our own format, a comment with `;` or 18 numbers the Standard Workload Format,
   and a heading tells the CSVs apart.
2. `40x8gpu` are 40 nodes of 8 GPUs, and `2x16cpu` two of 16 vcores; `40x8gpu,2x16cpu` are all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from clearance.cluster.node import Node
from clearance.cluster.quantities import GPU, VCORE
from clearance.cluster.simulate import jsonl, openb, philly, swf
from clearance.cluster.simulate.lines import BadLine
from clearance.cluster.simulate.trace import Trace
from clearance.errors import UsageError

_COUNTED = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})(gpu|cpu)\Z")
_UNIT = {"gpu": GPU, "cpu": VCORE}


def read_trace(path: str | Path, whole: int = 0) -> Trace:
    """Reads a trace of any of the formats.

    Args:
        path: of the file.
        whole: of gang jobs: see `philly.gang`.

    Raises:
        UsageError: the file cannot be read, or is none of these.
        BadLine: one of its lines is not well formed.
    """
    lines = text_lines(path)
    readers: dict[str, Callable[[], Trace]] = {
        "jsonl": lambda: jsonl.read(lines, str(path)),
        "swf": lambda: swf.read(lines, str(path)),
        "openb": lambda: openb.read(lines, str(path)),
        "philly": lambda: philly.read(lines, str(path), whole),
    }
    return readers[guess(lines, str(path))]()


def read_nodes(source: str) -> tuple[Node, ...]:
    """Returns nodes as counted (rule 2), or as a file tells of them: openb's nodes, or lines of our own format.

    Raises:
        UsageError: the file cannot be read.
        BadLine: one of its lines is not well formed.
    """
    parts = [_COUNTED.match(part) for part in source.split(",")]
    if all(parts):
        found: list[Node] = []
        for part in parts:
            assert part is not None
            name = _UNIT[part[3]]
            found += [Node(f"node{len(found) + at}", {name: int(part[2])}) for at in range(int(part[1]))]
        return tuple(found)
    lines = text_lines(source, "; or count them, such as 40x8gpu")
    if lines and lines[0].lstrip().startswith("{"):
        return jsonl.read(lines, source).nodes
    return openb.read_nodes(lines, source)


def guess(lines: list[str], source: str) -> str:
    """Returns the format of a file: `jsonl`, `swf`, `openb` or `philly`.

    Raises:
        BadLine: its first line is of none of these.
    """
    at, first = next(((at, line.strip()) for at, line in enumerate(lines, 1) if line.strip()), (1, ""))
    if first.startswith("{"):
        return "jsonl"
    if first.startswith(";") or len(first.split()) == len(swf.FIELDS):
        return "swf"
    heading = set(first.split(","))
    if heading >= set(openb.POD_COLUMNS):
        return "openb"
    if heading & set(philly.COLUMNS):
        return "philly"
    raise BadLine(
        source, at, f"{first[:60]!r} begins no trace: it may be JSON lines, the Standard Workload Format, or a CSV "
        f"with the columns {', '.join(philly.COLUMNS)} or {', '.join(openb.POD_COLUMNS)}",
    )  # fmt: skip


def text_lines(path: str | Path, more: str = "") -> list[str]:
    """Returns the lines of a file.

    Raises:
        UsageError: it cannot be read; the message ends with `more`.
    """
    try:
        return Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UsageError(f"{path} cannot be read: {why}: name a file that can{more}") from None
