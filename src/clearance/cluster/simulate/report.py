"""What a simulation tells: how long jobs waited, how well the cluster was used, and which promises were kept."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from clearance.cluster.simulate.samples import Samples

NEVER_STARTED = math.inf
_SHORTEST = 10.0


@dataclass(frozen=True, slots=True)
class Summary:
    """Of many lengths of time: mean, percentiles (nearest rank) and the longest, in seconds."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0

    @staticmethod
    def of(values: Iterable[float]) -> Summary:
        """Returns the summary of some values; of none all is 0."""
        ordered = sorted(values)
        if not ordered:
            return Summary()
        count = len(ordered)

        def rank(part: float) -> float:
            return ordered[max(math.ceil(part * count) - 1, 0)]

        return Summary(count, math.fsum(ordered) / count, rank(0.5), rank(0.9), rank(0.99), ordered[-1])


@dataclass(frozen=True, slots=True)
class Promises:
    """The starts that were reserved for jobs when each became the first (`cluster.backfill`).

    Attributes:
        made: how many.
        broken: jobs that started later.
        worst: by how many seconds at most.
    """

    made: int = 0
    broken: int = 0
    worst: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """See the module. Seconds and shares, unless an attribute says otherwise.

    Attributes:
        submitted: jobs of the trace.
        finished: that ran to their end.
        rejected: that the scheduler did not take.
        unstarted: that waited still when nothing happened any more.
        jct: from submission to end (job completion time).
        wait: from submission to start.
        slowdown: mean of the bounded slowdown, jct by runtime of at least 10 s (Feitelson).
        wait_by_size: of wait, by the members of the gang, in powers of two: `8` stands for 5 to 8.
        utilisation: used by capacity over time, by name of the resource.
        fragmentation: mean over time; see `samples`.
        fairness: Jain's index of the queues' mean bounded slowdown (Jain, Chiu and Hawe, 1984); 1: all alike.
        moves: members that were preempted, moved or lost.
        drained: nodes that were drained for their health.
        cordoned: nodes that were cordoned for it.
        failed_nodes: nodes that were gone with what ran on them.
        faults_missed: faults of nodes that were not there at that time, and so did not happen.
        lost_hours: member-hours of work since the last checkpoint, which those lost who left, and which is done again.
        node_hours: of all nodes that were there, or on their way, from the first submission on.
        pool_hours: the same by pool; those of no pool under the empty name.
        cost: of all of them, in the currency of the pools; an hour of a node of no pool is 1.
        busy_node_hours: of nodes that held something, by the samples.
        makespan: from the first submission to the last end.
        promises: see there.
        events: that the scheduler was told, nodes apart.
        cpu_seconds: of the simulation.
        events_per_s: events by these.
        digest: of all decisions: that of a live scheduler that is told the same.
        samples: over time.
        starts: by number of the job in the trace; infinity: it never started.
    """

    submitted: int
    finished: int
    rejected: int
    unstarted: int
    jct: Summary
    wait: Summary
    slowdown: float
    wait_by_size: Mapping[int, Summary]
    utilisation: Mapping[str, float]
    fragmentation: float
    fairness: float
    moves: int
    drained: int
    cordoned: int
    failed_nodes: int
    faults_missed: int
    lost_hours: float
    node_hours: float
    pool_hours: Mapping[str, float]
    cost: float
    busy_node_hours: float
    makespan: float
    promises: Promises
    events: int
    digest: str
    cpu_seconds: float = field(compare=False)
    events_per_s: float = field(compare=False)
    samples: Samples = field(compare=False, repr=False)
    starts: Sequence[float] = field(compare=False, repr=False)

    def later_than(self, other: Report) -> float:
        """Returns the share of jobs that started later than in another simulation of the same trace."""
        later = sum(mine > theirs for mine, theirs in zip(self.starts, other.starts, strict=True))
        return later / len(self.starts) if self.starts else 0.0

    def plain(self) -> dict[str, Any]:
        """Returns the report as data for JSON, without the starts."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "starts"}


def by_size(sizes: Sequence[int], waits: Sequence[float]) -> dict[int, Summary]:
    """Returns waits by the power of two that a size does not exceed; infinite ones are left out."""
    found: dict[int, array[float]] = {}
    for size, wait in zip(sizes, waits, strict=True):
        if wait < NEVER_STARTED:
            found.setdefault(1 << max(size - 1, 0).bit_length(), array("d")).append(wait)
    return {size: Summary.of(found[size]) for size in sorted(found)}


def jain(values: Sequence[float]) -> float:
    """Returns Jain's index of fairness: between one by their number and 1; 1 where there are none."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def bounded_slowdown(jct: float, runtime: float) -> float:
    """Returns how many times longer a job was there than it ran, short ones counted as 10 s."""
    return max(jct / max(runtime, _SHORTEST), 1.0)
