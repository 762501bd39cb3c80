"""How tasks ask: their resources in the words of the queues."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from clearance.cluster.job import TaskGroup
from clearance.cluster.quantities import MEMORY, OURS, from_yunikorn
from clearance.errors import UsageError, nearest

MAIN = "main"


def task_groups(resources: Mapping[str, int], members: int = 1) -> tuple[TaskGroup, ...]:
    """Returns the one group of a task: a gang of so many.

    Args:
        resources: of each member by name, as `Resources.quantities` gives them: `cpu` and `gpu` in thousandths,
            `memory` in bytes; or a name of the queues that has a domain (`example.com/fpga`), in whole numbers.
        members: how many start together.

    Raises:
        UsageError: an unknown resource, or fewer than one member.
    """
    return _groups(tuple(resources.items()), members)


@lru_cache(4096)
def _groups(resources: tuple[tuple[str, int], ...], members: int) -> tuple[TaskGroup, ...]:
    if members < 1:
        raise UsageError(f"a gang of {members} members: ask for at least 1")
    asked: dict[str, int | str] = {}
    for name, amount in resources:
        theirs = OURS.get(name, name)
        if theirs == name and name != MEMORY and "/" not in name:
            raise UsageError(f"unknown resource {name!r}{nearest(name, OURS)}: use {', '.join(OURS)}")
        if amount:
            asked[theirs] = amount if theirs in (name, MEMORY) else f"{amount}m"
    return (TaskGroup(MAIN, members, asked),)


@lru_cache(256)
def shown(resources: tuple[tuple[str, int], ...]) -> str:
    """Returns amounts of the scheduler as a task would ask for them: `cpu=2 memory=4Gi`."""
    ours = from_yunikorn(dict(resources))
    parts = []
    for name, amount in ours.items():
        if name == MEMORY:
            parts.append(f"memory={amount / 2**30:.3g}Gi")
        else:
            parts.append(f"{name}={amount / 1000 if name in OURS else amount:g}")
    return " ".join(parts) or "nothing"
