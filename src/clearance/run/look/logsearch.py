"""Searching what tasks wrote, and what the control plane wrote.

Rules:

1. Runs come newest first, in a run the tasks in the order of its graph, in a log the lines in the order of time.
2. Memory is bounded: rows are read by pages, files by frames; a line that is longer than `LONGEST` is cut.
3. A log that nobody can have written to since the time that is asked for is not opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from clearance.engine.local.frames import NOTE, STDERR, STDOUT, read
from clearance.run import rows
from clearance.run.look.logline import Line, Query, fields_of, level_of
from clearance.run.telemetry.journal import files
from clearance.store.database import Database

LONGEST = 65536
PIECE = 1 << 20
PAGE = 500
_STREAMS = {STDOUT: "stdout", STDERR: "stderr", NOTE: "note"}


def search(
    home: Path, database: Database, query: Query, dag: str = "", run: str = "", task: str = ""
) -> Iterator[Line]:
    """Yields the lines of tasks that are meant.

    Args:
        home: of the installation.
        database: open for reading.
        query: which lines.
        dag: only of runs of this DAG.
        run: only of the run of this id.
        task: only of this task (`train`, with every instance) or instance (`train[2]`).

    Raises:
        Corrupt: a file is no log of an attempt.
    """
    before = 1 << 62
    name = task.partition("[")[0]
    while page := database.rows("runs_searched", before, dag, dag, run, run, query.since, PAGE):
        for number, key, id, of_dag in page:
            before = number
            yield from _of_run(home, database, query, (number, key, id, of_dag), name, task)


def _of_run(
    home: Path, database: Database, query: Query, run: tuple[int, str, str, str], name: str, task: str
) -> Iterator[Line]:
    number, key, id, dag = run
    instance, launch = -1, -1
    while page := database.rows("attempts_searched", number, instance, instance, launch, name, name, query.since, PAGE):
        for instance, launch, of_task, scope, position in page:
            label = rows.label_of(of_task, scope, position)
            if "[" in task and label != task:
                continue
            file = home / "logs" / f"{key}.{instance}.{launch}.frames"
            about = {"run": id, "dag": dag, "task": label, "attempt": launch}
            yield from _of_file(file, query, about)


def _of_file(file: Path, query: Query, about: dict[str, Any]) -> Iterator[Line]:
    try:
        if file.stat().st_mtime < query.since - 1:
            return
    except FileNotFoundError:
        return
    for at, rank, stream, data in lines(file):
        text = data.decode("utf-8", "replace").rstrip("\r")
        if not query.wanted(text):
            continue
        fields = fields_of(text)
        line = Line(
            at=at, rank=rank, stream=_STREAMS.get(stream, "note"), text=text, fields=fields,
            level=level_of(text, fields), **about,
        )  # fmt: skip
        if query.holds(line):
            yield line


def lines(file: Path) -> Iterator[tuple[float, int, int, bytes]]:
    """Yields time in seconds, rank, stream and bytes of each line of a log, without its newline.

    Lines of different processes and streams that are written at once are kept apart; each comes when it is complete.
    """
    open_lines: dict[tuple[int, int], tuple[float, bytearray]] = {}
    offset = 0
    while True:
        frames, offset = read(file, offset, PIECE)
        if not frames:
            break
        for frame in frames:
            key, at = (frame.rank, frame.stream), frame.time / 1e9
            began, data = open_lines.pop(key, (at, bytearray()))
            data += frame.data
            start = 0
            while True:
                end = data.find(b"\n", start)
                if end < 0 and len(data) - start <= LONGEST:
                    break
                cut = start + LONGEST if end < 0 or end - start > LONGEST else end
                yield began, *key, bytes(data[start:cut])
                start, began = cut + (cut == end), at
            if start < len(data):
                open_lines[key] = (began, data[start:])
    for (rank, stream), (began, data) in sorted(open_lines.items(), key=lambda each: each[1][0]):
        yield began, rank, stream, bytes(data)


def search_control(home: Path, query: Query) -> Iterator[Line]:
    """Yields the lines of the control plane's own log that are meant, newest file first."""
    for file in files(home):
        try:
            with open(file, "rb") as stream:
                for data in stream:
                    text = data.decode("utf-8", "replace").rstrip("\n")
                    fields = fields_of(text) or {}
                    at = fields.get("at")
                    line = Line(
                        at=at if isinstance(at, float | int) else 0.0, run=str(fields.get("run", "")), text=text,
                        fields=fields, level=level_of(text, fields), stream="control",
                    )  # fmt: skip
                    if query.holds(line):
                        yield line
        except FileNotFoundError:
            continue


def encode(line: Line) -> str:
    """Returns a line as one line of JSON."""
    return msgspec.json.encode(line).decode()
