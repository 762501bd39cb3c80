"""How well a node is, and what makes it less so: conditions, signals, and the rules between them.

Rules:

1. A signal is a reading (`neighbour_fill` is 0.93) or an occurrence (`gpu_error` 79). A rule that names values looks
   for occurrences; one that names a limit looks at readings, and is calm again when a reading is within it.
2. What a rule says is done in the order of `test`, `cordon`, `drain`; the heaviest that was said holds.
3. Failed attempts count against a node only where attempts fail more often there than elsewhere: a job that fails
   everywhere says nothing about nodes.

Sources: NVIDIA, "Xid Errors" (48, 64, 74, 79, 95, 119, 120, 140: the device or its link is gone until a reset or
repair; 13, 31, 43, 45 come of the program and say nothing about the node); arp(7), `gc_thresh3`; inotify(7).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum, StrEnum

import msgspec

from clearance.cluster.node import NO_SCHEDULE, PREFER_NO_SCHEDULE, Node, Taint
from clearance.cluster.pools import check_number
from clearance.errors import UsageError, nearest

GPU_ERROR = "gpu_error"
HEARTBEAT = "heartbeat_age"
ATTEMPT = "attempt_failed"
NEIGHBOURS = "neighbour_fill"
IP_POOL = "ip_pool_left"
INOTIFY = "inotify_left"
SIGNALS = (GPU_ERROR, HEARTBEAT, ATTEMPT, NEIGHBOURS, IP_POOL, INOTIFY)

USER = "clearance"  # who asks for preflight jobs
PREFLIGHT = "clearance.dev/preflight"
SUSPECTED = "clearance.dev/suspect"
PROBATION = "clearance.dev/probation"


class Condition(StrEnum):
    """How well a node is.

    `suspect` takes work, with a lower score; `testing` takes only its preflight job; `cordoned` takes nothing new and
    keeps what it has; `draining` loses what it has; `drained` is empty and waits to be repaired; `probation` takes
    work, with a lower score.
    """

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    TESTING = "testing"
    CORDONED = "cordoned"
    DRAINING = "draining"
    DRAINED = "drained"
    PROBATION = "probation"


class Action(IntEnum):
    """What a rule says is to be done, the heaviest last."""

    TEST = 1
    CORDON = 2
    DRAIN = 3


class HealthRule(msgspec.Struct, frozen=True):
    """When something is done about a node.

    Attributes:
        signal: one of `SIGNALS`, or any other that the driver tells.
        then: what is done.
        limit: readings from here on are bad; None: `values` says what is.
        below: readings from `limit` downwards are bad instead.
        values: occurrences that are bad.
        count: how many bad ones there must be.
        window: within how many seconds.
    """

    signal: str
    then: Action
    limit: float | None = None
    below: bool = False
    values: tuple[int, ...] = ()
    count: int = 1
    window: float = 600.0

    def bad(self, value: float) -> bool:
        """Whether a value of the signal is one that this is about."""
        if self.limit is None:
            return value in self.values
        return value <= self.limit if self.below else value >= self.limit

    def check(self) -> None:
        """Looks whether it can be.

        Raises:
            UsageError: it cannot.
        """
        where = f"health rule for {self.signal!r}"
        if (self.limit is None) is (not self.values) or (self.limit is not None and not math.isfinite(self.limit)):
            raise UsageError(f"{where}: give it a limit, or values, and not both")
        if self.count < 1:
            raise UsageError(f"{where} has count {self.count}: write a whole number from 1")
        check_number(where, "window", self.window)


class FailureRule(msgspec.Struct, frozen=True):
    """When failed attempts count against a node; see rule 3.

    Attributes:
        then: what is done.
        count: how many attempts must have failed on it.
        times: how many times the part elsewhere the part that failed must be.
        window: within how many seconds.
    """

    then: Action = Action.TEST
    count: int = 5
    times: float = 3.0
    window: float = 3600.0

    def check(self) -> None:
        """Looks whether it can be.

        Raises:
            UsageError: it cannot.
        """
        if self.count < 1 or not (math.isfinite(self.times) and self.times >= 1):
            raise UsageError(
                f"health rule for failures has count {self.count} and times {self.times}: write at least 1 of both"
            )
        check_number("health rule for failures", "window", self.window)


class Preflight(msgspec.Struct, frozen=True):
    """The job that tests a node.

    Attributes:
        resources: that it asks for, by name.
        timeout: seconds within which it must have started.
        seconds: that it takes, as far as is known.
        new: whether nodes are tested when they come.
        command: words of a command that decides; none: the driver's own test.
    """

    resources: Mapping[str, int | str] = msgspec.field(default_factory=lambda: {"vcore": 1})
    timeout: float = 600.0
    seconds: float = 60.0
    new: bool = True
    command: tuple[str, ...] = ()

    def check(self) -> None:
        """Looks whether it can be.

        Raises:
            UsageError: it cannot.
        """
        check_number("preflight", "timeout", self.timeout)
        check_number("preflight", "seconds", self.seconds)


_GONE = (48, 64, 74, 79, 95, 119, 120, 140)
RULES = (
    HealthRule(GPU_ERROR, Action.DRAIN, values=_GONE),
    HealthRule(HEARTBEAT, Action.CORDON, limit=60.0),
    HealthRule(HEARTBEAT, Action.DRAIN, limit=300.0),
    HealthRule(NEIGHBOURS, Action.CORDON, limit=0.9, count=2),
    HealthRule(IP_POOL, Action.CORDON, limit=0.02, below=True, count=2),
    HealthRule(INOTIFY, Action.CORDON, limit=0.05, below=True, count=2),
)


class HealthPolicy(msgspec.Struct, frozen=True):
    """What is done about nodes that are not well. Times are in seconds.

    Attributes:
        rules: all that hold.
        failures: of attempts; None: they do not count.
        preflight: None: nothing is tested.
        calm_seconds: without anything bad, after which a cordoned or suspect node is tried again.
        probation_seconds: without anything bad, after which a node is healthy again.
        most_out: how many nodes may be out at once, a number or a part such as `10%`; one always may.
    """

    rules: tuple[HealthRule, ...] = RULES
    failures: FailureRule | None = FailureRule()
    preflight: Preflight | None = None
    calm_seconds: float = 300.0
    probation_seconds: float = 3600.0
    most_out: int | str = "10%"

    def check(self) -> None:
        """Looks whether it can be.

        Raises:
            UsageError: it cannot.
        """
        for rule in self.rules:
            rule.check()
        for each in (self.failures, self.preflight):
            if each is not None:
                each.check()
        check_number("health", "calm_seconds", self.calm_seconds)
        check_number("health", "probation_seconds", self.probation_seconds)
        self.cap(100)

    def cap(self, nodes: int) -> int:
        """Returns how many of so many nodes may be out at once.

        Raises:
            UsageError: `most_out` is neither a number nor a part.
        """
        text = str(self.most_out)
        digits = text.removesuffix("%")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10) or (text != digits and int(digits) > 100):
            raise UsageError(f"health has most_out {text!r}: write a number of nodes, or a part such as 10%")
        return max(int(digits) if text == digits else nodes * int(digits) // 100, 1)

    def known(self, signal: str) -> None:
        """Looks whether there is such a signal.

        Raises:
            UsageError: no rule is about it, and it is none of `SIGNALS`.
        """
        names = {*SIGNALS, *(rule.signal for rule in self.rules)}
        if signal not in names:
            near = nearest(signal, sorted(names))
            raise UsageError(f"there is no signal {signal!r}{near}: tell one of {', '.join(sorted(names))}")


_TAINTS = {
    Condition.SUSPECT: Taint(SUSPECTED, effect=PREFER_NO_SCHEDULE),
    Condition.TESTING: Taint(PREFLIGHT, effect=NO_SCHEDULE),
    Condition.PROBATION: Taint(PROBATION, effect=PREFER_NO_SCHEDULE),
}
_OURS = frozenset(taint.key for taint in _TAINTS.values())


def bare(node: Node) -> Node:
    """Returns a node without the taints of its condition."""
    if not any(taint.key in _OURS for taint in node.taints):
        return node
    return msgspec.structs.replace(node, taints=tuple(taint for taint in node.taints if taint.key not in _OURS))


def tainted(node: Node, condition: Condition) -> Node:
    """Returns a node with the taint of a condition, and of no other."""
    node, taint = bare(node), _TAINTS.get(condition)
    return node if taint is None else msgspec.structs.replace(node, taints=(*node.taints, taint))
