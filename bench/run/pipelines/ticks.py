"""Schedules of every second, with catch-up and without."""

from clearance import dag, every, task


@task(isolation="worker")
def tick() -> None:
    return None


newest = dag("newest", tick, schedule=every("1s"))
every_one = dag("every_one", tick, schedule=every("1s"), catchup=True)
