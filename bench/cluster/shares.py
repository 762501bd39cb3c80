"""Two users in two queues with guarantees of 2 to 1: what each gets of the machine in 60 s of real tasks.

The local engine offers one virtual node of 3 CPUs; each user submits more tasks than fit in that time, in fresh
processes, of 0.15 s and of 0.4 s. The second user comes 5 s later; the 60 s begin 5 s after that. What a queue got are
the seconds in which its tasks ran, from start to end.
"""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, fresh_home, show

from clearance.engine.local.engine import LocalEngine
from clearance.graph.bundle import make_bundle, unpack
from clearance.graph.loading import load
from clearance.graph.model import encode
from clearance.run.controller import Controller
from clearance.run.host.orders import ApplyQueues
from clearance.run.submission import Submission
from clearance.settings import Settings
from clearance.store.database import LEASE, Database
from clearance.types.digest import hex_of

SECONDS, FIRST = 60.0, 5.0
QUEUES = """
partitions:
- name: default
  queues:
  - name: root
    queues:
    - name: a
      submitacl: ana
      resources: {guaranteed: {vcore: 2}}
    - name: b
      submitacl: bob
      resources: {guaranteed: {vcore: 1}}
"""


def main() -> None:
    """Prints the figures."""
    with fresh_home() as home:
        settings = Settings(home=home, nodes="1x3cpu")
        settings.make_home()
        with Database(settings.database) as database:
            database.migrate()
            database.write("lease_create", LEASE)
            database.write("lease_take", 1, "bench", "", time.time() + 600, LEASE, 0)
            engine = LocalEngine(settings)
            try:
                measure(settings, database, engine)
            finally:
                engine.close(stop=True)


def measure(settings: Settings, database: Database, engine: LocalEngine) -> None:
    """Runs both users' tasks, and prints what each got."""
    controller = Controller(settings, database, engine, 1)
    controller.recover()
    controller.cluster.obey(ApplyQueues(QUEUES), "root")
    file = PIPELINES / "shares.py"
    bundle = make_bundle(file)
    unpack(bundle.data, settings.home / "bundles" / hex_of(bundle.digest), bundle.digest)
    dag = load(file, "many")

    def submit(user: str, queue: str, seconds: float, count: int) -> None:
        graph = msgspec.structs.replace(dag.graph(seconds=seconds, count=count), queue=f"root.{queue}")
        controller.submit(Submission(graph=encode(graph), bundle=bundle.digest, module=bundle.module, principal=user))

    began = time.time()
    submit("ana", "a", 0.15, 2000)
    drive(controller, engine, FIRST)
    submit("bob", "b", 0.4, 1000)
    drive(controller, engine, FIRST)
    start = time.time()
    drive(controller, engine, SECONDS)
    end = time.time()
    got = [ran(database, run, start, end) for run in (1, 2)]
    for run in list(controller.runs):
        controller.cancel(run)
    drive(controller, engine, 2.0)
    share = got[0] / sum(got)
    show("cluster.shares.seconds", round(end - start, 1))
    show("cluster.shares.busy", sum(got) / (3 * (end - start)))
    show("cluster.shares.of_ana", share)
    off = abs(share - 2 / 3) / (2 / 3)
    show("cluster.shares.off", off, "<= 0.05", off <= 0.05)
    assert time.time() - began < 600


def drive(controller: Controller, engine: LocalEngine, seconds: float) -> None:
    """Lets the controller work for so long."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        due = controller.turn()
        select.select([engine.fileno()], [], [], max(0.0, min(left, due)))


def ran(database: Database, run: int, start: float, end: float) -> float:
    """Returns the seconds of a window in which tasks of a run ran."""
    total = 0.0
    for row in database.rows("attempts_outside", run, 1 << 40):
        begun, ended = row[6], row[7]
        if begun:
            total += max(0.0, min(ended or end, end) - max(begun, start))
    return total


if __name__ == "__main__":
    main()
