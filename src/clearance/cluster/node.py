"""Nodes as the driver tells of them: what they have, where they are, and whom they keep away.

Rules:

1. Every label whose key is a level of the topology names the node's domain there (`rack`: `r12`); `node` is the level
   of the nodes themselves.
2. A node with GPUs has `devices` of them, each of 1000 thousandths; `nvidia.com/gpu` follows from that.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "PreferNoSchedule", "NoExecute"


class Taint(msgspec.Struct, frozen=True):
    """Keeps away whoever does not tolerate it (Kubernetes' rules)."""

    key: str
    value: str = ""
    effect: str = NO_SCHEDULE


class Node(msgspec.Struct, frozen=True):
    """One machine, or one virtual node.

    Attributes:
        name: unique in the cluster.
        capacity: by name, written as in `queues.yaml`: `96` of `vcore`, `"1Ti"` of `memory`, `8` of `nvidia.com/gpu`.
        labels: levels of the topology among them.
        taints: that jobs must tolerate.
        pool: the autoscaling pool that it is of; empty: none.
        schedulable: False for a cordoned one.
    """

    name: str
    capacity: Mapping[str, int | str] = {}
    labels: Mapping[str, str] = {}
    taints: tuple[Taint, ...] = ()
    pool: str = ""
    schedulable: bool = True
