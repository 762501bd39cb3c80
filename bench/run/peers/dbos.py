"""DBOS: no-op tasks, in the three ways in which it runs them, each durable before the next begins.

- `step`: steps of one workflow, called in its process, one row each; `child_workflow`: a workflow each, in the same
  process, with a state of its own.
- `queued`: a task handed to another process that is warm, by a queue, as worker isolation does it. Each is enqueued
  when the one before has given its result. With the shortest poll that it takes, and as it comes (once a second).

A step is the wall time by the tasks, after some that warm up. Arguments: the system database's URL.
"""

import os
import subprocess
import sys
import time

from dbos import DBOS, DBOSClient

LENGTH = 200
QUEUED = 10
POLL = 0.001

DBOS(
    config={
        "name": "chain",
        "system_database_url": sys.argv[1],
        "log_level": "ERROR",
        "run_admin_server": False,
        "application_version": "1",
    }
)


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


@DBOS.workflow()
def away(number: int) -> int:
    return os.getpid()


def queued(url: str, options: dict, wait: dict) -> float:
    """Returns seconds a task that another process runs."""
    client = DBOSClient(system_database_url=url)
    begin = 0.0
    for number in range(-1, QUEUED):
        if not number:
            begin = time.perf_counter()
        if client.enqueue(options, number).get_result(**wait) == os.getpid():
            sys.exit("no other process ran it")
    return (time.perf_counter() - begin) / QUEUED


if sys.argv[2:]:  # the process that runs what is queued
    DBOS.launch()
    DBOS.register_queue("quick", polling_interval_sec=POLL)
    DBOS.register_queue("plain")
    print("up", flush=True)
    time.sleep(3600)

worker = subprocess.Popen([sys.executable, "-P", __file__, sys.argv[1], "worker"], stdout=subprocess.PIPE)
worker.stdout.readline()
for queue, wait in (("quick", {"polling_interval_sec": POLL}), ("plain", {})):
    asked = {"queue_name": queue, "workflow_name": "away", "app_version": "1"}
    print(f"queued_{queue}_s: {queued(sys.argv[1], asked, wait)!r}", flush=True)
worker.kill()
worker.wait()

DBOS.launch()
chain(20)
children(20)
print(f"step_s: {min(chain(LENGTH) for _ in range(3))!r}", flush=True)
print(f"child_workflow_s: {min(children(LENGTH) for _ in range(3))!r}", flush=True)
DBOS.destroy()
