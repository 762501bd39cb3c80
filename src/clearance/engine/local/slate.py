"""The slate: a memory file that a worker shares with the supervisor, for what neither can afford a message for.

    offset 0   u64   how often the supervisor has read the worker's output or error: it counts before it reads
    offset 8   u64   the number under which the worker is lent now, see `Lent`
    offset 16  u32   length of the `Run` that the worker took last from a controller; 0 for none
    offset 20  u32   its CRC-32
    offset 24        the `Run`

Rules:

1. A worker writes down what it takes, and only then looks whether the loan still counts: if not, it refuses. The
   supervisor ends a loan, and only then looks what was taken. So nothing runs of which the supervisor cannot know.
2. Each access is a system call, which orders it between the two processes. What the supervisor finds half written was
   written after the loan had ended, so it will be refused: it counts as nothing.
"""

from __future__ import annotations

import os
import struct
import zlib

import msgspec

from clearance.engine.local.ipc import Run, encode

LIMIT = 16384  # bytes of a `Run`; a longer one is launched by the supervisor
_READS, _LOAN, _RUN = 0, 8, 16
_HEAD = struct.Struct(">II")
_run = msgspec.msgpack.Decoder(Run)


def make() -> int:
    """Returns the descriptor of a new, empty one."""
    descriptor = os.memfd_create("slate")
    os.ftruncate(descriptor, _RUN + _HEAD.size + LIMIT)
    return descriptor


def put_reads(slate: int, times: int) -> None:
    """The supervisor has read so often, and is about to read."""
    os.pwrite(slate, times.to_bytes(8, "big"), _READS)


def reads(slate: int) -> bytes:
    """Returns how often the supervisor has read, as eight bytes."""
    return os.pread(slate, 8, _READS)


def put_loan(slate: int, loan: int) -> None:
    """The worker is lent under this number from now on."""
    os.pwrite(slate, loan.to_bytes(8, "big"), _LOAN)


def take(slate: int, run: Run) -> bool:
    """The worker takes this; False when the loan is over, and it must not run it."""
    body = encode(run)
    os.pwrite(slate, _HEAD.pack(len(body), zlib.crc32(body)) + body, _RUN)
    if int.from_bytes(os.pread(slate, 8, _LOAN), "big") == run.loan:
        return True
    os.pwrite(slate, bytes(_HEAD.size), _RUN)
    return False


def run_of(slate: int) -> Run | None:
    """Returns what the worker took last; None for nothing."""
    data = os.pread(slate, _HEAD.size + LIMIT, _RUN)
    length, check = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + length]
    return _run.decode(body) if length and zlib.crc32(body) == check else None
