"""Whether the copies of a mapped group can end a few at a time.

What lies in a group may depend on something outside of it, and that on all copies of something in the group: then no
copy ends before all are open. Such a group cannot limit how many are open at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clearance.errors import GraphError

if TYPE_CHECKING:
    from clearance.graph.build import Declaration


def check_copies(group: Declaration, known: Mapping[str, Declaration]) -> None:
    """Checks that the copies of a mapped group with a limit do not wait for each other.

    Args:
        group: declaration of the group.
        known: every declaration, by id.

    Raises:
        GraphError: they do; the message names what waits, and for what.
    """
    inside: dict[str, list[str]] = {}
    for name in known:
        for around in _around(name, known):
            inside.setdefault(around, []).append(name)
    within = dict.fromkeys(inside.get(group.id, ()))
    before = {name: known[name].before for name in within}
    first = {outer: name for name, outers in before.items() for outer in outers if outer not in within}
    waiting = list(first)
    while waiting:
        outer = waiting.pop()
        reached = dict.fromkeys(inside.get(outer, ()))
        for one in (outer, *_around(outer, known)):
            reached.update(known[one].before)
        if found := next((one for one in reached if one in within), None):
            name = first[outer]
            raise GraphError(
                f"{group.where} has concurrency={group.copies}, but its {name!r} waits for {found!r} of all copies, by "
                f"way of {outer!r}: leave concurrency out, or let {name!r} not depend on {outer!r}"
            )
        for one in reached:
            if one not in first:
                first[one] = first[outer]
                waiting.append(one)


def _around(name: str, known: Mapping[str, Declaration]) -> list[str]:
    """The mapped groups around a node, innermost first."""
    found = []
    while group := known[name].group:
        found.append(group)
        name = group
    return found
