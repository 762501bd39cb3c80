from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("clearance.engine.conformance")

from clearance.engine.conformance import Bench  # noqa: E402
from clearance.engine.local.engine import LocalEngine  # noqa: E402
from clearance.settings import Settings  # noqa: E402


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLEARANCE_DATABASE_URL", "postgresql://user:secret@host/db")
    return tmp_path / "home"


@pytest.fixture
def bench(home: Path) -> Iterator[Bench]:
    engine = LocalEngine(Settings(home=home, nodes="2x1cpu"))
    snapshot = engine.adopt(1)
    yield Bench(engine, home, snapshot)
    log = (home / "supervisor.log").read_text()
    assert "Traceback" not in log, log
    last = LocalEngine(Settings(home=home))
    last.adopt(1_000_000)
    last.close(stop=True)
