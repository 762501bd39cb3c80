"""DAGs that wait for an asset; the first line of their task notes the time."""

import os
import time

from clearance import asset, context, dag, task

IMAGES = asset("bench://lake/images")


@task
def note() -> float:
    return time.time()


@task(isolation="worker")
def count() -> str:
    return f"{os.getpid()} {context.key}"


consumer = dag("consumer", note, schedule=IMAGES, mode="each")
drain = dag("drain", count, schedule=IMAGES, max_active_runs=2)
each = dag("each", count, schedule=IMAGES, mode="each", max_active_runs=4)
