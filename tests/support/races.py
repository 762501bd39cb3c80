"""Two controllers that both believe they lead, and deaths between any two statements."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from clearance.store.database import Database
from support.controllers import Tower


class Crash(BaseException):
    """Stands for the end of the process."""


@contextmanager
def crashing(database: Database, after: int) -> Iterator[Callable[[], bool]]:
    """The process "ends" after so many writes and commits; yields whether it has."""
    dialect = database.dialect
    left, ended = after, False

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal left, ended
            if left == 0:
                ended = True
                raise Crash
            left -= 1
            return function(*arguments)

        return call

    kept = dialect.write, dialect.commit
    dialect.write, dialect.commit = map(counted, kept)  # type: ignore[method-assign]
    try:
        yield lambda: ended
    finally:
        dialect.write, dialect.commit = kept  # type: ignore[method-assign]
        if ended:
            database.close()


def unfence(tower: Tower) -> None:
    """Patches the lease away: it is held whatever the database says, and nothing is locked."""
    database = tower.database
    epoch = tower.controller.epoch
    database._lease_check = database.dialect.prepare(f"SELECT {epoch} WHERE ? <> ''")
    database._sql["lease_renew"] = database.dialect.prepare(
        "UPDATE lease SET expires_at = expires_at WHERE ? > 0 AND name = ? AND ? > 0 AND 1 = 0"
    )
    tower.controller.ledger._until = 1e12  # never to be renewed


def together(first: Tower, second: Tower, act: Callable[[Tower], Any]) -> list[Any]:
    """Both act at once: each has read what it acts upon before either opens its transaction."""
    meet = threading.Barrier(2, timeout=20)
    results: list[Any] = [None, None]

    def one(which: int, tower: Tower) -> None:
        begin = tower.database.dialect.begin
        met = False

        def first_begin() -> None:
            nonlocal met
            if not met:
                met = True
                meet.wait()
            begin()

        tower.database.dialect.begin = first_begin  # type: ignore[method-assign]
        try:
            results[which] = act(tower)
        except BaseException as error:
            results[which] = error
        finally:
            tower.database.dialect.begin = begin  # type: ignore[method-assign]

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate((first, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results
