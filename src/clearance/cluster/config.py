"""The configuration of the queues: read from a file or a text, or made for a machine that has none.

Two versions of it are compared by `changes`, which is what a reload applies. YAML is imported where it is read.
"""

from __future__ import annotations

from pathlib import Path

from clearance.cluster.changes import Change, changes
from clearance.cluster.defaults import default
from clearance.cluster.model import (
    DEFAULT_PARTITION,
    DEFAULT_QUEUE,
    RECOVERY_QUEUE,
    ROOT,
    ChildTemplate,
    Filter,
    Limit,
    PartitionConfig,
    PlacementRule,
    QueueConfig,
    SchedulerConfig,
)
from clearance.cluster.problems import InvalidQueues, Problem
from clearance.cluster.properties import QueueProperties

__all__ = [
    "DEFAULT_PARTITION",
    "DEFAULT_QUEUE",
    "RECOVERY_QUEUE",
    "ROOT",
    "Change",
    "ChildTemplate",
    "Filter",
    "InvalidQueues",
    "Limit",
    "PartitionConfig",
    "PlacementRule",
    "Problem",
    "QueueConfig",
    "QueueProperties",
    "SchedulerConfig",
    "changes",
    "default",
    "load",
]


def load(source: str | Path) -> SchedulerConfig:
    """Reads a configuration.

    Args:
        source: the path of a file; or its text, which is told from a path by a line end or a colon in it.

    Raises:
        UsageError: the file cannot be read.
        InvalidQueues: with everything that is wrong with it.
    """
    from clearance.cluster.document import read_file
    from clearance.cluster.parse import parse

    if isinstance(source, str) and ("\n" in source or ":" in source):
        return parse(source)
    return parse(read_file(str(source)), str(source))
