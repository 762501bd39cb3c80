"""The simulator: a trace drives the scheduler itself, and a report says what came of it."""

from clearance.cluster.simulate.faults import Fault, read_faults
from clearance.cluster.simulate.files import read_nodes, read_trace
from clearance.cluster.simulate.jsonl import write
from clearance.cluster.simulate.report import Promises, Report, Summary
from clearance.cluster.simulate.simulation import simulate
from clearance.cluster.simulate.trace import Arrival, Trace

__all__ = [
    "Arrival",
    "Fault",
    "Promises",
    "Report",
    "Summary",
    "Trace",
    "read_faults",
    "read_nodes",
    "read_trace",
    "simulate",
    "write",
]
