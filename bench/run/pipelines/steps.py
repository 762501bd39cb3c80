"""A chain of no-op tasks; its length and isolation are parameters."""

import time

from clearance import dag, task


@task
def step() -> None:
    pass


@task(isolation="worker")
def warm() -> None:
    pass


@dag
def chain(length: int = 50, worker: bool = False):
    one = warm if worker else step
    last = None
    for number in range(length):
        here = one.named(f"t{number}")()
        if last is not None:
            last >> here
        last = here


@dag
def fan(width: int = 200):
    first = step.named("first")()
    join = step.named("join")()
    for number in range(width):
        first >> step.named(f"t{number}")() >> join


@task(isolation="worker")
def same(x: int) -> None:
    """Does nothing."""


@dag
def wide(count: int = 1000) -> None:
    """Many no-op bodies in warm workers."""
    same.map(x=range(count))


@task
def ten() -> None:
    time.sleep(0.01)


@dag
def tens(length: int = 40):
    last = None
    for number in range(length):
        here = ten.named(f"t{number}")()
        if last is not None:
            last >> here
        last = here
