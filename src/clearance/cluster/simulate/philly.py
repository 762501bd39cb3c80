"""Gang jobs of a GPU cluster as CSV, such as those made of Microsoft's Philly trace (Jeon et al., USENIX ATC 2019).

Rules:

1. Columns: `job`, `queue`, `submit_s`, `gpus`, `duration_s`; others are ignored, but `user` where there is one.
2. A job is a gang of `gpus` members of one GPU each. With `whole` nodes of so many GPUs, a larger job whose GPUs are a
   multiple of that is a gang of members that take a whole node's GPUs each, and a smaller one is a single member.
3. `queue` is one below the root, unless it begins there.
"""

from __future__ import annotations

from collections.abc import Iterable

from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.quantities import GPU
from clearance.cluster.simulate.lines import number, records, whole
from clearance.cluster.simulate.trace import Arrival, Trace

COLUMNS = ("job", "queue", "submit_s", "gpus", "duration_s")


def gang(gpus: int, node: int = 0) -> tuple[TaskGroup, ...]:
    """Returns the one group of a job.

    Args:
        gpus: that it asks for in all.
        node: how many GPUs a node has, where members take as many as they can on one; 0: members of one GPU.
    """
    if node and (gpus <= node or gpus % node == 0):
        each = min(gpus, node)
        return (TaskGroup("worker", gpus // each, {GPU: each}),)
    return (TaskGroup("worker", gpus, {GPU: 1}),)


def read(lines: Iterable[str], source: str = "the trace", node: int = 0) -> Trace:
    """Reads gang jobs.

    Args:
        lines: of the file.
        source: the file, for messages.
        node: see `gang`.

    Raises:
        BadLine: a line is not well formed.
    """
    groups: dict[int, tuple[TaskGroup, ...]] = {}
    arrivals = []
    for line, cells in records(lines, COLUMNS, source):
        gpus = whole(cells["gpus"], "gpus", source, line, 1)
        if gpus not in groups:
            groups[gpus] = gang(gpus, node)
        queue = cells["queue"]
        if queue and not queue.startswith("root."):
            queue = f"root.{queue}"
        arrivals.append(
            Arrival(
                number(cells["submit_s"], "submit_s", source, line),
                number(cells["duration_s"], "duration_s", source, line),
                Job(cells["job"], queue, cells.get("user") or "nobody", task_groups=groups[gpus]),
            )
        )
    arrivals.sort(key=lambda arrival: arrival.submit)
    return Trace(tuple(arrivals))
