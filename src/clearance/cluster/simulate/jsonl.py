"""Our own format of a trace: one JSON object a line, either a node or a job, with all that the scheduler knows of.

Rules:

1. `{"type":"job","submit":0,"runtime":60,"job":{…}}` and `{"type":"node","node":{…}}`; the fields are those of
   `cluster.job` and `cluster.node`, and whatever is left out has its default.
2. What is written is read back equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from clearance.cluster.job import Job
from clearance.cluster.node import Node
from clearance.cluster.simulate.lines import BadLine
from clearance.cluster.simulate.trace import Arrival, Trace


class JobLine(msgspec.Struct, frozen=True, tag="job", omit_defaults=True, forbid_unknown_fields=True):
    """A line that is a job; see `Arrival`."""

    submit: float
    runtime: float
    job: Job


class NodeLine(msgspec.Struct, frozen=True, tag="node", omit_defaults=True, forbid_unknown_fields=True):
    """A line that is a node."""

    node: Node


_decoder = msgspec.json.Decoder(JobLine | NodeLine)
_encoder = msgspec.json.Encoder()


def read(lines: Iterable[str], source: str = "the trace") -> Trace:
    """Reads a trace.

    Args:
        lines: of the file.
        source: the file, for messages.

    Raises:
        BadLine: a line is no such object.
    """
    arrivals, nodes = [], []
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise BadLine(source, at, f"{error}: write what docs/reference/traces.md shows") from None
        if isinstance(found, NodeLine):
            nodes.append(found.node)
        elif found.submit < 0 or found.runtime < 0:
            raise BadLine(
                source, at, f"submit is {found.submit:g} and runtime {found.runtime:g}: neither may be negative"
            )
        else:
            arrivals.append(Arrival(found.submit, found.runtime, found.job))
    arrivals.sort(key=lambda arrival: arrival.submit)
    return Trace(tuple(arrivals), tuple(nodes))


def write(trace: Trace) -> Iterator[str]:
    """Yields the lines of a trace, each with its line end: nodes first."""
    for node in trace.nodes:
        yield _encoder.encode(NodeLine(node)).decode() + "\n"
    for arrival in trace.arrivals:
        yield _encoder.encode(JobLine(arrival.submit, arrival.runtime, arrival.job)).decode() + "\n"
