"""The Standard Workload Format, version 2.2 (Feitelson, Parallel Workloads Archive).

Rules:

1. A line is 18 numbers between blanks: job, submit time, wait time, run time, allocated processors, CPU time, used
   memory, requested processors, requested time, requested memory, status, user, group, executable, queue, partition,
   preceding job, think time. -1 is unknown.
2. Lines that begin with `;` are comments; `; MaxProcs: 128` and `; MaxNodes: 16` tell of the machine.
3. A job asks for the requested processors, or, where these are unknown, for the allocated ones: a gang of as many
   members of one vcore. The requested time is its own estimate.
4. Left out are jobs whose run time or processors are unknown, and lines of status 2, 3 and 4, which are parts of a job
   that has a line as a whole.
5. User 7 is `user7`, group 3 is `group3`; queue 2 is `root.queue2`, and an unknown one is none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.node import Node
from clearance.cluster.quantities import VCORE
from clearance.cluster.simulate.lines import BadLine, number
from clearance.cluster.simulate.trace import Arrival, Trace

FIELDS = (
    "job number", "submit time", "wait time", "run time", "allocated processors", "average CPU time", "used memory",
    "requested processors", "requested time", "requested memory", "status", "user", "group", "executable", "queue",
    "partition", "preceding job", "think time",
)  # fmt: skip
JOB, SUBMIT, RUN, ALLOCATED, PROCESSORS, TIME, STATUS, USER, GROUP, QUEUE = 0, 1, 3, 4, 7, 8, 10, 11, 12, 14
_PARTS = (2, 3, 4)
_HEADER = re.compile(r";\s*(MaxProcs|MaxNodes)\s*:\s*([0-9]+)")


def read(lines: Iterable[str], source: str = "the trace") -> Trace:
    """Reads a log or a model.

    Args:
        lines: of the file.
        source: the file, for messages.

    Raises:
        BadLine: a line that is no comment is not 18 numbers.
    """
    machine: dict[str, int] = {}
    left_out: Counter[str] = Counter()
    groups: dict[int, tuple[TaskGroup, ...]] = {}
    arrivals = []
    for at, line in enumerate(lines, 1):
        if line.startswith(";"):
            if found := _HEADER.match(line):
                machine[found[1]] = int(found[2])
            continue
        cells = line.split()
        if not cells:
            continue
        if len(cells) != len(FIELDS):
            raise BadLine(source, at, f"{len(cells)} fields: a line has {len(FIELDS)}, and -1 where one is unknown")
        values = [number(cell, name, source, at, -1) for cell, name in zip(cells, FIELDS, strict=True)]
        processors = int(values[PROCESSORS] if values[PROCESSORS] > 0 else values[ALLOCATED])
        if values[STATUS] in _PARTS:
            left_out["a part of a job"] += 1
        elif values[RUN] < 0:
            left_out["its run time is unknown"] += 1
        elif processors <= 0:
            left_out["its processors are unknown"] += 1
        else:
            if processors not in groups:
                groups[processors] = (TaskGroup("processor", processors, {VCORE: 1}),)
            arrivals.append(Arrival(max(values[SUBMIT], 0.0), values[RUN], _job(values, groups[processors])))
    arrivals.sort(key=lambda arrival: arrival.submit)
    return Trace(tuple(arrivals), _nodes(machine, source), left_out)


def _job(values: list[float], groups: tuple[TaskGroup, ...]) -> Job:
    user, group, queue = int(values[USER]), int(values[GROUP]), int(values[QUEUE])
    return Job(
        str(int(values[JOB])),
        f"root.queue{queue}" if queue >= 0 else "",
        f"user{user}" if user >= 0 else "nobody",
        (f"group{group}",) if group >= 0 else (),
        task_groups=groups,
        runtime_estimate=values[TIME] if values[TIME] > 0 else None,
    )


def _nodes(machine: dict[str, int], source: str) -> tuple[Node, ...]:
    """Returns the nodes that the header tells of; one of all processors where it does not say how many there are."""
    processors = machine.get("MaxProcs", 0)
    if not processors:
        return ()
    count = max(min(machine.get("MaxNodes", 1), processors), 1)
    each, more = divmod(processors, count)
    return tuple(Node(f"node{at}", {VCORE: each + (at < more)}) for at in range(count))
