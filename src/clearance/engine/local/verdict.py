"""How an attempt ended: one decision from what its processes wrote, how they ended, and what was asked of them.

Rules, first match wins (pure: no I/O):

1. Every rank spooled a success: `success`, whatever the exit codes and whatever was asked: the work is done.
2. It was being ended on purpose (`timeout`, `cancelled`, `evicted`, `lost`): that outcome.
3. `failure`, told by the rank that failed first: its spooled failure if it wrote one, else its signal or exit code.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from clearance.engine.base import Failure, Finished, Launch, Usage
from clearance.engine.local.ipc import Spooled
from clearance.engine.local.processes import describe_status


class End(msgspec.Struct, frozen=True):
    """How one process ended.

    Attributes:
        status: as `wait4` gives it; -1 when the process never came to be or was lost with its zygote.
        record: what it spooled.
        cpu_seconds: what it and its descendants used.
        peak_memory: bytes.
    """

    status: int
    record: Spooled | None
    cpu_seconds: float = 0.0
    peak_memory: int = 0


def judge(launch: Launch, ends: Sequence[End], first: int, outcome: str, reason: str) -> Finished:
    """Decides.

    Args:
        launch: what was asked.
        ends: one a rank.
        first: the rank that failed first; 0 when none did.
        outcome: what it was being ended for; empty when it ended by itself.
        reason: a sentence on why it was being ended.
    """
    usage = Usage(round(sum(end.cpu_seconds for end in ends), 6), sum(end.peak_memory for end in ends))
    if all(end.record is not None and end.record.failure is None for end in ends):
        record = ends[0].record
        return Finished(launch.attempt, "success", record.result if record else None, None, usage)
    if outcome and outcome != "failure":
        return Finished(launch.attempt, outcome, None, Failure(outcome, reason, rank=first), usage)
    end = ends[first]
    if end.record is not None and end.record.failure is not None:
        failure = end.record.failure
    elif end.status < 0:
        failure = Failure("exit", reason or "its process never started", rank=first)
    else:
        kind, message = describe_status(end.status)
        failure = Failure(kind, message, rank=first)
    if launch.gang > 1:
        failure = msgspec.structs.replace(
            failure, message=f"rank {first} of {launch.gang}: {failure.message}", rank=first
        )
    return Finished(launch.attempt, "failure", None, failure, usage)
