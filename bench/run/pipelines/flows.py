"""A flow of many small steps."""

from clearance import flow, task


@task
def add(a: int, b: int) -> int:
    return a + b


@flow
def many(n: int = 1000) -> int:
    total = 0
    for number in range(n):
        total = add(total, number)
    return total
