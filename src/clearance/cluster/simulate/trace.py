"""A trace: who asks for what, when, and how long it runs; and, where the trace says so, on which nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from clearance.cluster.job import Job
from clearance.cluster.node import Node


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One job of a trace.

    Attributes:
        submit: when, in seconds since the trace begins.
        runtime: seconds from its start to its end.
        job: what is asked for.
    """

    submit: float
    runtime: float
    job: Job


@dataclass(frozen=True, slots=True)
class Trace:
    """See the module.

    Attributes:
        arrivals: in the order in which they come; what is read from a file is a tuple, what is made may be made lazily.
        nodes: that the trace tells of; empty: it tells of none.
        left_out: how many of its jobs cannot be simulated, by reason.
    """

    arrivals: Iterable[Arrival]
    nodes: tuple[Node, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
