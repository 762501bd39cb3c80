"""What the local engine offers: this machine as one node, or the virtual nodes of the settings on it.

Rules:

1. A virtual node of which no memory is said has an equal share of this machine's.
2. The GPUs of the machine are dealt out to the virtual nodes in their order: device 0 of the second node is the one
   after the last of the first.
"""

from __future__ import annotations

import os
import socket

from clearance.engine.base import Node
from clearance.settings import Settings
from clearance.types.nodes import parse_nodes


def nodes_of(settings: Settings) -> list[Node]:
    """Returns the nodes that the local engine offers under these settings."""
    virtual = parse_nodes(settings.nodes)
    if not virtual:
        return [_this_machine(settings)]
    memory = _memory() // len(virtual)
    return [
        Node(
            node.name,
            {
                "cpu": node.cpu_millis,
                "memory": memory if node.memory is None else node.memory,
                "gpu": 1000 * node.gpus,
            },
        )
        for node in virtual
    ]


def first_devices(settings: Settings) -> dict[str, int]:
    """Returns of each node the number of its device 0 on this machine."""
    found, number = {}, 0
    for node in parse_nodes(settings.nodes):
        found[node.name] = number
        number += node.gpus
    return found


def _this_machine(settings: Settings) -> Node:
    """Returns this machine: CPUs (of the settings, or those this process may use), memory, NVIDIA devices."""
    capacity = {"cpu": settings.workers * 1000 or _cpu_millis(), "memory": _memory()}
    try:
        capacity["gpu"] = 1000 * len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        capacity["gpu"] = 0
    return Node(socket.gethostname(), capacity)


def _cpu_millis() -> int:
    allowed = len(os.sched_getaffinity(0)) * 1000
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return allowed if quota == "max" else min(allowed, int(quota) * 1000 // int(period))
    except (OSError, ValueError):
        return allowed


def _memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            return min(total, int(file.read()))
    except (OSError, ValueError):
        return total
