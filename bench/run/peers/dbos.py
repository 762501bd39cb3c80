"""DBOS: one workflow of no-op steps, each recorded before the next begins; no process of its own for any.

A step is the wall time of the workflow by the steps, after a workflow that warms up. `children` runs each task as a
child workflow instead (it has its own state, and can be retried and cancelled alone, as a task of ours can).
Arguments: the system database's URL.
"""

import sys
import time

from dbos import DBOS

LENGTH = 200

DBOS(config={"name": "chain", "system_database_url": sys.argv[1], "log_level": "ERROR", "run_admin_server": False})


@DBOS.step()
def step(number: int) -> int:
    return number


@DBOS.workflow()
def child(number: int) -> int:
    return number


@DBOS.workflow()
def chain(length: int) -> float:
    begin = time.perf_counter()
    for number in range(length):
        step(number)
    return (time.perf_counter() - begin) / length


@DBOS.workflow()
def children(length: int) -> float:
    begin = time.perf_counter()
    for number in range(length):
        child(number)
    return (time.perf_counter() - begin) / length


DBOS.launch()
chain(20)
children(20)
print(f"step_s: {min(chain(LENGTH) for _ in range(3))!r}", flush=True)
print(f"child_workflow_s: {min(children(LENGTH) for _ in range(3))!r}", flush=True)
DBOS.destroy()
