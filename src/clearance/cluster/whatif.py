"""What if: changes to a fork of the scheduler, and what would come of them."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from clearance.cluster.blocker import Explanation
from clearance.cluster.decision import Bind
from clearance.cluster.event import JobFinished, JobSubmitted, NodeAdded, NodeRemoved
from clearance.cluster.explain import explain
from clearance.cluster.job import Job
from clearance.cluster.node import Node
from clearance.cluster.quantities import GPU, VCORE
from clearance.cluster.queues import ENDLESS
from clearance.errors import UsageError, nearest

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler


class AddNodes(msgspec.Struct, frozen=True):
    """More nodes.

    Attributes:
        n: how many.
        pool: like those of this pool, even if it has none yet, or like the node of this name, in any case; empty: as
            the other fields say.
        like: like the node of this name.
        capacity: where neither is given.
        labels: likewise.
    """

    n: int
    pool: str = ""
    like: str = ""
    capacity: Mapping[str, int | str] = {}
    labels: Mapping[str, str] = {}


class RemoveNode(msgspec.Struct, frozen=True):
    """One node less."""

    name: str


class RaiseMaximum(msgspec.Struct, frozen=True):
    """A maximum is lifted: of a queue, of a user or group in one, or of a limit that lies on no node.

    Attributes:
        label: as explanations name it, `queue root.ml`, `user ana in root.ml`, `pool licences`.
        resource: by name; empty: that of applications, or a limit.
        by: how much; None: without end.
    """

    label: str
    resource: str = ""
    by: int | None = None


class EndJob(msgspec.Struct, frozen=True):
    """A job ends, or is taken back."""

    job: str


class Submit(msgspec.Struct, frozen=True):
    """Somebody submits another job."""

    job: Job


_ADDED = re.compile(r"([1-9][0-9]{0,5})x(?:([1-9][0-9]{0,5})(cpu|gpu)|([A-Za-z0-9][A-Za-z0-9._-]{0,62}))\Z")
_UNIT = {"cpu": VCORE, "gpu": GPU}

Change = AddNodes | RemoveNode | RaiseMaximum | EndJob | Submit


class Estimate(msgspec.Struct, frozen=True):
    """When a job would start.

    Attributes:
        job: its id.
        start: seconds of the driver's clock; None: not as far as estimates tell.
        nodes: where.
        explanation: where it stands after the changes, before time goes on.
    """

    job: str
    start: float | None
    nodes: tuple[str, ...]
    explanation: Explanation


class WhatIf:
    """The scheduler as it would be.

    Args:
        scheduler: that is asked; it stays as it is.
        changes: in order.

    Raises:
        UsageError: a change of something that is not there.
    """

    def __init__(self, scheduler: Scheduler, changes: Sequence[Change]) -> None:
        self.scheduler = scheduler.fork()
        self.made: list[object] = []
        for number, change in enumerate(changes):
            _apply(self.scheduler, change, number)
        if self.scheduler.notices:
            raise UsageError(self.scheduler.notices[0])
        self.made = list(self.scheduler.step(self.scheduler.now))

    def explain(self, job: str) -> Explanation:
        """Says where a job would stand."""
        return explain(self.scheduler, job)

    def estimate(self, job: str, most: int = 100_000) -> Estimate:
        """Lets time go on, by the estimates of what runs, until a job starts.

        Args:
            job: its id.
            most: how many ends are looked at.
        """
        scheduler = self.scheduler
        explanation = explain(scheduler, job)
        made = self.made
        ends = [
            (max(app.ends, scheduler.now), app.number, app.id)
            for app in scheduler.apps.values()
            if app.started is not None and app.ends < float("inf")
        ]
        heapq.heapify(ends)
        for _ in range(most):
            if job in scheduler.apps and scheduler.apps[job].held:
                nodes = {scheduler.nodes.at[held.node].name for held in scheduler.apps[job].held.values()}
                return Estimate(job, scheduler.now, tuple(sorted(nodes)), explanation)
            if not ends or job not in scheduler.apps:
                break
            now, _, ended = heapq.heappop(ends)
            if ended in scheduler.apps:
                scheduler.apply([JobFinished(ended)], now)
            made = list(scheduler.step(now))
            for each in made:
                if isinstance(each, Bind) and (app := scheduler.apps[each.job]).ends < float("inf"):
                    heapq.heappush(ends, (app.ends, app.number, app.id))
        return Estimate(job, None, (), explanation)


def added(text: str) -> AddNodes:
    """Returns nodes as people count them: `4xA100`, of a pool or like a node of that name; `2x16cpu`, `4x8gpu`.

    Raises:
        UsageError: it is not so written.
    """
    match = _ADDED.match(text)
    if match is None:
        raise UsageError(f"nodes {text!r}: write how many and of what, such as 4xA100, 2x16cpu or 4x8gpu")
    if match[3]:
        return AddNodes(int(match[1]), capacity={_UNIT[match[3]]: int(match[2])})
    return AddNodes(int(match[1]), pool=match[4])


def _apply(scheduler: Scheduler, change: Change, number: int) -> None:
    now = scheduler.now
    if isinstance(change, AddNodes):
        like = _like(scheduler, change)
        new = (msgspec.structs.replace(like, name=f"whatif-{number}-{index}") for index in range(change.n))
        scheduler.apply([NodeAdded(node) for node in new], now)
    elif isinstance(change, RemoveNode):
        scheduler.apply([NodeRemoved(change.name)], now)
    elif isinstance(change, EndJob):
        scheduler.apply([JobFinished(change.job)], now)
    elif isinstance(change, Submit):
        scheduler.apply([JobSubmitted(change.job)], now)
    else:
        counters = {counter.label: counter for counter in scheduler.tree.counted()}
        counter = counters.get(change.label)
        limit = scheduler.limits.named.get(change.label)
        if counter is None and limit is None:
            known = [*counters, *scheduler.limits.named]
            raise UsageError(f"there is no {change.label!r}{nearest(change.label, known)}")
        if counter is None:
            assert limit is not None
            limit.more += ENDLESS if change.by is None else change.by
        elif change.resource:
            position = scheduler.space.at(change.resource)
            counter.max[position] = ENDLESS if change.by is None else counter.max[position] + change.by
        else:
            counter.max_applications = ENDLESS if change.by is None else counter.max_applications + change.by
        scheduler.wake_all()


def _like(scheduler: Scheduler, change: AddNodes) -> Node:
    named = scheduler.nodes.named
    if change.like:
        if change.like not in named:
            raise UsageError(f"there is no node {change.like!r}{nearest(change.like, named)}")
        return named[change.like].node
    if change.pool:
        wanted = change.pool.lower()
        for node in (*(state.node for state in named.values()), *(pool.node("") for pool in scheduler.pools)):
            if wanted in (node.pool.lower(), node.name.lower()):
                return node
        pools = {*(pool.name for pool in scheduler.pools), *(state.node.pool for state in named.values())} - {""}
        raise UsageError(f"no node is of pool {change.pool!r}{nearest(change.pool, pools)}: say what one has")
    return Node("", change.capacity, change.labels)
