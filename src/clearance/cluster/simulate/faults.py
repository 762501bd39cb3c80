"""A trace of what goes wrong with nodes: signals, failures, repairs, and tests that fail.

Rules:

1. One JSON object a line, with `type`, `at` (seconds since the trace of jobs begins) and `node`:
   `{"type":"signal","at":60,"node":"n1","kind":"gpu_error","value":79}`, a signal of `cluster.condition`;
   `{"type":"failure","at":60,"node":"n1","until":3600}`: the node is gone, and comes back where `until` is said;
   `{"type":"returned","at":60,"node":"n1"}`: a node that was drained has been repaired;
   `{"type":"preflight","at":60,"node":"n1","passes":false}`: how its preflight jobs end from then on; they pass before.
2. The lines may come in any order; of those of one moment the first in the file is the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import msgspec

from clearance.cluster.simulate.files import text_lines
from clearance.cluster.simulate.lines import BadLine


class Signalled(msgspec.Struct, frozen=True, tag="signal", forbid_unknown_fields=True):
    """Something was seen of a node; see `cluster.event.NodeSignal`."""

    at: float
    node: str
    kind: str
    value: float


class Failure(msgspec.Struct, frozen=True, tag="failure", forbid_unknown_fields=True):
    """A node is gone with what ran on it, until it is back; None: for good."""

    at: float
    node: str
    until: float | None = None


class Returned(msgspec.Struct, frozen=True, tag="returned", forbid_unknown_fields=True):
    """A node that was drained has been repaired; of one that is not, this says nothing."""

    at: float
    node: str


class PreflightResult(msgspec.Struct, frozen=True, tag="preflight", forbid_unknown_fields=True):
    """How the preflight jobs of a node end from now on."""

    at: float
    node: str
    passes: bool


Fault = Signalled | Failure | Returned | PreflightResult
_decoder = msgspec.json.Decoder(Fault)


def read_faults(path: str | Path) -> tuple[Fault, ...]:
    """Reads a file of faults.

    Raises:
        UsageError: the file cannot be read.
        BadLine: one of its lines is not as rule 1 says.
    """
    return parse_faults(text_lines(path), str(path))


def parse_faults(lines: Iterable[str], source: str = "the faults") -> tuple[Fault, ...]:
    """Returns the faults of some lines, in the order of time.

    Args:
        lines: of the file.
        source: the file, for messages.

    Raises:
        BadLine: a line is not as rule 1 says.
    """
    found: list[Fault] = []
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fault = _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise BadLine(source, at, f"{error}: write what docs/reference/traces.md shows") from None
        if not 0 <= fault.at < math.inf:
            raise BadLine(source, at, f"at is {fault.at:g}: write seconds since the trace begins, from 0")
        if isinstance(fault, Failure) and fault.until is not None and not fault.at < fault.until < math.inf:
            raise BadLine(source, at, f"until is {fault.until:g} and at {fault.at:g}: a node comes back after it fails")
        found.append(fault)
    return tuple(sorted(found, key=lambda each: each.at))
