"""The openb traces of a GPU cluster shared by devices (Weng et al., USENIX ATC 2023): pods and nodes as CSV.

Rules:

1. A pod is a job of one member: `cpu_milli` thousandths of a vcore, `memory_mib` MiB, and `num_gpu` whole GPUs, or, of
   one GPU, `gpu_milli` thousandths.
2. It comes at `creation_time` and runs from `scheduled_time`, or, where there is none, from then, to `deletion_time`.
   Left out are pods that never ran, so that nobody knows for how long they would.
3. `gpu_spec` is the model that it needs, a label of the nodes; a choice among several (`A|B`) cannot be expressed here
   and is refused.
4. `qos` is a label of the job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.node import Node
from clearance.cluster.quantities import GPU, MEMORY, VCORE
from clearance.cluster.simulate.lines import BadLine, number, records, whole
from clearance.cluster.simulate.trace import Arrival, Trace

POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time")
NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
MODEL = "gpu-model"
_DEVICE, _MIB = 1000, 2**20


def read(lines: Iterable[str], source: str = "the trace") -> Trace:
    """Reads pods.

    Args:
        lines: of the file.
        source: the file, for messages.

    Raises:
        BadLine: a line is not well formed, or asks for what rule 3 refuses.
    """
    left_out: Counter[str] = Counter()
    arrivals = []
    for line, cells in records(lines, POD_COLUMNS, source):
        created = number(cells["creation_time"], "creation_time", source, line)
        if not cells["deletion_time"]:
            left_out["it has no end"] += 1
            continue
        began = number(cells.get("scheduled_time") or cells["creation_time"], "scheduled_time", source, line)
        ended = number(cells["deletion_time"], "deletion_time", source, line)
        if ended < began:
            raise BadLine(source, line, f"deletion_time {ended:g} is before it began at {began:g}: it must not be")
        labels = {"qos": cells["qos"]} if cells.get("qos") else {}
        job = Job(cells["name"], task_groups=(_group(cells, source, line),), labels=labels)
        arrivals.append(Arrival(created, ended - began, job))
    arrivals.sort(key=lambda arrival: arrival.submit)
    return Trace(tuple(arrivals), (), left_out)


def read_nodes(lines: Iterable[str], source: str = "the nodes") -> tuple[Node, ...]:
    """Reads nodes.

    Raises:
        BadLine: a line is not well formed.
    """
    found = []
    for line, cells in records(lines, NODE_COLUMNS, source):
        capacity: dict[str, int | str] = {
            VCORE: f"{whole(cells['cpu_milli'], 'cpu_milli', source, line)}m",
            MEMORY: whole(cells["memory_mib"], "memory_mib", source, line) * _MIB,
        }
        gpus = whole(cells["gpu"], "gpu", source, line)
        if gpus:
            capacity[GPU] = gpus
        found.append(Node(cells["sn"], capacity, {MODEL: cells["model"]} if cells["model"] else {}))
    return tuple(found)


def _group(cells: dict[str, str], source: str, line: int) -> TaskGroup:
    resources: dict[str, int | str] = {
        VCORE: f"{whole(cells['cpu_milli'], 'cpu_milli', source, line)}m",
        MEMORY: whole(cells["memory_mib"], "memory_mib", source, line) * _MIB,
    }
    count = whole(cells["num_gpu"], "num_gpu", source, line)
    share = whole(cells["gpu_milli"], "gpu_milli", source, line)
    if share > _DEVICE:
        raise BadLine(source, line, f"gpu_milli is {share}: it is a part of one GPU, at most {_DEVICE}")
    if count:
        resources[GPU] = f"{share}m" if count == 1 and share else count
    model = cells.get("gpu_spec", "")
    if "|" in model:
        raise BadLine(source, line, f"gpu_spec is {model!r}: a choice of models cannot be simulated; name one, or none")
    return TaskGroup("pod", 1, resources, node_selector={MODEL: model} if model else {})
