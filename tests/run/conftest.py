"""Fixtures of the run room: a home with the real command, a database in each dialect, controllers with a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.controllers import NOON, Clock, ScriptedEngine, Tower
from support.postgresql import database_url as database_url
from support.runs import home as home


@pytest.fixture
def clock() -> Clock:
    """Stands at noon of 2026-03-01 in UTC."""
    return Clock(NOON)


@pytest.fixture
def tower(database_url: str, tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Tower]]:
    """Makes controllers on one database; a later one takes over from the one before once its lease has ended."""
    made: list[Tower] = []

    def make(engine: ScriptedEngine | None = None) -> Tower:
        made.append(Tower(database_url, tmp_path, clock, engine))
        return made[-1]

    yield make
    for each in made:
        each.close()
