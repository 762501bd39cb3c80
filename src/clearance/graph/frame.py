"""A block under a condition, as a declaration in it remembers it."""

from __future__ import annotations

from dataclasses import dataclass

from clearance.graph.origin import Site
from clearance.graph.predicate import Predicate


@dataclass(eq=False, slots=True)
class Frame:
    """The condition of a block; a branch completes those of its arms when it ends.

    Attributes:
        predicate: the condition.
        site: where it is written.
        fork: what its arms have in common: one object for `when` and its `otherwise`, one for a branch.
    """

    predicate: Predicate
    site: Site
    fork: object
