"""Every reason for which trust refuses is documented, and none that does not exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def codes() -> set[str]:
    """Returns the first argument of each `Rejected(…)` and `_nobody(…)` in the source."""
    found = set()
    for file in (ROOT / "src" / "clearance").rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("Rejected", "_nobody"):
                first = call.args[0]
                if isinstance(first, ast.Constant):
                    found.add(first.value)
    return found


def test_every_reason_is_documented_and_no_other():
    page = (ROOT / "docs" / "reference" / "refusals.md").read_text()
    documented = {
        code for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for code in re.findall(r"`([a-z-]+)`", row)
    }
    assert codes() == documented
