"""Mapped groups around a node, and what a result looks like from another place: a list for each group in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clearance.graph.annotations import anything, iterated
from clearance.graph.binding import Element, Items, Result
from clearance.graph.projection import project_stored

if TYPE_CHECKING:
    from clearance.graph.build import Declaration


class Nesting:
    """The mapped groups of one DAG.

    Args:
        known: every declaration, by id.
    """

    def __init__(self, known: Mapping[str, Declaration]) -> None:
        self.known = known

    def chain(self, declaration: Declaration) -> tuple[str, ...]:
        """Returns the ids of the mapped groups around it, outermost first."""
        found: tuple[str, ...] = ()
        group = declaration.group
        while group:
            found = (group, *found)
            group = self.known[group].group
        return found

    def seen(self, upstream: Declaration, consumer: Declaration) -> Any:
        """Returns the annotation of what the consumer receives of a result."""
        return self.seen_in(upstream, consumer.group)

    def seen_in(self, upstream: Declaration, group: str) -> Any:
        """Returns the annotation of a result as it is seen in a mapped group, or for the empty id outside of them."""
        result = upstream.result
        if not upstream.group or upstream.group == group:
            return result
        around = self.chain(upstream)
        mine = (*self.chain(self.known[group]), group) if group else ()
        for one in reversed(around):
            if one in mine:
                break
            result = list[result]  # type: ignore[valid-type]
        return result

    def offered(self, binding: Result | Element, group: str) -> Any:
        """Returns the annotation of what a binding brings to what stands in a mapped group, or outside of them."""
        if isinstance(binding, Result):
            whole = self.seen_in(self.known[binding.task], group)
        else:
            whole = self.element(binding)
        for step in binding.path:
            whole = project_stored(whole, step)
        return whole

    def element(self, binding: Element) -> Any:
        """Returns the annotation of a mapped parameter of a group: its own, else that of the list's elements."""
        group = self.known[binding.group]
        annotation = group.signature.annotations[binding.name]
        over = group.mapped[binding.name]
        if not anything(annotation) or isinstance(over, Items):
            return annotation
        if not isinstance(over, Result | Element):
            return Any
        part = iterated(self.offered(over, group.group))
        return Any if part is None else part
