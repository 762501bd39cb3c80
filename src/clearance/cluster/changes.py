"""The differences between two configurations of the queues: what a reload adds, removes and alters.

A queue that is removed while jobs are in it is drained, not dropped; that is decided where its jobs are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import msgspec

from clearance.cluster.model import PartitionConfig, QueueConfig, SchedulerConfig

_OF_QUEUE = tuple(each.name for each in fields(QueueConfig) if each.compare and each.name not in ("path", "children"))
_OF_PARTITION = tuple(each.name for each in fields(PartitionConfig) if each.name not in ("name", "root"))


class Change(msgspec.Struct, frozen=True):
    """One difference.

    Attributes:
        kind: `added`, `removed` or `changed`.
        partition: its name.
        path: of the queue; empty: the partition itself.
        fields: of `QueueConfig` or `PartitionConfig`: what it was and what it is; empty unless changed.
    """

    kind: str
    partition: str
    path: str = ""
    fields: Mapping[str, tuple[Any, Any]] = {}

    def __str__(self) -> str:
        """`queue root.ml changed: max, limits`."""
        what = f"queue {self.path}" if self.path else f"partition {self.partition}"
        within = "" if self.partition == "default" or not self.path else f" of partition {self.partition}"
        return f"{what}{within} {self.kind}{': ' if self.fields else ''}{', '.join(self.fields)}"


def changes(old: SchedulerConfig, new: SchedulerConfig) -> tuple[Change, ...]:
    """Returns what must be done to get from the old configuration to the new one.

    Removals come first, children before parents; then, from the root down, what is added and what is changed.
    """
    before = {partition.name: partition for partition in old.partitions}
    after = {partition.name: partition for partition in new.partitions}
    found: list[Change] = []
    for name, partition in before.items():
        kept = after[name].queues if name in after else {}
        gone = [path for path in partition.queues if path not in kept]
        found += [Change("removed", name, path) for path in reversed(gone)]
        if name not in after:
            found.append(Change("removed", name))
    for name, partition in after.items():
        found += _forward(before.get(name), partition)
    return tuple(found)


def _forward(old: PartitionConfig | None, new: PartitionConfig) -> Iterator[Change]:
    if old is None:
        yield Change("added", new.name)
    elif altered := _altered(old, new, _OF_PARTITION):
        yield Change("changed", new.name, fields=altered)
    for path, queue in new.queues.items():
        if old is None or path not in old.queues:
            yield Change("added", new.name, path)
        elif altered := _altered(old.queues[path], queue, _OF_QUEUE):
            yield Change("changed", new.name, path, altered)


def _altered(old: object, new: object, names: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    pairs = ((name, getattr(old, name), getattr(new, name)) for name in names)
    return {name: (before, after) for name, before, after in pairs if before != after}
