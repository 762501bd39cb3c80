"""The log of an attempt: what its processes wrote, in the order in which it was read, as append-only frames.

A file is a sequence of frames, nothing before and nothing after. A frame is a header of 16 bytes, little-endian, and
then the bytes as they were written:

    offset 0   u64  time of reading, nanoseconds since 1970 (UTC)
    offset 8   u16  rank of the process
    offset 10  u8   stream: 1 standard output, 2 standard error, 3 a note of the engine (UTF-8)
    offset 11  u8   the mark 0xF7
    offset 12  u32  length of what follows, in bytes

Rules: a frame is written by one `writev`, so that a reader sees a whole frame or a torn last one; a torn last frame is
not returned, and the offset stays before it. A frame may end in the middle of a line or of a character.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from clearance.errors import Corrupt

STDOUT, STDERR, NOTE = 1, 2, 3
_HEADER = struct.Struct("<QHBBI")
_MARK = 0xF7


class Frame(NamedTuple):
    """One read of a process's output: `time` in nanoseconds since 1970, `stream` 1, 2 or 3, and the bytes."""

    time: int
    stream: int
    rank: int
    data: bytes


def encode(frame: Frame) -> bytes:
    """Returns the frame as it stands in the file."""
    return _HEADER.pack(frame.time, frame.rank, frame.stream, _MARK, len(frame.data)) + frame.data


def decode(data: bytes) -> tuple[list[Frame], int]:
    """Returns the whole frames at the start of `data`, and how many bytes they take.

    Raises:
        Corrupt: a header has no mark: these bytes are no frames.
    """
    frames: list[Frame] = []
    position = 0
    while position + _HEADER.size <= len(data):
        moment, rank, stream, mark, length = _HEADER.unpack_from(data, position)
        if mark != _MARK:
            raise Corrupt(f"byte {position} starts no frame: this is no log of an attempt, or it was altered")
        end = position + _HEADER.size + length
        if end > len(data):
            break
        frames.append(Frame(moment, stream, rank, data[position + _HEADER.size : end]))
        position = end
    return frames, position


def read(path: Path | str, offset: int = 0, limit: int = 1 << 24) -> tuple[list[Frame], int]:
    """Reads frames from `offset` on, at most about `limit` bytes of them.

    Returns:
        The frames, and the offset to go on from. No file means no output yet: no frames.

    Raises:
        Corrupt: `offset` is not where a frame starts, or the file is no log.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(limit)
            frames, used = decode(data)
            if not frames and len(data) == limit:
                return read(path, offset, limit * 4)
    except FileNotFoundError:
        return [], offset
    except Corrupt as error:
        raise Corrupt(f"{path}, from offset {offset}: {error}") from None
    return frames, offset + used


def follow(path: Path | str, wait: Callable[[], bool], offset: int = 0) -> Iterator[Frame]:
    """Yields frames as they come.

    Args:
        path: the log.
        wait: blocks until there may be more and returns True; False says that the attempt is over, after
            which what is left is yielded and the generator ends.
        offset: where to begin.
    """
    more = True
    while more:
        more = wait()
        while True:
            frames, offset = read(path, offset)
            yield from frames
            if not frames:
                break


class Log:
    """Appends frames to one file, which is made with the first frame.

    A full disk must not end a task: what cannot be written is counted in `lost` (bytes).
    """

    __slots__ = ("_fd", "lost", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.lost = 0
        self._fd = -1

    def append(self, stream: int, rank: int, data: bytes) -> None:
        """Writes one frame, stamped with the time of now."""
        header = _HEADER.pack(time.time_ns(), rank, stream, _MARK, len(data))
        try:
            if self._fd < 0:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            written = os.writev(self._fd, (header, data))
            if written != len(header) + len(data):
                self.lost += len(data)
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        except OSError:
            self.lost += len(data)

    def close(self) -> None:
        """Closes the file; an `append` would open it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
