"""`Written`: what a task returns to say that it has written an asset, and which partition of it."""

from __future__ import annotations

from dataclasses import dataclass

from clearance.errors import UsageError


@dataclass(frozen=True)
class Written:
    """An asset was written; made by `asset(…).written(key)`. A task returns one, or a list of them.

    Attributes:
        asset: its URI.
        key: of the partition, for example `2026-03-01/eu`; None for the whole.

    Raises:
        UsageError: a key that is no text, or is empty.
    """

    asset: str
    key: str | None = None

    def __post_init__(self) -> None:
        if self.key is not None and (not isinstance(self.key, str) or not self.key):
            raise UsageError(f"asset {self.asset!r}: the key is {self.key!r}: write a text such as '2026-03-01'")
