"""The lives of jobs: they are submitted or restored, lose members and ask again, and end.

Rules:

1. A job finds its queue by the placement rules; the same queue, user, groups and tags find the same place.
2. Of lost members each is asked for again. Where nothing of a gang runs any more, all of it that has not finished is
   asked for at once, in whatever order its members were lost.
3. A gang that could not start in time ends as its style says: the job fails, or its members start one by one.
4. A gang that is restored without some of its members has failed: the others are to leave, and all of it asks again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from clearance.cluster import event as events
from clearance.cluster.application import Application, AppState, Group, Request
from clearance.cluster.decision import Preempt, Reject
from clearance.cluster.job import SOFT, Job, Topology, check_job
from clearance.cluster.nodestate import Held
from clearance.cluster.possible import impossible
from clearance.cluster.queues import Counter, QueueState
from clearance.cluster.rules import Rejected, Submitted, created, place
from clearance.cluster.unit import Part, Unit
from clearance.cluster.victim import victim
from clearance.cluster.waiting import Waiting
from clearance.errors import ClearanceError, UsageError

SEATS = 100_000
UNKNOWN = 1 << 20  # longer than any length that is known


class Lives(Waiting):
    """See the module."""

    def _submitted(self, event: events.JobSubmitted) -> None:
        job = event.job
        if job.id in self.apps or job.id in self.ended:
            raise UsageError(f"job {job.id!r} was submitted already: give the new one another id")
        try:
            app = self._application(job, forced=False)
        except ClearanceError as error:
            self._refuse(job, str(error))
            return
        self._admit(app)
        if self.nodes.named or self.pools:
            for request in app.requests:
                if (reason := impossible(self, app, request.unit)) is not None:
                    self._reject(app, reason)
                    return

    def submit_forced(self, job: Job) -> None:
        """Takes a job of the scheduler's own, whatever the placement rules say.

        Raises:
            ClearanceError: it is not well formed.
        """
        self._admit(self._application(job, forced=True))

    def take_back(self, app: Application) -> None:
        """Ends a job of the scheduler's own."""
        self._end(app, AppState.FAILED, "it was taken back")

    def _admit(self, app: Application) -> None:
        self._enlist(app)
        if app.gang and app.job.timeout is not None:
            self._timers[app.id] = self.now + app.job.timeout
        self.ask_for_all(app)

    def ask_for_all(self, app: Application) -> None:
        """Lets an application that holds nothing wait for its gang, or for its members where it has none."""
        app.state = AppState.ACCEPTED
        if app.gang or not app.groups:
            parts = tuple(
                Part(group.shape, group.group.min_member, group.group.topology, group.group.anti_affinity)
                for group in app.gang
            )
            self._ask(Request(app, self._unit(app, parts), None, 1, self.now))
        else:
            self.ask_for_more(app)

    def _enlist(self, app: Application) -> None:
        """Counts an application that comes."""
        self.apps[app.id] = app
        for queue in app.queue.above:
            queue.jobs += 1

    def _application(self, job: Job, forced: bool, where: str = "") -> Application:
        """Returns a job as an application of its queue: that where it ran, else one that the rules find.

        Raises:
            ClearanceError: no queue takes it, or it is not well formed.
        """
        check_job(job)
        groups = []
        for group in job.task_groups:
            most = group.min_member if group.max_member is None else group.max_member
            if group.min_member < 0 or most < max(group.min_member, 1):
                raise UsageError(
                    f"job {job.id!r}, group {group.name!r}: min_member is {group.min_member} and max_member "
                    f"{group.max_member}: ask for at least one member, and for no fewer than the minimum"
                )
            groups.append(Group(group, self.shapes.of(group, f"job {job.id}, group {group.name}")))
        if len(groups) > 1 and len({group.group.name for group in groups}) < len(groups):
            raise UsageError(f"job {job.id!r}: give each of its groups a name of its own")
        if not groups and not job.limits:
            raise UsageError(f"job {job.id!r}: give it at least one group, or a limit to wait for")
        if where and self.tree.is_leaf(where):
            queue = self.tree.queues[where]
            limits: tuple[Counter, ...] = (*self.tree.counters(queue, job.user, job.groups), *queue.above)
        else:
            queue, limits = self._seat(job, forced)
        if len(self.space.names) > len(self.nodes.total):
            self._widen()
        if not groups:
            limits = ()
        return Application(job, next(self.numbers), queue, limits, self.limits.join(job.limits), groups, self.now)

    def _seat(self, job: Job, forced: bool) -> tuple[QueueState, tuple[Counter, ...]]:
        """Returns the leaf of a job, and everything with a maximum that its members count against.

        Raises:
            UsageError: no queue takes it.
        """
        key = (job.queue, job.user, job.groups, tuple(job.tags.items()) if job.tags else (), forced)
        seat = self._seats.get(key)
        if seat is None:
            submitted = Submitted(job.user, job.groups, job.queue, job.tags, forced)
            found = place(self.partition.placement_rules, self.tree, submitted)
            if isinstance(found, Rejected):
                raise UsageError(f"job {job.name!r}: {found}")
            for path in found.created:
                self.tree.create(created(self.partition, path, leaf=path == found.queue))
            queue = self.tree.queues[found.queue]
            seat = queue, (*self.tree.counters(queue, job.user, job.groups), *queue.above)
            if len(self._seats) >= SEATS:
                self._seats.clear()
            self._seats[key] = seat
        return seat

    def ask_for_more(self, app: Application) -> None:
        """Asks for the members that do not run and were never asked for, or were lost, one by one."""
        for group in app.groups:
            most = group.group.min_member if group.group.max_member is None else group.group.max_member
            left = most - group.next + len(group.again)
            if left > 0:
                self._ask(Request(app, self._unit(app, (_single(group),)), group, left, self.now))

    def _unit(self, app: Application, parts: tuple[Part, ...]) -> Unit:
        """Returns the unit of these parts; jobs of other lengths are other units where that decides who may start.

        A member that must keep to others of its job, or away from them, shares its unit with no other job.
        """
        if parts and parts[0].count == 1 and (parts[0].apart or parts[0].topology.required):
            return self.units.of(parts, -app.number)
        if not self.backfill.reserves:
            return self.units.of(parts)
        estimate = app.job.runtime_estimate
        return self.units.of(parts, UNKNOWN if estimate is None else 1 + int(4 * math.log2(max(estimate, 1.0))))

    def _refuse(self, job: Job, reason: str) -> None:
        self.ended[job.id] = (AppState.REJECTED, reason)
        self._out.append(Reject(next(self._ids), reason, job.id))

    def _reject(self, app: Application, reason: str, state: AppState = AppState.REJECTED) -> None:
        """Ends an application that cannot start."""
        self._end(app, state, reason)
        self._out.append(Reject(next(self._ids), reason, app.id))

    def _end(self, app: Application, state: AppState, reason: str = "") -> None:
        """Takes an application away with all that it holds and asks for."""
        for request in list(app.requests):
            self.withdraw(request)
        if app.counted:
            self._give_all(app)
        self.limits.leave(app.shares)
        if self._timers:
            self._timers.pop(app.id, None)
        if self.backfill.kind:
            self.backfill.ended(app)
        self.preemption.ended(app)
        del self.apps[app.id]
        self.ended[app.id] = (state, reason)
        app.state = state
        for queue in app.queue.above:
            queue.jobs -= 1
        if self.health is not None:
            self.health.ended(app, state)
        if app.queue.dynamic or app.queue.state != "active":
            self._prune(app.queue)

    def _give_all(self, app: Application) -> None:
        """Takes every member of an application that waits for none off its node."""
        all = tuple(app.held.values())
        app.held.clear()
        for held in all:
            del self.members[held.id]
            self._freed[held.node] = None
        self.nodes.give_all(all)
        for held in all:
            self.preemption.gone(app, held)
            self.consolidation.gone(held.id)
        self._subtract(app, tuple(app.usage.items()), len(all))
        if self._drawn:
            self._moved()

    def _give(self, app: Application, held: Held) -> None:
        """Takes a member off its node."""
        del app.held[held.id], self.members[held.id]
        self.nodes.give(held)
        self.preemption.gone(app, held)
        self.consolidation.gone(held.id)
        self._freed[held.node] = None
        self._subtract(app, held.shape.usage)
        for request in app.requests:
            if request.unit.parked and request.unit.simple is None:
                self.unpark(request.unit)
        self._moved()

    def _finished(self, event: events.JobFinished) -> None:
        app = self.app(event.job)
        self._end(app, AppState.FAILED if event.failed else AppState.COMPLETED)

    def _member_finished(self, event: events.MemberFinished) -> None:
        app, held = self._member(event.member)
        self._give(app, held)
        if app.held:
            return
        if any(group.again for group in app.gang):
            self._gang_again(app)
        elif not app.requests and not self.preemption.again(app):
            self._end(app, AppState.FAILED if event.failed else AppState.COMPLETED)

    def _evicted(self, event: events.MemberEvicted) -> None:
        app, held = self._member(event.member)
        self._give(app, held)
        self.ask_again(app, [held])

    def _member_moved(self, event: events.MemberMoved) -> None:
        self.consolidation.moved(*self._member(event.member), self._node(event.node))

    def ask_again(self, app: Application, lost: Sequence[Held]) -> None:
        """Asks again for members that were lost; see rule 2."""
        if self.preemption.again(app):
            return
        by_group: dict[str, list[int]] = {}
        for held in lost:
            _, name, rank = held.id.rsplit("/", 2)
            by_group.setdefault(name, []).append(int(rank))
        for group in app.groups:
            if ranks := by_group.get(group.group.name):
                group.again = sorted([*group.again, *ranks], reverse=True)
                if app.held or not app.gang:
                    self._ask(Request(app, self._unit(app, (_single(group),)), group, len(ranks), self.now))
        if not app.held and app.gang:
            self._gang_again(app)

    def _gang_again(self, app: Application) -> None:
        """Asks for what is left of a gang of which nothing runs: for all of it at once."""
        for request in list(app.requests):
            self.withdraw(request)
        app.state = AppState.ACCEPTED
        if all(group.next == len(group.again) for group in app.groups):  # nobody has finished
            for group in app.groups:
                group.next, group.again = 0, []
            self.ask_for_all(app)
        elif any(group.again for group in app.gang):
            parts = tuple(
                Part(group.shape, len(group.again), group.group.topology, group.group.anti_affinity)
                for group in app.gang
            )
            self._ask(Request(app, self._unit(app, parts), None, 1, self.now))
        else:
            self.ask_for_more(app)

    def _bind_failed(self, event: events.BindFailed) -> None:
        lost = [found for found in self.members.values() if found[1].bound == event.decision]
        if not lost:
            raise UsageError(f"there is no decision {event.decision} whose members could fail to start: it is late")
        app = self.app(lost[0][0].id)
        for _, held in lost:
            self._give(app, held)
        self.ask_again(app, [held for _, held in lost])

    def _restored(self, event: events.Restored) -> None:
        job = event.job
        if job.id in self.apps:
            raise UsageError(f"job {job.id!r} is there already: it is restored once, before anything else")
        app = self._application(job, forced=True, where=event.queue)
        self._enlist(app)
        app.state, app.started = AppState.RUNNING, event.since
        estimate = job.runtime_estimate
        app.ends = event.since + estimate if estimate is not None else float("inf")
        by_name = {group.group.name: group for group in app.groups}
        for id, node in event.places:
            group = by_name[id.rsplit("/", 2)[1]]
            if node not in self.nodes.named:
                continue
            (held,) = self.nodes.take((id,), group.shape, self._node(node).index)
            app.held[id] = held
            self.members[id] = (app, held)
            group.next = max(group.next, int(id.rsplit("/", 1)[1]) + 1)
            self._add(app, group.shape.usage, 1, 0)
        if not app.counted:
            self._add(app, (), 0, 0)
        self._dirty[app.queue] = None
        self._end_partial(app)

    def _end_partial(self, app: Application) -> None:
        """Ends what is left of a gang of which members are missing: it runs whole or not at all."""
        ranks: dict[str, set[int]] = {}
        for id in app.held:
            _, name, rank = id.rsplit("/", 2)
            ranks.setdefault(name, set()).add(int(rank))
        short = sum(max(each.group.min_member - len(ranks.get(each.group.name, ())), 0) for each in app.gang)
        if not short:
            return
        if not app.held:
            self._subtract(app, (), 0)
            app.started, app.ends = None, float("inf")
            self._gang_again(app)
            return
        for each in app.gang:
            each.again = sorted(set(range(each.next)) - ranks.get(each.group.name, set()), reverse=True)
        reason = f"{short} of its gang are missing, and it runs whole or not at all"
        members = self.preemption.leave([victim(app, app.held.values(), True, self.now)])
        self.decide(Preempt(self.next_id(), reason, members, ""))

    def _time_out(self) -> None:
        """Ends the wait of gangs that took too long."""
        for id, at in list(self._timers.items()):
            if at > self.now:
                continue
            del self._timers[id]
            app = self.apps[id]
            request = next(each for each in app.requests if each.group is None)
            self.withdraw(request)
            if app.job.style == SOFT:
                app.state = AppState.RESUMING
                app.gang.clear()
                self.ask_for_more(app)
            else:
                members = request.unit.members
                self._reject(
                    app, f"its gang of {members} could not start within {app.job.timeout:g} s", AppState.FAILED
                )

    def vacated(self, index: int) -> None:
        """Something has left a node, though no member has ended."""
        self._freed[index] = None
        self._moved()

    def _widen(self) -> None:
        self.shapes.widen()
        self.nodes.widen()
        self.tree.rate(self.nodes.total)

    def _prune(self, queue: QueueState) -> None:
        before = len(self.tree.queues)
        self.tree.prune(queue)
        if len(self.tree.queues) < before:
            self._seats.clear()


def _single(group: Group) -> Part:
    """Returns one member of a group beyond its minimum."""
    topology = Topology(required=group.group.topology.required)
    return Part(group.shape, 1, topology, group.group.anti_affinity)
