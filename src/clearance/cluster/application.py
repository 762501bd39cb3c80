"""Applications: jobs as they live, from submission to end, in the states that YuniKorn gives them.

New → Accepted → Running → Completing → Completed, or Rejected, Failing → Failed; Resuming after a gang that timed
out in soft style.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.limits import Shares
from clearance.cluster.nodestate import Held
from clearance.cluster.queues import Counter, Key, Lane, QueueState
from clearance.cluster.shape import Shape
from clearance.cluster.unit import Unit

if TYPE_CHECKING:
    from clearance.cluster.state import State


class AppState(StrEnum):
    """The states of an application, in YuniKorn's words."""

    NEW = "New"
    ACCEPTED = "Accepted"
    RUNNING = "Running"
    COMPLETING = "Completing"
    COMPLETED = "Completed"
    REJECTED = "Rejected"
    FAILING = "Failing"
    FAILED = "Failed"
    RESUMING = "Resuming"


class Group:
    """The members of one group.

    Attributes:
        group: as it was submitted.
        shape: of each member.
        next: the rank of the next new member.
        again: ranks that were lost and are asked for again, smallest last.
    """

    __slots__ = ("again", "group", "next", "shape")

    def __init__(self, group: TaskGroup, shape: Shape) -> None:
        self.group = group
        self.shape = shape
        self.next = 0
        self.again: list[int] = []

    def rank(self) -> int:
        """Returns the rank of the member that starts now."""
        if self.again:
            return self.again.pop()
        self.next += 1
        return self.next - 1

    def copy(self) -> Group:
        """Returns a copy that changes on its own."""
        other = Group(self.group, self.shape)
        other.next, other.again = self.next, list(self.again)
        return other


class Request:
    """What an application waits for: its gang, or members of one group beyond the minimum, one by one.

    Attributes:
        app: who asks.
        unit: what starts at once.
        group: of the members; None for the gang.
        left: how many such units are asked for.
        since: when it was asked.
        lane: where it waits; None: it does not.
        key: its place there.
        number: counts up in the application.
    """

    __slots__ = ("app", "group", "key", "lane", "left", "number", "since", "unit")

    def __init__(self, app: Application, unit: Unit, group: Group | None, left: int, since: float) -> None:
        self.app = app
        self.number = app.asked
        app.asked += 1
        self.unit = unit
        self.group = group
        self.left = left
        self.since = since
        self.lane: Lane | None = None
        self.key: Key = (0, 0.0, ())


class Application:
    """One job.

    Attributes:
        job: as it was submitted.
        number: counts up with each submission.
        order: its place among equals.
        asked: how often it has asked.
        queue: the leaf.
        limits: what its members count against: limits on its user and groups first, then the queues from the leaf up.
        shares: what it takes of limits that lie on no node.
        elastic: whether it asks for members beyond the minimum of its groups.
        state: see the module.
        groups: its groups.
        gang: those of them that have a minimum and start together.
        requests: what it waits for.
        held: its members on nodes, by id.
        submitted: when, in seconds of the driver's clock.
        started: when its first member started; None: not yet.
        ends: when it is expected to end.
        counted: whether the limits on applications count it.
        owner: the scheduler whose copy it is; see `cluster.fork`.
        promised: the first start that was reserved for it; None: none.
    """

    __slots__ = (
        "asked", "counted", "elastic", "ends", "gang", "groups", "held", "job", "limits", "number", "order", "owner",
        "promised", "queue", "requests", "shares", "started", "state", "submitted", "usage",
    )  # fmt: skip

    def __init__(
        self, job: Job, number: int, queue: QueueState, limits: tuple[Counter, ...], shares: Shares,
        groups: list[Group], now: float,
    ) -> None:  # fmt: skip
        self.job = job
        self.number = number
        self.order = (*job.order, number)
        self.queue = queue
        self.limits = limits
        self.shares = shares
        self.state = AppState.NEW
        self.groups = groups
        self.gang = [group for group in groups if group.group.min_member]
        self.elastic = any((group.group.max_member or 0) > group.group.min_member for group in groups)
        self.asked = 0
        self.requests: list[Request] = []
        self.held: dict[str, Held] = {}
        self.submitted = now
        self.started: float | None = None
        self.ends = float("inf")
        self.counted = False
        self.owner: State | None = None
        self.usage: dict[int, int] = {}
        self.promised: float | None = None

    @property
    def id(self) -> str:
        return self.job.id

    def copy(self, queue: QueueState, limits: tuple[Counter, ...], shares: Shares, owner: State) -> Application:
        """Returns a copy that changes on its own, in another tree; it waits for nothing."""
        other = Application.__new__(Application)
        other.job, other.number, other.order, other.elastic = self.job, self.number, self.order, self.elastic
        other.queue, other.limits, other.shares, other.owner = queue, limits, shares, owner
        other.state, other.submitted, other.started, other.ends = self.state, self.submitted, self.started, self.ends
        other.counted, other.promised, other.asked = self.counted, self.promised, self.asked
        groups = {group: group.copy() for group in self.groups}
        other.groups, other.gang = list(groups.values()), [groups[group] for group in self.gang]
        other.held, other.usage, other.requests = dict(self.held), dict(self.usage), []
        return other

    def share(self) -> float:
        """Returns the fair share of the application within its queue."""
        return max((self.usage.get(position, 0) * rate for position, rate in self.queue.rates), default=0.0)
