"""Each start and each end once: what a controller hears of a warm worker's attempt may come by two ways.

A worker tells of a success itself, start and end together; the supervisor tells of the start when the attempt is not
short, and of the end when it cannot know that the worker told (the worker died before it answered). Rules:

1. Of two starts or two ends of an attempt the first counts; a start that comes after the end does not count.
2. What the supervisor says of other attempts passes as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clearance.engine.base import Finished, Started

_REMEMBERED = 4096  # ends: what the supervisor says too late is at most a few rounds late


class Once:
    """See the module. One for each adoption."""

    __slots__ = ("_over", "_recent", "_started")

    def __init__(self) -> None:
        self._started: set[str] = set()
        self._over: dict[str, None] = {}
        self._recent: list[str] = []

    def from_worker(self, messages: Sequence[Started | Finished]) -> list[Started | Finished]:
        """Returns what is new of what workers told."""
        passed: list[Started | Finished] = []
        for message in messages:
            key = message.attempt
            if key in self._over:
                continue
            if type(message) is Finished:
                self._started.discard(key)
                self._recent.append(key)
                self._over[key] = None
                if len(self._over) > _REMEMBERED:
                    del self._over[next(iter(self._over))]
            elif key in self._started:
                continue
            passed.append(message)
        return passed

    def from_supervisor(self, messages: list[Any]) -> list[Any]:
        """Returns what is new of what the supervisor told."""
        passed = []
        for message in messages:
            kind = type(message)
            if kind is Started or kind is Finished:
                if message.attempt in self._over:
                    continue
                if kind is Started:
                    self._started.add(message.attempt)
                else:
                    self._started.discard(message.attempt)
            passed.append(message)
        return passed

    def take_over(self) -> tuple[str, ...]:
        """Returns the attempts of which workers told since the last call."""
        recent, self._recent = self._recent, []
        return tuple(recent)
