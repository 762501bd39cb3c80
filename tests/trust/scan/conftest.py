"""Databases, and advisories from which they are made."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.public import public


@pytest.fixture
def public_database() -> Path:
    """The PyPA's advisories of 2024."""
    return public("trust/osv/pypi.zip")


def advisory(id: str = "PYSEC-2026-1", name: str = "demo", **more: Any) -> dict[str, Any]:
    """Returns an advisory about every version of `demo` before 2.0."""
    events = more.pop("events", [{"introduced": "0"}, {"fixed": "2.0"}])
    affected: dict[str, Any] = {
        "package": {"ecosystem": more.pop("ecosystem", "PyPI"), "name": name},
        "ranges": [{"type": more.pop("type", "ECOSYSTEM"), "events": events}],
        "versions": more.pop("versions", []),
    }
    found = {"id": id, "modified": "2026-01-02T03:04:05Z", "details": f"{name} is broken", "affected": [affected]}
    return {**found, **more}


@pytest.fixture
def database(tmp_path: Path) -> Callable[..., Path]:
    """Writes a zip of advisories."""

    def write(*advisories: dict[str, Any], name: str = "osv.zip") -> Path:
        file = tmp_path / name
        with zipfile.ZipFile(file, "w") as opened:
            for each in advisories:
                opened.writestr(f"{each['id']}.json", json.dumps(each))
        return file

    return write
