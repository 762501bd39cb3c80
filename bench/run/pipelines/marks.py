"""A chain of 16 tasks that count; each leaves a mark in a file when it begins, so that doing it twice is seen."""

import os
import time

from clearance import dag, task


def count(marks: str, number: int, seconds: float, before: int = 0) -> int:
    line = f"{number} {time.monotonic()!r}\n".encode()
    file = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line)
    os.close(file)
    time.sleep(seconds)
    return before + number


@task
def fresh(marks: str, number: int, seconds: float, before: int = 0) -> int:
    return count(marks, number, seconds, before)


@task(isolation="worker")
def warm(marks: str, number: int, seconds: float, before: int = 0) -> int:
    return count(marks, number, seconds, before)


@dag
def marks(file: str, length: int = 16, seconds: float = 0.01, worker: bool = False):
    one = warm if worker else fresh
    last = one.named("t1")(file, 1, seconds)
    for number in range(2, length + 1):
        last = one.named(f"t{number}")(file, number, seconds, last)
