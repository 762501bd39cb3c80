"""Every code of a judgement is documented, and none that does not exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MADE_BY = ("Unfit", "Finding", "_refused", "note")


def codes() -> set[str]:
    """Returns the codes in the source of `trust.ingest`: the first arguments, and the one that has a name."""
    found = {"unknown-format"}
    for file in (ROOT / "src/clearance/trust/ingest").rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", "")) in MADE_BY:
                first = call.args[0] if call.args else None
                if isinstance(first, ast.Constant):
                    found.add(first.value)
    return found


def test_every_code_is_documented_and_no_other():
    page = (ROOT / "docs/how-to/judge-model.md").read_text()
    documented = {
        code for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for code in re.findall(r"`([a-z-]+)`", row)
    }
    assert codes() == documented
