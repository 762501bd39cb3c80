"""Results on disk before they are reported: what is finished survives the death of every process of the engine.

In `home/spool/`:

- `ATTEMPT.RANK`: the `Spooled` record of a process, written under another name and renamed.
- `ATTEMPT.end`: the `Finished` event, where the supervisor had to judge (a gang, a timeout, a kill).
- `worker-N.log`: the records of a warm process, appended; each is 4 bytes of length (big-endian) and a `Spooled`.
- `ATTEMPT.flow`: the steps of a flow, appended as they end (see `line`); the controller has it removed.
- `acknowledged`: keys of attempts in worker logs that are committed, one a line.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator

import msgspec

from clearance.engine.base import Finished, Usage
from clearance.engine.local.ipc import Spooled, encode

_LENGTH = struct.Struct(">I")
_SAFE = re.compile(r"[a-z0-9][a-z0-9.-]{0,199}\Z")
_spooled = msgspec.msgpack.Decoder(Spooled)
_finished = msgspec.msgpack.Decoder(Finished)


def is_safe(key: str) -> bool:
    """Returns whether a key may name a file: `[a-z0-9.-]`, at most 200, not beginning with a dot or a dash."""
    return _SAFE.match(key) is not None and ".." not in key


def write(path: str, record: Spooled | Finished) -> None:
    """Writes a record so that a reader sees all of it or nothing."""
    temporary = path + "~"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, encode(record))
    finally:
        os.close(fd)
    os.rename(temporary, path)


def append(fd: int, record: Spooled) -> bytes:
    """Appends a record to a worker's log; returns it encoded."""
    body = encode(record)
    _write_all(fd, _LENGTH.pack(len(body)) + body)
    return body


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def read(path: str) -> Spooled | None:
    """Returns the record of a process; None when it wrote none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        data = os.read(fd, 65536)
        if len(data) == 65536:
            while more := os.read(fd, 1 << 20):
                data += more
    finally:
        os.close(fd)
    try:
        return _spooled.decode(data)
    except msgspec.MsgspecError:
        return None


def records(path: str) -> Iterator[Spooled]:
    """Yields the whole records of a worker's log, oldest first; a torn one ends it."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return
    position = 0
    while position + 4 <= len(data):
        (length,) = _LENGTH.unpack_from(data, position)
        position += 4
        if position + length > len(data):
            return
        try:
            yield _spooled.decode(data[position : position + length])
        except msgspec.MsgspecError:
            return
        position += length


def finished_of(record: Spooled) -> Finished:
    """Returns the event of an attempt of one process, from its record alone."""
    return Finished(
        record.attempt,
        "failure" if record.failure else "success",
        record.result,
        record.failure,
        Usage(record.cpu_seconds, record.peak_memory),
    )


def recover(directory: str) -> tuple[list[tuple[Finished, int, bool]], list[str]]:
    """Reads what a dead supervisor left.

    Returns:
        Finished attempts that were not acknowledged (with the number of rank files, and whether the record lies in
        a worker's log), and the names of files that say nothing (halves of gangs, torn writes), to be deleted.
    """
    finished: dict[str, Finished] = {}
    ranks: dict[str, dict[int, Spooled]] = {}
    files: dict[str, list[str]] = {}
    rest: list[str] = []
    acknowledged: set[str] = set()
    warm: set[str] = set()
    try:
        with open(os.path.join(directory, "acknowledged")) as file:
            acknowledged.update(file.read().split())
    except FileNotFoundError:
        pass
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        stem, _, suffix = name.rpartition(".")
        if suffix == "log" and stem.startswith("worker-"):
            for record in records(path):
                if record.attempt not in acknowledged:
                    finished.setdefault(record.attempt, finished_of(record))
                    warm.add(record.attempt)
        elif suffix == "end":
            try:
                with open(path, "rb") as data:
                    finished[stem] = _finished.decode(data.read())
            except msgspec.MsgspecError:
                rest.append(name)
        elif suffix.isdigit() and (single := read(path)) is not None and single.attempt == stem:
            ranks.setdefault(stem, {})[single.rank] = single
            files.setdefault(stem, []).append(name)
        elif name != "acknowledged" and suffix != "flow":
            rest.append(name)
    for attempt, by_rank in ranks.items():
        if attempt in finished:
            continue
        failed = [record for record in by_rank.values() if record.failure]
        first = failed[0] if failed else by_rank.get(0)
        if first is None or (not failed and len(by_rank) < first.size):
            rest += files[attempt]
        else:
            finished[attempt] = finished_of(first)
    sizes = {attempt: max(by_rank) + 1 for attempt, by_rank in ranks.items()}
    return [(event, sizes.get(key, 0), key in warm) for key, event in finished.items()], rest
