"""WHERE and WHEN: the capacity desk. Pure: state in, decisions out; no I/O, no clock, no randomness.

The simplest honest desk: the nodes' resources, gangs all or nothing, priorities, then first come first served; and
limits by name.
"""

from clearance.cluster.ask import Ask, Decision, Limit, Placement
from clearance.cluster.desk import Desk

__all__ = ["Ask", "Decision", "Limit", "Placement", "Desk"]
