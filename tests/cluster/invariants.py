"""What must hold of a scheduler at any moment, recomputed from nothing but who is where."""

from __future__ import annotations

from clearance.cluster.decision import Bind
from clearance.cluster.gang import place
from clearance.cluster.scheduler import Scheduler
from clearance.cluster.space import DEVICE


def check(scheduler: Scheduler) -> None:
    """Fails where something is over its maximum, miscounted, or half of a gang."""
    for id in list(scheduler.apps):
        scheduler.app(id)  # a fork counts what only runs when something happens to it
    positions = len(scheduler.nodes.total)
    for state in scheduler.nodes.named.values():
        used, devices, whole = [0] * positions, [DEVICE] * len(state.devices), 0
        for held in state.held.values():
            for position, amount in held.shape.usage:
                used[position] += amount
            for device in held.devices:
                if device < len(devices):
                    devices[device] -= held.shape.share or DEVICE
            whole += held.shape.whole
            if held.shape.gpus:
                assert len(set(held.devices)) == held.shape.gpus
            assert scheduler.members[held.id][1] is held or scheduler.consolidation.arriving(held)
        assert used == state.used, state.name
        assert devices == state.devices, state.name
        assert whole == state.whole <= 1
        assert not whole or len(state.held) == 1
    for queue in scheduler.tree.queues.values():
        below = [app for app in scheduler.apps.values() if queue in app.queue.above]
        used = [0] * positions
        for app in below:
            for held in app.held.values():
                for position, amount in held.shape.usage:
                    used[position] += amount
        assert used == queue.used, queue.path
        assert queue.allocated == sum(len(app.held) for app in below)
        assert queue.applications == sum(bool(app.held) for app in below)
    for limit in scheduler.limits.named.values():
        joined = [
            (app, share.amount) for app in scheduler.apps.values() for share in app.shares if share.limit is limit
        ]
        assert limit.jobs == len(joined)
        assert limit.users == {app.id: amount for app, amount in joined if app.counted}
        assert limit.taken == sum(limit.users.values())
    for queue in scheduler.tree.queues.values():
        below = [app for app in scheduler.apps.values() if queue in app.queue.above]
        assert queue.pending == sum(request.left * request.unit.members for app in below for request in app.requests)
    total = [0] * positions
    for state in scheduler.nodes.named.values():
        total = [one + other for one, other in zip(total, state.used, strict=True)]
    assert total == scheduler.nodes.used


def never_over(scheduler: Scheduler) -> None:
    """Fails where a queue, a user or a node has more than its maximum. Only where no maximum was lowered under use."""
    for counter in scheduler.tree.counted():
        assert all(used <= most for used, most in zip(counter.used, counter.max, strict=True)), counter.label
        assert counter.applications <= counter.max_applications, counter.label
    for app in scheduler.apps.values():
        for share in app.shares if app.counted else ():
            assert share.own is None or share.limit.taken <= share.own, share.limit.name
    for state in scheduler.nodes.named.values():
        assert all(used <= have for used, have in zip(state.used, state.capacity, strict=True)), state.name
        assert all(0 <= left <= DEVICE for left in state.devices), state.name


def gangs_whole(scheduler: Scheduler) -> None:
    """Fails where a gang that nothing has happened to has some of its members and not all."""
    for app in scheduler.apps.values():
        for group in app.gang:
            mine = [held for held in app.held.values() if held.shape is group.shape]
            assert not mine or len(mine) >= group.group.min_member, app.id


def nothing_forgotten(scheduler: Scheduler) -> None:
    """Fails where something waits that could start: what is remembered decides as looking at everything would."""
    for app in list(scheduler.apps.values()):
        for request in app.requests:
            if scheduler.blocked(request) is not None:
                continue
            found = place(
                scheduler.nodes, request.unit, lambda part, number: f"?/{part}/{number}",
                lambda part, request=request: scheduler.unwanted(request, part),
            )  # fmt: skip
            if found is not None:
                for held in (held for group in found for held in group):
                    scheduler.nodes.give(held)
            assert found is None, f"{app.id} waits for {request.unit.members} members that fit"


def binds(made) -> list[Bind]:
    """Returns the bindings among some decisions."""
    return [each for each in made if isinstance(each, Bind)]
