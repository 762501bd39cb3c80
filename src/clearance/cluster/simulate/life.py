"""One job of a trace, from its submission to its end."""

from __future__ import annotations

import math

from clearance.cluster.job import Job
from clearance.cluster.simulate.trace import Arrival


class Life:
    """See the module.

    Attributes:
        job: as it was submitted.
        number: in the trace.
        submit: when.
        runtime: in all.
        left: of it.
        since: when it began or went on; infinity: it does not run.
        ends: when it is to end; infinity: it does not run.
        members: that must run for it to go on.
    """

    __slots__ = ("ends", "job", "left", "members", "number", "runtime", "since", "submit")

    def __init__(self, job: Job, number: int, arrival: Arrival) -> None:
        self.job = job
        self.number = number
        self.submit = arrival.submit
        self.runtime = self.left = arrival.runtime
        self.since = self.ends = math.inf
        self.members = sum(group.min_member for group in job.task_groups) or 1
