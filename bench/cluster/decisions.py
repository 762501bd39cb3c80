"""How many decisions the scheduler makes in a CPU second: a decision is one pod bound; `apply` and `step` are timed.

- `openb`: pods of the openb trace, drawn with replacement by a seed until their GPUs are 110 % of what 1,000, 7,500 or
  50,000 of its nodes have (the nodes repeat); 100 queues, each each user limited; each pod is a job of its own.
- `whole`: gangs of 1 to 64 whole nodes, until 110 % of 7,500 nodes are asked for.
- `unique`: every pod asks for something else; numpy, and numba where it is installed.
- `gang_512`: one gang of 512 whole nodes within one rack at 7,500; `p99`: of single decisions, one step each.
- `bait`: four gangs of 60 whose members arrive in turns, on 100 nodes: one starts, none in part.
- `parked`: 900 asks of higher priority that cannot be placed now, ahead of 1,000 trivial ones.
- `explain`, `fork`: at 7,500 nodes and 40,000 pods.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.cluster.inputs import data
from bench.cluster.openb import Asked, drawn, node_shapes, repeated, requests
from bench.common import show

from clearance.cluster import Job, JobFinished, JobSubmitted, Node, NodeAdded, Scheduler, TaskGroup, Topology, load
from clearance.cluster.decision import Bind, Decision

SEED = 0
QUEUES = [f"root.q{index}" for index in range(100)]
ROUNDS = 3


def main() -> int:
    nodes_file, pods_file = data("openb_nodes"), data("openb_pods")
    if nodes_file is None or pods_file is None:
        return 0
    shapes, pods = list(node_shapes(nodes_file)), list(requests(pods_file))
    missed = 0
    for count, bar in ((1_000, 15_000), (7_500, 12_000), (50_000, 5_000)):
        nodes = repeated(shapes, count)
        jobs = drawn(nodes, pods, 1.1, SEED, QUEUES)
        rounds = ROUNDS if count < 50_000 else 1
        missed += _row(f"cluster.openb_{count}", max(_rate(nodes, jobs) for _ in range(rounds)), bar)
    nodes = repeated(shapes, 7_500)
    missed += _row("cluster.whole_node_gangs", max(_rate(*_whole(7_500)) for _ in range(ROUNDS)), 9_200)
    for backing, bar in (("numpy", 2_000), ("numba", 20_000)):
        if find_spec(backing) is None:
            print(f"not measured: {backing} is not installed")
            missed += 1
            continue
        jobs = _unique(10_000)
        _rate(nodes, jobs[:10], backing)
        missed += _row(f"cluster.unique_{backing}", max(_rate(nodes, jobs, backing) for _ in range(ROUNDS)), bar)
    missed += _gang_of_512()
    missed += _p99(nodes, drawn(nodes, pods, 1.0, SEED, QUEUES)[:10_000])
    missed += _bait()
    missed += _parked()
    missed += _questions(nodes, pods)
    return missed


def _row(key: str, value: float, bar: float, unit: str = "/s") -> int:
    """Prints a figure that must not be below its bar; returns whether it is."""
    show(key, round(value), f">= {bar:,}{unit}", value >= bar)
    return int(value < bar)


def _below(key: str, value: float, bar: float, unit: str) -> int:
    show(key, value, f"<= {bar:g} {unit}", value <= bar)
    return int(value > bar)


def _job(number: int, rng: random.Random, group: TaskGroup) -> Job:
    return Job(f"j{number}", rng.choice(QUEUES), f"u{rng.randrange(10)}", task_groups=(group,))


def _config() -> str:
    queues = "".join(
        f"""
    - name: q{index}
      resources: {{guaranteed: {{vcore: 100}}, max: {{vcore: 100000000}}}}
      limits: [{{limit: each, users: ["*"], maxresources: {{vcore: 100000000}}, maxapplications: 1000000}}]"""
        for index in range(len(QUEUES))
    )
    return f"""
partitions:
- name: default
  nodesortpolicy: {{type: binpacking}}
  queues:
  - name: root
    submitacl: "*"
    queues:{queues}
"""


CONFIG = load(_config())


def _scheduler(nodes: Sequence[Node], backing: str | None = None) -> Scheduler:
    scheduler = Scheduler(CONFIG, backing=backing)
    scheduler.apply([NodeAdded(node) for node in nodes], 0)
    scheduler.step(0)
    return scheduler


def _rate(nodes: Sequence[Node], jobs: Sequence[Job], backing: str | None = None) -> float:
    """Returns pods bound in a CPU second."""
    scheduler = _scheduler(nodes, backing)
    events = [JobSubmitted(job) for job in jobs]
    begun = time.process_time()
    scheduler.apply(events, 1)
    made = scheduler.step(1)
    spent = time.process_time() - begun
    if scheduler.notices:
        raise SystemExit(scheduler.notices[0])
    return _bound(made) / spent


def _bound(made: Sequence[Decision]) -> int:
    return sum(len(each.members) for each in made if isinstance(each, Bind))


def _whole(count: int) -> tuple[list[Node], list[Job]]:
    rng = random.Random(SEED)
    nodes = [Node(f"n{index}", {"vcore": 96, "memory": "768Gi", "nvidia.com/gpu": 8}) for index in range(count)]
    jobs: list[Job] = []
    left = 1.1 * count
    while left > 0:
        size = rng.choice((1, 2, 4, 8, 16, 32, 64))
        left -= size
        jobs.append(_job(len(jobs), rng, TaskGroup("g", size, {"vcore": 90, "memory": "700Gi", "nvidia.com/gpu": 8})))
    return nodes, jobs


def _unique(count: int) -> list[Job]:
    rng = random.Random(SEED)
    return [
        _job(number, rng, TaskGroup("g", 1, {"vcore": f"{1000 + number}m", "memory": f"{1000 + number}Mi"}))
        for number in range(count)
    ]  # fmt: skip


def _gang_of_512() -> int:
    nodes = [
        Node(f"n{index}", {"vcore": 96, "memory": "768Gi", "nvidia.com/gpu": 8}, {"rack": f"r{index // 600}"})
        for index in range(7_500)
    ]
    group = TaskGroup("g", 512, {"vcore": 90, "memory": "700Gi", "nvidia.com/gpu": 8}, topology=Topology("rack"))
    spent = []
    for round in range(5):
        scheduler = _scheduler(nodes)
        begun = time.process_time()
        scheduler.apply([JobSubmitted(Job("a", f"root.q{round}", "u", task_groups=(group,)))], 1)
        made = scheduler.step(1)
        spent.append(time.process_time() - begun)
        assert _bound(made) == 512
    return _below("cluster.gang_512_ms", 1000 * statistics.median(spent), 20, "ms")


def _timed(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def _p99(nodes: Sequence[Node], jobs: Sequence[Job]) -> int:
    scheduler = _scheduler(nodes)
    spent = []
    for now, job in enumerate(jobs, 1):
        begun = time.process_time()
        scheduler.apply([JobSubmitted(job)], now)
        scheduler.step(now)
        spent.append(time.process_time() - begun)
    return _below("cluster.decision_p99_ms", 1000 * statistics.quantiles(spent, n=100)[98], 5, "ms")


def _bait() -> int:
    """Members of four gangs of 60 arrive in turns, as much as a gang can: each is told of when its last has come."""
    nodes = [Node(f"n{index}", {"vcore": 8, "nvidia.com/gpu": 1}) for index in range(100)]
    scheduler = _scheduler(nodes)
    jobs = [Job(f"g{n}", f"root.q{n}", "u", task_groups=(TaskGroup("g", 60, {"nvidia.com/gpu": 1}),)) for n in range(4)]
    made: list[Decision] = []
    for now, job in enumerate(jobs, 1):
        scheduler.apply([JobSubmitted(job)], now)
        made += scheduler.step(now)
    held = [len(app.held) for app in scheduler.apps.values()]
    whole, part = sum(each == 60 for each in held), sum(0 < each < 60 for each in held)
    show("cluster.bait_complete", whole, "= 1", whole == 1)
    show("cluster.bait_partial", part, "= 0", part == 0)
    return int(whole != 1) + int(part != 0)


def _parked() -> int:
    nodes = [Node(f"n{index}", {"vcore": 16, "nvidia.com/gpu": 1}) for index in range(100)]
    scheduler = _scheduler(nodes)
    scheduler.apply(
        [
            JobSubmitted(Job(f"f{n}", "root.q0", "u", task_groups=(TaskGroup("g", 1, {"nvidia.com/gpu": 1}),)))
            for n in range(100)
        ],
        1,
    )
    scheduler.step(1)
    asks = [
        Job(
            f"h{n}",
            f"root.q{n % 100}",
            "u",
            priority=9,
            task_groups=(TaskGroup("g", 1, {"vcore": f"{n + 1}m", "nvidia.com/gpu": 1}),),
        )
        for n in range(900)
    ]
    trivial = [
        Job(f"t{n}", f"root.q{n % 100}", "u", task_groups=(TaskGroup("g", 1, {"vcore": 1}),)) for n in range(1_000)
    ]
    begun = time.process_time()
    scheduler.apply([JobSubmitted(job) for job in (*asks, *trivial)], 2)
    placed = _bound(scheduler.step(2))
    spent = time.process_time() - begun
    show("cluster.parked_placed", placed, "= 1,000", placed == 1_000)
    return int(placed != 1_000) + _below("cluster.parked_s", spent, 2, "s")


def _questions(nodes: Sequence[Node], pods: Sequence[Asked]) -> int:
    scheduler = _scheduler(nodes)
    scheduler.apply([JobSubmitted(job) for job in drawn(nodes, pods, 1.1, SEED, QUEUES)], 1)
    scheduler.step(1)
    waiting = [app.id for app in scheduler.apps.values() if app.requests]
    show("cluster.questions_pods", len(scheduler.members))
    spent = [_timed(lambda job=job: scheduler.explain(job)) for job in waiting[:100]]
    missed = _below("cluster.explain_ms", 1000 * max(spent), 10, "ms")
    forks = [_timed(lambda: scheduler.what_if([])) for _ in range(5)]
    scheduler.apply([JobFinished(next(iter(scheduler.apps)))], 2)
    return missed + _below("cluster.fork_ms", 1000 * statistics.median(forks), 100, "ms")


if __name__ == "__main__":
    sys.exit(main())
