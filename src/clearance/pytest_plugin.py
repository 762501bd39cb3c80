"""The pytest plugin: a home of its own for a test that runs the real thing, and a clock that stands still.

It is loaded with every test run, so it imports nothing before a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from clearance.run.rehearsal.clock import FakeClock


@pytest.fixture
def clearance_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty installation: `Dag.run`, `Run`, `Dag` and the command use it. Afterwards nothing of it runs any more."""
    home = tmp_path_factory.mktemp("clearance") / "home"
    for name in ("CLEARANCE_DATABASE_URL", "CLEARANCE_BLOBS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLEARANCE_HOME", str(home))
    monkeypatch.setenv("CLEARANCE_GRACE", "2")
    monkeypatch.setenv("CLEARANCE_NETWORK_ACCOUNTING", "off")
    yield home
    from clearance.run.host.stopping import stop_all

    stop_all(home)


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock at the first of January 2026 in UTC, which stands still until it is moved."""
    from clearance.run.rehearsal.clock import FakeClock

    return FakeClock()
