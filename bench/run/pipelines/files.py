"""One file from task to task. Each end notes the monotonic clock at the border of its own code."""

import os
import time
from pathlib import Path

from clearance import File, dag, task

BLOCK = 1 << 20


def note(place: str, what: str) -> None:
    with open(place, "a") as file:
        file.write(f"{what} {time.monotonic()!r}\n")


@task
def make(mebibytes: int, notes: str, seed: int) -> File:
    block = bytearray(os.urandom(BLOCK))
    with open("made", "wb", buffering=0) as file:
        for number in range(mebibytes):
            block[:16] = number.to_bytes(8, "big") + seed.to_bytes(8, "big")
            file.write(block)
    note(notes, "made")
    return File(Path("made"))


@task
def take(file: File, mebibytes: int, notes: str) -> int:
    note(notes, "taken")
    assert file.path.stat().st_size == mebibytes * BLOCK
    return file.path.stat().st_size


@dag
def files(mebibytes: int, notes: str, seed: int = 0):
    take(make(mebibytes, notes, seed), mebibytes, notes)
