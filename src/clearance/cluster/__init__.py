"""WHERE and WHEN: the capacity desk. Pure: state in, decisions out; no I/O, no clock, no randomness.

`Scheduler` decides for a cluster: queues, gangs, placement, reservations. `Desk` is what the control loop asks on one
machine. What is heavy is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clearance.cluster.answer import Answer, Placement
from clearance.cluster.desk import Desk
from clearance.cluster.job import Job
from clearance.cluster.limits import Limit
from clearance.cluster.task import task_groups

if TYPE_CHECKING:
    from clearance.cluster.condition import FailureRule as FailureRule
    from clearance.cluster.condition import HealthPolicy as HealthPolicy
    from clearance.cluster.condition import HealthRule as HealthRule
    from clearance.cluster.condition import Preflight as Preflight
    from clearance.cluster.config import load as load
    from clearance.cluster.event import BindFailed as BindFailed
    from clearance.cluster.event import ConfigChanged as ConfigChanged
    from clearance.cluster.event import JobFinished as JobFinished
    from clearance.cluster.event import JobSubmitted as JobSubmitted
    from clearance.cluster.event import LimitSet as LimitSet
    from clearance.cluster.event import MemberEvicted as MemberEvicted
    from clearance.cluster.event import MemberFinished as MemberFinished
    from clearance.cluster.event import MemberMoved as MemberMoved
    from clearance.cluster.event import NodeAdded as NodeAdded
    from clearance.cluster.event import NodeChanged as NodeChanged
    from clearance.cluster.event import NodeRemoved as NodeRemoved
    from clearance.cluster.event import NodeReturned as NodeReturned
    from clearance.cluster.event import NodeSignal as NodeSignal
    from clearance.cluster.event import PoolStarting as PoolStarting
    from clearance.cluster.event import Restored as Restored
    from clearance.cluster.job import Affinity as Affinity
    from clearance.cluster.job import TaskGroup as TaskGroup
    from clearance.cluster.job import Toleration as Toleration
    from clearance.cluster.job import Topology as Topology
    from clearance.cluster.node import Node as Node
    from clearance.cluster.node import Taint as Taint
    from clearance.cluster.poolfile import load_pools as load_pools
    from clearance.cluster.pools import Autoscale as Autoscale
    from clearance.cluster.pools import Headroom as Headroom
    from clearance.cluster.pools import Pool as Pool
    from clearance.cluster.scheduler import Scheduler as Scheduler
    from clearance.cluster.whatif import AddNodes as AddNodes
    from clearance.cluster.whatif import EndJob as EndJob
    from clearance.cluster.whatif import RaiseMaximum as RaiseMaximum
    from clearance.cluster.whatif import RemoveNode as RemoveNode
    from clearance.cluster.whatif import Submit as Submit

_HOME = {
    "load": "config",
    "load_pools": "poolfile",
    "Scheduler": "scheduler",
    **dict.fromkeys(("Affinity", "TaskGroup", "Toleration", "Topology"), "job"),
    **dict.fromkeys(("Node", "Taint"), "node"),
    **dict.fromkeys(
        (
            "BindFailed", "ConfigChanged", "JobFinished", "JobSubmitted", "LimitSet", "MemberEvicted", "MemberFinished",
            "MemberMoved", "NodeAdded", "NodeChanged", "NodeRemoved", "NodeReturned", "NodeSignal", "PoolStarting",
            "Restored",
        ),
        "event",
    ),
    **dict.fromkeys(("Autoscale", "Headroom", "Pool"), "pools"),
    **dict.fromkeys(("FailureRule", "HealthPolicy", "HealthRule", "Preflight"), "condition"),
    **dict.fromkeys(("AddNodes", "EndJob", "RaiseMaximum", "RemoveNode", "Submit"), "whatif"),
}  # fmt: skip

__all__ = ["Answer", "Desk", "Job", "Limit", "Placement", "task_groups", *_HOME]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
