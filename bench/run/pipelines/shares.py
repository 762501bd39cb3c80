"""Many tasks that hold a CPU for a while, in queues that the bench names."""

import time

from clearance import Resources, dag, task


@task(resources=Resources(cpu=1))
def hold(seconds: float, number: int) -> None:
    time.sleep(seconds)


@dag
def many(seconds: float, count: int):
    hold.partial(seconds=seconds).map(number=list(range(count)))
