"""WHERE and WHEN: the capacity desk. Pure: state in, decisions out; no I/O, no clock, no randomness.

The simplest honest desk: the nodes' resources, gangs all or nothing, priorities, then first come first served.
"""

from clearance.cluster.ask import Ask, Decision, Placement
from clearance.cluster.scheduler import Scheduler

__all__ = ["Ask", "Decision", "Placement", "Scheduler"]
