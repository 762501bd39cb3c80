"""Every command and every file that the documents show is run, and prints what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = {"README.md", "docs/tutorial.md", "docs/how-to/recover.md", "docs/how-to/serve.md"}
DOCUMENTS = sorted(
    str(file.relative_to(ROOT))
    for file in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    if "```console" in file.read_text()
)


@pytest.mark.parametrize("document", [pytest.param(d, marks=[pytest.mark.slow] * (d in SLOW)) for d in DOCUMENTS])
def test_a_document_can_be_followed_line_by_line(reader, document: str):
    reader.follow(ROOT / document)
