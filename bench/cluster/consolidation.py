"""What consolidation frees, measured by executing its plan: each move is begun, reported, and looked at again.

The nodes with GPUs of the openb trace are filled by `policy=fair` with those of its pods that ask for GPUs, drawn with
replacement by a seed, until 95 % of the GPUs are taken, or ten draws of 50 in a row find no room. Then pods drawn by
the same seed end until 50 % are.

- `consolidation.freed`: of 1,213 nodes, how many are empty afterwards that were not before; `moves_per_node`: moves
  for each of them; `infeasible`: nodes that had given more than they have, devices included, after any move.
- `consolidation.pass_s`: planning alone at 7,278 nodes, which are the same six times.
"""

from __future__ import annotations

import csv
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.cluster.inputs import data
from bench.common import show

from clearance.cluster import Job, JobFinished, JobSubmitted, MemberMoved, Node, NodeAdded, Scheduler, TaskGroup, load
from clearance.cluster.consolidate import Plan
from clearance.cluster.space import DEVICE

SEED = 0
CONFIG = load("partitions: [{name: default, queues: [{name: root, submitacl: '*', queues: [{name: all}]}]}]")
CHECKPOINT = 600.0


def main() -> int:
    nodes_file, pods_file = data("openb_nodes"), data("openb_pods")
    if nodes_file is None or pods_file is None:
        return 0
    shapes, pods = _nodes(nodes_file), _pods(pods_file)
    scheduler = _churned(shapes, pods)
    empty = _empty(scheduler)
    plan = scheduler.plan_consolidation(max_moves=100_000)
    moves, infeasible = _execute(scheduler, plan)
    freed = _empty(scheduler) - empty
    show("cluster.consolidation.empty_before", empty)
    show("cluster.consolidation.freed", freed, ">= 490", freed >= 490)
    per_node = moves / max(freed, 1)
    show("cluster.consolidation.moves_per_node", per_node, "<= 2.8", per_node <= 2.8)
    show("cluster.consolidation.infeasible", infeasible, "= 0", infeasible == 0)
    large = _churned(shapes * 6, pods)
    begun = time.process_time()
    planned = large.plan_consolidation(max_moves=100_000)
    spent = time.process_time() - begun
    show("cluster.consolidation.pass_planned", len(planned.freed))
    show("cluster.consolidation.pass_s", spent, "<= 10 s", spent <= 10)
    return int(freed < 490) + int(per_node > 2.8) + int(infeasible > 0) + int(spent > 10)


def _nodes(file: Path) -> list[dict[str, int | str]]:
    with file.open() as lines:
        return [
            {"vcore": f"{row['cpu_milli']}m", "memory": f"{row['memory_mib']}Mi", "nvidia.com/gpu": int(row["gpu"])}
            for row in csv.DictReader(lines) if int(row["gpu"])
        ]  # fmt: skip


def _pods(file: Path) -> list[dict[str, int | str]]:
    found: list[dict[str, int | str]] = []
    with file.open() as lines:
        for row in csv.DictReader(lines):
            if count := int(row["num_gpu"]):
                gpu: int | str = f"{row['gpu_milli']}m" if count == 1 else count
                found.append(
                    {"vcore": f"{row['cpu_milli']}m", "memory": f"{row['memory_mib']}Mi", "nvidia.com/gpu": gpu}
                )
    return found


def _churned(shapes: Sequence[dict[str, int | str]], pods: Sequence[dict[str, int | str]]) -> Scheduler:
    """Returns a cluster after churn: filled to 95 %, emptied to 50 %."""
    rng = random.Random(SEED)
    scheduler = Scheduler(CONFIG, "fair")
    scheduler.apply([NodeAdded(Node(f"n{index}", shape)) for index, shape in enumerate(shapes)], 0)
    number = fruitless = 0
    while _taken(scheduler) < 0.95 and fruitless < 10:
        before = len(scheduler.members)
        batch = [
            Job(
                f"j{number + more}", "root.all", "u", task_groups=(TaskGroup("g", 1, rng.choice(pods)),),
                checkpoint_interval=CHECKPOINT,
            ) for more in range(50)
        ]  # fmt: skip
        number += len(batch)
        scheduler.apply([JobSubmitted(job) for job in batch], number)
        scheduler.step(number)
        fruitless = 0 if len(scheduler.members) > before else fruitless + 1
    show("cluster.consolidation.filled", _taken(scheduler))
    scheduler.apply([JobFinished(app.id) for app in list(scheduler.apps.values()) if not app.held], number)
    running = sorted(scheduler.apps)
    rng.shuffle(running)
    while _taken(scheduler) > 0.5:
        scheduler.apply([JobFinished(running.pop())], number)
        scheduler.step(number)
    return scheduler


def _taken(scheduler: Scheduler) -> float:
    gpu = scheduler.space.at("nvidia.com/gpu")
    return scheduler.nodes.used[gpu] / scheduler.nodes.total[gpu]


def _empty(scheduler: Scheduler) -> int:
    return sum(not state.held for state in scheduler.nodes.named.values())


def _execute(scheduler: Scheduler, plan: Plan) -> tuple[int, int]:
    """Makes the moves of a plan as a driver would; returns how many, and how often a node was given too much."""
    moves = infeasible = 0
    while begun := scheduler.next_moves(plan):
        for move in begun:
            infeasible += _infeasible(scheduler, move.target)
            scheduler.apply([MemberMoved(move.member, move.target)], scheduler.now + 0.01)
            infeasible += _infeasible(scheduler, move.target)
            moves += 1
        scheduler.step(scheduler.now)
    if scheduler.notices:
        raise SystemExit(scheduler.notices[0])
    return moves, infeasible


def _infeasible(scheduler: Scheduler, name: str) -> bool:
    """Whether a node has given more than it has, recomputed from who is on it."""
    state = scheduler.nodes.named[name]
    used, devices = [0] * len(state.capacity), [DEVICE] * len(state.devices)
    for held in state.held.values():
        for position, amount in held.shape.usage:
            used[position] += amount
        for number in held.devices:
            devices[number] -= held.shape.share or DEVICE
    return any(each > have for each, have in zip(used, state.capacity, strict=True)) or min(devices, default=0) < 0


if __name__ == "__main__":
    sys.exit(main())
