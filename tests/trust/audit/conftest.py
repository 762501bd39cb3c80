"""Fixtures of the audit log: a log on a database in each dialect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.audit import House
from support.postgresql import database_url as database_url


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    made = House(database_url, tmp_path)
    yield made
    made.database.close()
