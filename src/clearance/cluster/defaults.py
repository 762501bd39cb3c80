"""The queues that hold where nobody has written any."""

from __future__ import annotations

from clearance.cluster.acl import Acl
from clearance.cluster.model import (
    DEFAULT_PARTITION,
    DEFAULT_QUEUE,
    ROOT,
    PartitionConfig,
    QueueConfig,
    SchedulerConfig,
)
from clearance.cluster.quantities import Amounts


def default(maximum: Amounts | None = None) -> SchedulerConfig:
    """Returns what holds where there is no file: everybody may submit to the one queue `root.default`.

    Args:
        maximum: of `root.default`, by name; None: whatever the nodes have.
    """
    queue = QueueConfig(DEFAULT_QUEUE, max=dict(maximum or {}))
    root = QueueConfig(ROOT, (queue,), parent=True, submit_acl=Acl(everybody=True))
    return SchedulerConfig((PartitionConfig(DEFAULT_PARTITION, root),))
