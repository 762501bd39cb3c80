"""How the cluster looked over time, in bounded memory however long the time is.

Rules:

1. A sample is taken at the first event after each step of time. When there are `MOST`, every second one is dropped and
   the step doubles.
2. Fragmentation is the part of the capacity that is free on nodes which hold something: room that no member that needs
   a whole node can use.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clearance.cluster.scheduler import Scheduler
from clearance.cluster.space import CPU_AT, GPU_AT

MOST = 256
_STEP = 600.0


@dataclass(slots=True)
class Samples:
    """One entry of each for every sample.

    Attributes:
        at: seconds.
        utilisation: used by capacity, of GPUs, or of vcores where there are none.
        fragmentation: see rule 2, of the same resource.
        busy: nodes that hold something.
        nodes: that are there.
        running: jobs.
        waiting: jobs.
    """

    at: list[float] = field(default_factory=list)
    utilisation: list[float] = field(default_factory=list)
    fragmentation: list[float] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    def mean(self, values: list[float] | list[int]) -> float:
        """Returns the mean over time of one of the columns: each sample holds until the next."""
        if len(self.at) < 2 or self.at[-1] == self.at[0]:
            return float(values[0]) if values else 0.0
        spans = [after - before for before, after in zip(self.at, self.at[1:], strict=False)]
        return sum(value * span for value, span in zip(values, spans, strict=False)) / (self.at[-1] - self.at[0])

    def thin(self) -> None:
        """Drops every second sample."""
        for column in (
            self.at,
            self.utilisation,
            self.fragmentation,
            self.busy,
            self.nodes,
            self.running,
            self.waiting,
        ):
            del column[1::2]


class Sampler:
    """Takes samples of a scheduler.

    Attributes:
        due: when the next is to be taken.
        samples: so far.
    """

    def __init__(self) -> None:
        self.samples = Samples()
        self.due = float("-inf")
        self._step = _STEP

    def take(self, scheduler: Scheduler, now: float, running: int) -> None:
        """Takes a sample."""
        nodes, samples = scheduler.nodes, self.samples
        at = main_resource(scheduler)
        total, used = nodes.total[at], nodes.used[at]
        empty = nodes.columns.empty()
        busy = len(nodes.named) - len(empty)
        broken = total - used - sum(nodes.at[index].capacity[at] for index in empty)
        samples.at.append(now)
        samples.utilisation.append(used / total if total else 0.0)
        samples.fragmentation.append(broken / total if total else 0.0)
        samples.busy.append(busy)
        samples.nodes.append(len(nodes.named))
        samples.running.append(running)
        samples.waiting.append(len(scheduler.apps) - running)
        if len(samples.at) >= MOST:
            samples.thin()
            self._step *= 2
        self.due = now + self._step


def main_resource(scheduler: Scheduler) -> int:
    """Returns the position of GPUs, or of vcores where no node has a GPU."""
    return GPU_AT if scheduler.nodes.total[GPU_AT] else CPU_AT
