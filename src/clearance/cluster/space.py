"""Resources as positions in lists: one order for quotas, one for what a node has free.

Rules:

1. Quotas count every resource in its unit of `cluster.quantities`, GPUs in thousandths: position 0 is vcore, 1 memory,
   2 GPUs, then the others as they become known.
2. A node's columns hold what one member can still get: vcore, memory, devices that are wholly free, the largest free
   part of a device, whether the node is empty (1 or 0), then the others in the order of the quotas. A shape's needs
   stand in the same order, so that it fits where no need is larger than its column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clearance.cluster.quantities import GPU, MEMORY, VCORE, check_name, parse_quantity

DEVICE = 1000
CPU_AT, MEMORY_AT, GPU_AT = 0, 1, 2
WHOLE, MOST, EMPTY = 2, 3, 4
_SHIFT = 2  # quotas before the others: 3; columns before the others: 5


class Space:
    """The resources known to one scheduler, in the order in which it came to know them."""

    def __init__(self) -> None:
        self.names: list[str] = [VCORE, MEMORY, GPU]
        self._at: dict[str, int] = {name: index for index, name in enumerate(self.names)}

    @property
    def columns(self) -> int:
        """How many columns a node has."""
        return len(self.names) + _SHIFT

    def at(self, name: str) -> int:
        """Returns the position of a resource among quotas, and makes room for one that is new.

        Raises:
            UsageError: there is no such resource (`cluster.quantities`, rule 4).
        """
        found = self._at.get(name)
        if found is None:
            found = self._at[check_name(name)] = len(self.names)
            self.names.append(name)
        return found

    def column(self, position: int) -> int:
        """Returns the column of a quota's position that is neither a GPU's nor new to the nodes."""
        return position if position < GPU_AT else position + _SHIFT

    def parse(self, amounts: Mapping[str, int | str], where: str) -> list[tuple[int, int]]:
        """Returns pairs of position and amount, without zeros.

        Args:
            amounts: as in `queues.yaml`: `90` or `"500m"` of vcore, `"700Gi"`.
            where: for the message.

        Raises:
            UsageError: an unknown name, or a bad amount.
        """
        found = []
        for name, value in amounts.items():
            amount = parse_quantity(name, value, where)
            position = self.at(name)
            if amount:
                found.append((position, amount))
        return found

    def named(self, amounts: Iterable[tuple[int, int]]) -> dict[str, int]:
        """Returns amounts by name."""
        return {self.names[position]: amount for position, amount in amounts}
