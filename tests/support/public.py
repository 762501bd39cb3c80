"""Public data, which is not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[3] / "shared" / "data"))


def public(name: str) -> Path:
    """Returns a file below the data folder; the test is skipped where it is not there."""
    file = ROOT / name
    if not file.exists():
        pytest.skip(f"needs the public file {name} in CLEARANCE_BENCH_DATA")
    return file
