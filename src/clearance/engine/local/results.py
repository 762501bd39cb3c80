"""The results that the supervisor keeps until they are committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearance.engine.base import Finished

if TYPE_CHECKING:
    from clearance.engine.local.cleaning import Cleaner

REMEMBERED = 4096


class Finish:
    """A result that is not acknowledged, and which files it has.

    Attributes:
        event: what is said of it.
        gang: number of processes: `spool/KEY.0` … of them.
        worker: its record lies in a worker's log instead.
        directory: it may have a working directory.
        written: `spool/KEY.end` exists.
    """

    __slots__ = ("directory", "event", "gang", "worker", "written")

    def __init__(self, event: Finished, gang: int, worker: bool, directory: bool, written: bool = False) -> None:
        self.event = event
        self.gang = gang
        self.worker = worker
        self.directory = directory
        self.written = written


class Results:
    """Those that wait, by key of the attempt, and the keys of the last `REMEMBERED` that were committed.

    Args:
        cleaner: removes the files of a result.
        found: what an earlier supervisor left.
    """

    def __init__(self, cleaner: Cleaner, found: list[Finish]) -> None:
        self._cleaner = cleaner
        self._waiting = {item.event.attempt: item for item in found}
        self._committed: dict[str, None] = {}

    def __bool__(self) -> bool:
        """Returns whether any waits to be committed."""
        return bool(self._waiting)

    def __contains__(self, attempt: str) -> bool:
        """Returns whether this attempt is known to be over."""
        return attempt in self._waiting or attempt in self._committed

    def events(self) -> tuple[Finished, ...]:
        """Returns what waits to be committed."""
        return tuple(item.event for item in self._waiting.values())

    def waiting(self, attempt: str) -> Finished | None:
        """Returns the result of an attempt that waits to be committed."""
        item = self._waiting.get(attempt)
        return item.event if item is not None else None

    def keep(self, item: Finish) -> None:
        """Keeps one until it is committed."""
        self._waiting[item.event.attempt] = item

    def commit(self, attempt: str) -> bool:
        """Forgets one that is committed; False when none waits."""
        item = self._waiting.pop(attempt, None)
        if item is None:
            return False
        self.forget(item)
        return True

    def forget(self, item: Finish) -> None:
        """Removes the files of one that is committed, and remembers its key."""
        self._cleaner.forget(item)
        self._committed[item.event.attempt] = None
        if len(self._committed) > REMEMBERED:
            del self._committed[next(iter(self._committed))]
