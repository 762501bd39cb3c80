"""What people tell the scheduler, and ask of it: queues, cordons, consolidation, what would be.

Rules:

1. The queues in force are the newest text that was applied; without one everybody may submit to `root.default`. A text
   with anything wrong in it is refused as a whole.
2. Queues and cordons are committed before they hold, and hold again when another controller leads.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.cluster import Desk
from clearance.errors import UsageError, nearest
from clearance.run.capacity.driver import capacity_of
from clearance.run.host.orders import ApplyQueues, ClusterOrder, Consolidate, Cordon, LookAtCluster, Suppose
from clearance.store.database import Database
from clearance.types.nodes import is_name, parse_nodes

if TYPE_CHECKING:
    from clearance.cluster.model import SchedulerConfig
    from clearance.cluster.poolfile import PoolFile
    from clearance.engine.base import Engine
    from clearance.run.controller import Controller
    from clearance.settings import Settings


def desk_for(database: Database, engine: Engine, settings: Settings, now: float) -> Desk:
    """Returns a desk with the queues in force, the pools, the nodes of the engine, and what people have closed.

    Raises:
        UsageError: the file of pools is not right.
    """
    pools = pools_of(settings)
    autoscale, health = (pools.autoscale, pools.health) if pools is not None else (None, None)
    desk = Desk(in_force(database), autoscale=autoscale, health=health)
    if pools is not None:
        desk.now = now
    for node in engine.nodes():
        desk.add_node(node.name, node.capacity, node.pool)
    for name, reason, _, _ in database.rows("cordons"):
        if name in desk.scheduler.nodes.named:
            desk.cordon(name, True, reason)
    return desk


def pools_of(settings: Settings) -> PoolFile | None:
    """Returns what the file of pools says; None where the settings name none.

    Raises:
        UsageError: it is not right, or asks the local engine for what it cannot: GPUs that come and go, or nodes with
            the names of others.
    """
    if not settings.pools:
        return None
    from clearance.cluster.poolfile import load_pools

    found = load_pools(Path(settings.pools))
    taken = {node.name.rpartition("-")[0] for node in parse_nodes(settings.nodes)}
    for pool in found.autoscale.pools if found.autoscale is not None else ():
        if capacity_of(pool)["gpu"]:
            raise UsageError(
                f"{settings.pools}: pool {pool.name!r} has GPUs, and the local engine has only those of this machine: "
                "offer these by `nodes`, such as 2x8cpu+4gpu"
            )
        if pool.name in taken or not is_name(pool.name):
            raise UsageError(
                f"{settings.pools}: pool {pool.name!r} cannot name nodes of the local engine: use a-z, 0-9 and dashes, "
                "and none of the names in the setting `nodes`"
            )
    return found


def counting(settings: Settings, database: Database) -> Settings:
    """Returns the settings for an engine: without queues in force there is nobody to tell apart by their traffic."""
    if settings.network_accounting == "auto" and not database.rows("queues_newest"):
        return replace(settings, network_accounting="off")
    return settings


def in_force(database: Database) -> SchedulerConfig | None:
    """Returns the queues that were applied last; None where none were."""
    found = database.rows("queues_newest")
    if not found:
        return None
    from clearance.cluster.config import load

    return load(found[0][1])


DEFAULT = """partitions:
- name: default
  nodesortpolicy: {type: binpacking}
  queues:
  - name: root
    submitacl: "*"
    queues:
    - name: default
"""
_TYPES = {"app": 2, "node": 3, "queue": 4}


class Cluster:
    """See the module.

    Args:
        controller: which leads.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def obey(self, order: ClusterOrder, principal: str) -> Any:
        """Does what a person says, or answers a question.

        Raises:
            UsageError: it cannot be done; nothing was written.
        """
        self._controller.scheduler.now = self._controller.clock()
        match order:
            case ApplyQueues():
                return self._apply(order, principal)
            case Cordon():
                return self._cordon(order, principal)
            case Consolidate():
                return self._consolidate(order)
            case LookAtCluster():
                return self._look(order.what, order.name)
            case Suppose():
                return self._suppose(order)

    def _look(self, what: str, name: str) -> Any:
        from clearance.cluster.views import view

        if what == "events":
            start, count = map(int, name.split())
            return self._events(start, count)
        if what == "unwatched":
            return dict(self._controller.driver.unwatched)
        if what == "net":
            return self._traffic(name)
        if what == "config":
            found = self._controller.database.rows("queues_newest")
            return found[0][1] if found else DEFAULT
        return view(self._controller.scheduler.scheduler, what, name)

    def _traffic(self, tenant: str) -> list[dict[str, Any]]:
        """Returns the bytes of each tenant, or of one.

        Raises:
            EngineError: they are not counted.
            UsageError: there is no such tenant.
        """
        found = self._controller.engine.traffic()
        if tenant and tenant not in [each.tenant for each in found]:
            raise UsageError(f"nothing was counted for {tenant!r}{nearest(tenant, [each.tenant for each in found])}")
        return [msgspec.to_builtins(each) for each in found if tenant in ("", each.tenant)]

    def _events(self, start: int, count: int) -> dict[str, Any]:
        """Returns what happened from a number on, as YuniKorn's events."""
        happened = self._controller.scheduler.happened
        found = [each for each in happened if each[0] >= start][:count]
        return {
            "InstanceUUID": f"clearance-{self._controller.epoch}",
            "LowestID": happened[0][0] if happened else 0, "HighestID": happened[-1][0] if happened else 0,
            "EventRecords": [
                {
                    "id": number, "type": _TYPES[kind], "objectID": id, "referenceID": "", "message": text,
                    "timestampNano": int(at * 1e9),
                }
                for number, at, kind, id, text in found
            ],
        }  # fmt: skip

    def _apply(self, order: ApplyQueues, principal: str) -> dict[str, Any]:
        from clearance.cluster.config import changes, default, load

        controller = self._controller
        new = load(order.text if "\n" in order.text else order.text + "\n")
        told = [str(change) for change in changes(in_force(controller.database) or default(), new)]
        if not order.dry:
            controller.ledger.add("queues_add", order.text, principal, controller.clock())
            controller.scheduler.configure(new)
        return {"changes": told, "notes": list(new.notes)}

    def _cordon(self, order: Cordon, principal: str) -> dict[str, Any]:
        controller = self._controller
        nodes = controller.scheduler.scheduler.nodes.named
        if order.node not in nodes:
            raise UsageError(f"there is no node {order.node!r}{nearest(order.node, nodes)}")
        repaired = not order.on and controller.driver.returned(order.node)
        changed = controller.scheduler.cordon(order.node, order.on, order.reason)
        if order.on:
            controller.ledger.add("cordon_put", order.node, order.reason, principal, controller.clock())
        elif changed:
            controller.ledger.add("cordon_remove", order.node)
        leaving = controller.scheduler.on(order.node) if order.on and order.drain else ()
        for job in leaving:
            controller.evictions.give_notice(job, order.reason or f"{order.node} is drained by {principal}")
        return {"changed": changed or repaired, "leaving": [controller.scheduler.label(job) for job in leaving]}

    def _consolidate(self, order: Consolidate) -> dict[str, Any]:
        controller = self._controller
        plan = controller.scheduler.scheduler.plan_consolidation(order.max_moves, order.min_gain)
        if not order.dry:
            controller.moves.begin(plan)
        told: dict[str, Any] = msgspec.to_builtins(plan)
        for move in told["moves"]:
            move["job"] = controller.scheduler.label(move["member"].rsplit("/", 2)[0])
        return told

    def _suppose(self, order: Suppose) -> dict[str, Any]:
        from clearance.cluster.whatif import Change, RemoveNode, added

        scheduler = self._controller.scheduler.scheduler
        found = [id for id, app in scheduler.apps.items() if order.job in (id, app.job.label)]
        if not found:
            labels = [app.job.name for app in scheduler.apps.values() if app.requests]
            near = nearest(order.job, labels)
            raise UsageError(f"no job {order.job!r} waits or runs{near}: see `clearance cluster status`")
        changes: list[Change] = [*map(added, order.add), *map(RemoveNode, order.remove)]
        told: dict[str, Any] = msgspec.to_builtins(scheduler.what_if(changes).estimate(found[0]))
        return told
