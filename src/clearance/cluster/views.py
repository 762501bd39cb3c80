"""What a scheduler knows, as YuniKorn's REST API writes it: plain data, for its tools, our commands and our pages.

Rules (YuniKorn, "Scheduler REST API"):

1. Amounts are integers in the units of `cluster.quantities`: thousandths of a vcore, bytes of memory; GPUs are a count,
   with a fraction where shares of devices are in use. Times are nanoseconds since 1970.
2. Percentages are whole numbers of the maximum, or of the cluster where there is none.
3. What YuniKorn has and there is not here (placeholders, the Kubernetes tags of a pod) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from clearance.cluster.application import Application, AppState
from clearance.cluster.properties import QueueProperties
from clearance.cluster.quantities import GPU
from clearance.cluster.queues import ENDLESS, Counter, QueueState
from clearance.cluster.scheduler import Scheduler
from clearance.errors import UsageError, nearest

_STATES = {"active": "Active", "draining": "Draining", "stopped": "Stopped"}


def view(scheduler: Scheduler, what: str, name: str = "") -> Any:
    """Returns what a scheduler knows.

    Args:
        scheduler: that is asked.
        what: `partitions`, `queues`, `queue`, `applications`, `application`, `nodes`, `node`, `users`, `groups`,
            `health` or `summary`.
        name: of a queue (`applications`: all of it and below), node, application, user or group; empty for all.

    Raises:
        UsageError: there is no such view, or nothing of this name.
    """
    if what not in VIEWS:
        raise UsageError(f"there is no view {what!r}{nearest(what, VIEWS)}: use {', '.join(VIEWS)}")
    return VIEWS[what](scheduler, name)


# -- amounts -----------------------------------------------------------------------------------------------------------


def _amounts(scheduler: Scheduler, amounts: Iterable[tuple[int, int]], zeros: bool = False) -> dict[str, int | float]:
    found: dict[str, int | float] = {}
    for position, amount in amounts:
        name = scheduler.space.names[position]
        if (amount or zeros) and amount < ENDLESS:
            whole = name != GPU or amount % 1000 == 0
            found[name] = amount // 1000 if name == GPU and whole else amount if whole else amount / 1000
    return found


def _percent(scheduler: Scheduler, used: list[int], whole: list[int]) -> dict[str, int]:
    names = scheduler.space.names
    return {
        names[position]: 100 * amount // whole[position]
        for position, amount in enumerate(used) if whole[position] and (amount or position < 2)
    }  # fmt: skip


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


# -- views -------------------------------------------------------------------------------------------------------------


def _partitions(scheduler: Scheduler, _: str) -> list[dict[str, Any]]:
    nodes = scheduler.nodes
    counts: dict[str, int] = {}
    for app in scheduler.apps.values():
        counts[str(app.state)] = counts.get(str(app.state), 0) + 1
    return [
        {
            "clusterId": "clearance", "name": scheduler.partition.name, "state": "Active",
            "capacity": {
                "capacity": _amounts(scheduler, enumerate(nodes.total), zeros=True),
                "usedCapacity": _amounts(scheduler, enumerate(nodes.used)),
                "utilization": _percent(scheduler, nodes.used, nodes.total),
            },
            "nodeSortingPolicy": {
                "type": nodes.policy, "resourceWeights": dict(scheduler.partition.resource_weights),
            },
            "totalNodes": len(nodes.named), "totalContainers": len(scheduler.members),
            "applications": counts | {"total": len(scheduler.apps)},
        }
    ]  # fmt: skip


def _queues(scheduler: Scheduler, name: str) -> dict[str, Any]:
    queue = _queue(scheduler, name or "root")
    return _queue_of(scheduler, queue) | {
        "children": [_queues(scheduler, child.path) for _, child in sorted(queue.children.items())]
    }


def _one_queue(scheduler: Scheduler, name: str) -> dict[str, Any]:
    return _queue_of(scheduler, _queue(scheduler, name or "root"))


def _queue(scheduler: Scheduler, path: str) -> QueueState:
    queue = scheduler.tree.queues.get(path.lower())
    if queue is None:
        raise UsageError(f"there is no queue {path!r}{nearest(path, scheduler.tree.queues)}")
    return queue


def _queue_of(scheduler: Scheduler, queue: QueueState) -> dict[str, Any]:
    whole = [most if most < ENDLESS else all for most, all in zip(queue.max, scheduler.nodes.total, strict=True)]
    pending: dict[int, int] = {}
    for app in scheduler.apps.values():
        if queue in app.queue.above:
            for request in app.requests:
                for position, amount in request.unit.usage:
                    pending[position] = pending.get(position, 0) + amount * request.left
    return {
        "queuename": queue.path, "status": _STATES[queue.state], "partition": scheduler.partition.name,
        "parent": queue.parent.path if queue.parent is not None else "", "isLeaf": queue.is_leaf,
        "isManaged": not queue.dynamic, "properties": _properties(queue.config.properties),
        "maxResource": _amounts(scheduler, enumerate(queue.max), zeros=True),
        "guaranteedResource": _amounts(scheduler, enumerate(queue.guaranteed)),
        "allocatedResource": _amounts(scheduler, enumerate(queue.used)),
        "pendingResource": _amounts(scheduler, sorted(pending.items())),
        "absUsedCapacity": _percent(scheduler, queue.used, whole),
        "maxRunningApps": 0 if queue.max_applications == ENDLESS else queue.max_applications,
        "runningApps": queue.applications, "jobs": queue.jobs, "currentPriority": queue.priority,
        "childNames": sorted(child.path for child in queue.children.values()),
    }  # fmt: skip


def _properties(properties: QueueProperties) -> dict[str, str]:
    named = {
        "application.sort.policy": properties.sort_policy, "priority.policy": properties.priority_policy,
        "priority.offset": str(properties.priority_offset), "preemption.policy": properties.preemption_policy,
        "preemption.delay": f"{properties.preemption_delay:g}s",
        "quota.preemption.delay": f"{properties.quota_preemption_delay:g}s",
    }  # fmt: skip
    return {name: value for name, value in named.items() if value not in ("0", "0s")}


def _applications(scheduler: Scheduler, name: str) -> list[dict[str, Any]]:
    queue = _queue(scheduler, name) if name else scheduler.tree.root
    return [_application_of(scheduler, app) for app in scheduler.apps.values() if queue in app.queue.above]


def _application(scheduler: Scheduler, name: str) -> dict[str, Any]:
    for app in scheduler.apps.values():
        if name in (app.id, app.job.label):
            return _application_of(scheduler, app)
    if name in scheduler.ended:
        state, reason = scheduler.ended[name]
        return {"applicationID": name, "applicationState": str(state), "rejectedMessage": reason}
    names = [app.job.name for app in scheduler.apps.values()]
    raise UsageError(f"there is no application {name!r}{nearest(name, names)}")


def _application_of(scheduler: Scheduler, app: Application) -> dict[str, Any]:
    job = app.job
    return {
        "applicationID": app.id, "label": job.name, "partition": scheduler.partition.name,
        "queueName": app.queue.path, "applicationState": str(app.state), "user": job.user, "groups": list(job.groups),
        "priority": job.priority, "submissionTime": _nanoseconds(app.submitted),
        "startTime": None if app.started is None else _nanoseconds(app.started),
        "usedResource": _amounts(scheduler, sorted(app.usage.items())),
        "pendingResource": _amounts(
            scheduler,
            ((at, sum(request.left * dict(request.unit.usage).get(at, 0) for request in app.requests))
             for at in range(len(scheduler.space.names))),
        ),
        "requests": [
            {
                "allocationKey": f"{app.id}/{request.group.group.name if request.group else 'gang'}",
                "requestTime": _nanoseconds(request.since), "pendingCount": request.left,
                "members": request.unit.members, "priority": str(job.priority), "applicationId": app.id,
                "partition": scheduler.partition.name, "resource": _amounts(scheduler, request.unit.usage),
                "allocationLog": [{"message": scheduler.explain(app.id).text, "count": 1}],
            }
            for request in app.requests
        ],
        "allocations": [_allocation(scheduler, app, id) for id in app.held],
        "rejectedMessage": "",
    }  # fmt: skip


def _allocation(scheduler: Scheduler, app: Application, member: str) -> dict[str, Any]:
    held = app.held[member]
    return {
        "allocationKey": member, "applicationId": app.id, "partition": scheduler.partition.name,
        "nodeId": scheduler.nodes.at[held.node].name, "resource": _amounts(scheduler, held.shape.usage),
        "priority": str(app.job.priority), "devices": list(held.devices),
        "requestTime": _nanoseconds(app.submitted), "allocationTime": _nanoseconds(app.started or 0.0),
        "allocationDelay": _nanoseconds((app.started or app.submitted) - app.submitted),
    }  # fmt: skip


def _nodes(scheduler: Scheduler, name: str) -> list[dict[str, Any]]:
    named = scheduler.nodes.named
    if name and name not in named:
        raise UsageError(f"there is no node {name!r}{nearest(name, named)}")
    found = []
    for state in [named[name]] if name else named.values():
        free = [have - used for have, used in zip(state.capacity, state.used, strict=True)]
        members = [(scheduler.members[id][0], id) for id in state.held if id in scheduler.members]
        found.append(
            {
                "nodeID": state.name, "hostName": state.name, "rackName": state.node.labels.get("rack", ""),
                "attributes": dict(state.node.labels), "pool": state.node.pool,
                "capacity": _amounts(scheduler, enumerate(state.capacity)),
                "allocated": _amounts(scheduler, enumerate(state.used)), "occupied": {},
                "available": _amounts(scheduler, enumerate(free)),
                "utilized": _percent(scheduler, state.used, state.capacity),
                "allocations": [_allocation(scheduler, app, id) for app, id in members if id in app.held],
                "schedulable": state.node.schedulable and not state.closed, "closed": state.closed,
                "condition": str(state.condition),
                "health": scheduler.health.explain(state.name) if scheduler.health is not None else "",
                "signals": _signals(scheduler, state.name),
                "isReserved": any(state.index in kept.spare for kept in scheduler.backfill.holding.values()),
            }
        )  # fmt: skip
    return found


def _signals(scheduler: Scheduler, name: str) -> dict[str, float]:
    """Returns what was last told of a node, by signal."""
    found = scheduler.health.readings(name) if scheduler.health is not None else {}
    return {kind: value for kind, (value, _) in sorted(found.items())}


def _node(scheduler: Scheduler, name: str) -> dict[str, Any]:
    return _nodes(scheduler, name)[0]


def _usage(kind: str) -> Callable[[Scheduler, str], list[dict[str, Any]]]:
    """Returns the view of what users, or groups, use in each queue."""

    def usage(scheduler: Scheduler, name: str) -> list[dict[str, Any]]:
        found: dict[str, dict[str, list[Application]]] = {}
        for app in scheduler.apps.values():
            for each in (app.job.user,) if kind == "user" else app.job.groups[:1]:
                for queue in app.queue.above:
                    found.setdefault(each, {}).setdefault(queue.path, []).append(app)
        if name and name not in found:
            raise UsageError(f"{kind} {name!r} runs and waits for nothing{nearest(name, found)}")
        return [
            {f"{kind}Name": each, "groups" if kind == "user" else "applications": _members(queues, kind),
             "queues": _usage_of(scheduler, each, kind, scheduler.tree.root, queues)}
            for each, queues in sorted(found.items()) if not name or each == name
        ]  # fmt: skip

    return usage


def _members(queues: dict[str, list[Application]], kind: str) -> Any:
    apps = queues["root"]
    return {app.id: app.job.groups[0] for app in apps if app.job.groups} if kind == "user" else [app.id for app in apps]


def _usage_of(
    scheduler: Scheduler, name: str, kind: str, queue: QueueState, queues: dict[str, list[Application]]
) -> dict[str, Any]:
    used: dict[int, int] = {}
    running = []
    for app in queues.get(queue.path, ()):
        running += [app.id] if app.held else []
        for position, amount in app.usage.items():
            used[position] = used.get(position, 0) + amount
    limit = next((each for each in scheduler.tree.limits_of(queue.path, kind, name)), None)
    return {
        "queuePath": queue.path, "resourceUsage": _amounts(scheduler, sorted(used.items())),
        "runningApplications": running,
        "maxResources": {} if limit is None else _amounts(scheduler, enumerate(limit.max), zeros=True),
        "maxApplications": 0 if limit is None or limit.max_applications == ENDLESS else limit.max_applications,
        "children": [
            _usage_of(scheduler, name, kind, child, queues)
            for _, child in sorted(queue.children.items()) if child.path in queues
        ],
    }  # fmt: skip


def _health(scheduler: Scheduler, _: str) -> dict[str, Any]:
    """Looks whether what is counted is what there is: each check a walk over everything."""
    nodes, positions = scheduler.nodes, range(len(scheduler.space.names))
    sums: dict[Counter, list[int]] = {queue: [0 for _ in positions] for queue in scheduler.tree.queues.values()}
    for app in scheduler.apps.values():
        for position, amount in app.usage.items():
            for queue in app.queue.above:
                sums[queue][position] += amount
    over = [state.name for state in nodes.named.values() if any(map(int.__gt__, state.used, state.capacity))]
    negative = [state.name for state in nodes.named.values() if min(state.used, default=0) < 0]
    wrong = [queue.label for queue, used in sums.items() if used != queue.used]
    counted = list(scheduler.tree.counted())
    too_much = [each.label for each in counted if any(map(int.__gt__, each.used, each.max))]
    lost = [id for state in nodes.named.values() for id in state.held if id not in scheduler.members]
    partial = [
        app.job.name for app in scheduler.apps.values()
        if app.held and any(request.group is None for request in app.requests)
    ]  # fmt: skip
    checks = [
        ("Node capacity", "no node has given out more than it has", over),
        ("Negative amounts", "no node has given out less than nothing", negative),
        ("Consistency of queues", "what a queue uses is what its applications use", wrong),
        ("Maxima", "no queue, user or group uses more than its maximum", too_much),
        ("Orphans", "every allocation on a node belongs to an application", lost),
        ("Whole gangs", "no gang has some of its members and waits for all", partial),
    ]
    return {
        "Healthy": not any(found for _, _, found in checks),
        "HealthChecks": [
            {"Name": name, "Succeeded": not found, "Description": text, "DiagnosisMessage": ", ".join(found[:10])}
            for name, text, found in checks
        ],
    }


def _summary(scheduler: Scheduler, _: str) -> dict[str, Any]:
    """Returns the few figures that people look at first."""
    (partition,) = _partitions(scheduler, "")
    waiting = [app for app in scheduler.apps.values() if app.requests and app.groups]
    return {
        "capacity": partition["capacity"], "nodes": len(scheduler.nodes.named),
        "closed": sum(not node["schedulable"] for node in _nodes(scheduler, "")),
        "running": sum(bool(app.held) for app in scheduler.apps.values()), "waiting": len(waiting),
        "limits": {
            limit.name: {"used": limit.taken, "size": limit.size}
            for limit in scheduler.limits.named.values() if limit.size is not None
        },
        "longest": [
            {"job": app.job.name, "queue": app.queue.path, "waits": scheduler.now - app.submitted,
             "reason": scheduler.explain(app.id).text}
            for app in sorted(waiting, key=lambda app: app.submitted)[:5] if app.state is not AppState.RUNNING
        ],
    }  # fmt: skip


VIEWS: dict[str, Callable[[Scheduler, str], Any]] = {
    "partitions": _partitions, "queues": _queues, "queue": _one_queue, "applications": _applications,
    "application": _application, "nodes": _nodes, "node": _node, "users": _usage("user"), "groups": _usage("group"),
    "health": _health, "summary": _summary,
}  # fmt: skip
