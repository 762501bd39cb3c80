"""Another configuration of the queues, taken while jobs wait and run.

Rules (YuniKorn, "Partition and Queue Configuration", hot refresh):

1. Nothing that runs is ended and nothing that waits is lost: a queue that is no longer declared drains, with those
   who wait in it, and goes when it is empty; one that is declared again takes jobs again.
2. Whatever is declared holds from the next decision on: maxima, guarantees, limits, properties, access, placement
   rules, how nodes are sorted, who may preempt. What was given to the scheduler itself holds against it.
3. Where a maximum is lower than what is used, nothing starts; whether somebody leaves says `cluster.quota`.
4. Either all of it holds or, where it cannot, nothing of it: a queue in which there are jobs gets no queues below it.
"""

from __future__ import annotations

from clearance.cluster import event as events
from clearance.cluster.lives import Lives
from clearance.cluster.model import PartitionConfig, SchedulerConfig
from clearance.errors import UsageError, nearest


class Reloading(Lives):
    """See the module."""

    def _config_changed(self, event: events.ConfigChanged) -> None:
        partition = _of(event.config, self.partition.name)
        self.tree.refuse(partition.root)
        apps = [self.app(id) for id in list(self.apps)]
        requests = [request for app in apps for request in app.requests]
        before = {queue: tuple(queue.max) for queue in self.tree.queues.values()}
        if self.backfill.kind:
            for request in requests:
                self.backfill.withdrawn(request)
        for request in requests:
            self._leave(request)
        self.unpark_all()
        self.partition = partition
        self._seats.clear()
        self.tree.reload(partition)
        self.nodes.resort(self.policy or partition.node_sort_policy, partition.resource_weights)
        if len(self.space.names) > len(self.nodes.total):
            self._widen()
        for app in apps:
            counters = self.tree.counters(app.queue, app.job.user, app.job.groups)
            app.limits = (*counters, *app.queue.above) if app.groups else ()
            for counter in counters:
                counter.applications += app.counted
                for position, amount in app.usage.items():
                    counter.used[position] += amount
        for request in requests:
            self._enter(request)
        self.preemption.quota.lowered(before)


def _of(config: SchedulerConfig, name: str) -> PartitionConfig:
    """Returns the partition of this name.

    Raises:
        UsageError: there is none.
    """
    names = {partition.name: partition for partition in config.partitions}
    if name not in names:
        raise UsageError(f"the configuration has no partition {name!r}{nearest(name, names)}: nothing of it is taken")
    return names[name]
