"""The openb cluster as nodes and requests of the scheduler, and pods drawn from it."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from clearance.cluster import Job, Node, TaskGroup

Asked = dict[str, int | str]
GPU = "nvidia.com/gpu"


def node_shapes(file: Path) -> Iterator[Asked]:
    """Yields what each node has."""
    with file.open() as lines:
        for row in csv.DictReader(lines):
            yield {"vcore": f"{row['cpu_milli']}m", "memory": f"{row['memory_mib']}Mi", GPU: int(row["gpu"])}


def requests(file: Path) -> Iterator[Asked]:
    """Yields what each pod asks for; `gpu_milli` is a share of one device where it asks for one."""
    with file.open() as lines:
        for row in csv.DictReader(lines):
            count = int(row["num_gpu"])
            asked: Asked = {"vcore": f"{row['cpu_milli']}m", "memory": f"{row['memory_mib']}Mi"}
            yield asked | ({GPU: f"{row['gpu_milli']}m" if count == 1 else count} if count else {})


def gpus(asked: Asked) -> float:
    """Returns how many GPUs are asked for."""
    text = str(asked.get(GPU, 0))
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


def repeated(shapes: Sequence[Asked], count: int) -> list[Node]:
    """Returns so many nodes, the shapes one after the other and again; 600 a rack."""
    return [Node(f"n{index}", shapes[index % len(shapes)], {"rack": f"r{index // 600}"}) for index in range(count)]


def drawn(
    nodes: Sequence[Node], pods: Sequence[Asked], part: float, seed: int, queues: Sequence[str], users: int = 10
) -> list[Job]:
    """Draws pods with replacement until their GPUs are so large a part of what the nodes have."""
    rng = random.Random(seed)
    left = part * sum(int(node.capacity[GPU]) for node in nodes)
    jobs: list[Job] = []
    while left > 0:
        pod = rng.choice(pods)
        left -= gpus(pod)
        user = f"u{rng.randrange(users)}"
        jobs.append(Job(f"j{len(jobs)}", rng.choice(queues), user, task_groups=(TaskGroup("g", 1, pod),)))
    return jobs
