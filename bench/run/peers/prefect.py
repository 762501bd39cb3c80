"""Prefect: a flow of no-op tasks in a chain, on its own temporary server with SQLite, each result persisted.

Tasks run inside the flow's process: no process of its own for any. A step is the time from the first task's start to
the end of the flow, by the tasks; the flow runs once to warm up.
"""

import time

from prefect import flow, task

LENGTH = 20
begun: list[float] = []


@task(persist_result=True)
def step(number: int) -> int:
    begun.append(time.perf_counter())
    return number + 1


@flow(persist_result=True)
def chain(length: int) -> int:
    last = 0
    for _ in range(length):
        last = step(last)
    return last


if __name__ == "__main__":
    chain(3)
    taken = []
    for _ in range(2):
        begun.clear()
        chain(LENGTH)
        taken.append((time.perf_counter() - begun[0]) / LENGTH)
    print(f"step_s: {min(taken)!r}", flush=True)
