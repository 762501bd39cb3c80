"""Accepted findings: what matches passes with its reason, what matches nothing is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from clearance.trust.refusal import Rejected
from clearance.trust.scan.accepted import apply, read_accepted
from clearance.trust.scan.code import scan_text
from clearance.trust.scan.finding import refused

ENTRY = '[[accept]]\nrule = "{rule}"\nfile = "{file}"\nreason = "our own file"\n'


def accepted(tmp_path: Path, text: str) -> list[tuple[str, int]]:
    """Scans `src/a.py`, which calls eval in lines 1 and 2, and returns what still refuses."""
    file = tmp_path / "accept.toml"
    file.write_text(text)
    found = list(scan_text(b"eval(x)\neval(y)\n", "/place/src/a.py"))
    return [(each.rule, each.line) for each in refused(apply(found, read_accepted(file), "/place", str(file)))]


def test_an_entry_lets_its_rule_in_its_file_pass(tmp_path: Path):
    assert accepted(tmp_path, ENTRY.format(rule="eval", file="src/a.py")) == []
    assert accepted(tmp_path, ENTRY.format(rule="eval", file="src/a.py") + "line = 2\n") == [("eval", 1)]


@pytest.mark.parametrize(("rule", "file"), [("shell", "src/a.py"), ("eval", "a.py"), ("eval", "src/b.py")])
def test_an_entry_that_matches_nothing_is_a_finding(tmp_path: Path, rule: str, file: str):
    found = accepted(tmp_path, ENTRY.format(rule=rule, file=file))
    assert found == [("eval", 1), ("eval", 2), ("accept-unused", 0)]


@pytest.mark.parametrize("text", ["", "[[accept]]\nrule = 'a'\nfile = 'b'\n", "x = 1", "[[", "accept = 1",
                                  "[[accept]]\nrule='a'\nfile='b'\nreason=' '\n",
                                  "[[accept]]\nrule='a'\nfile='b'\nreason='c'\nmore=1\n"])  # fmt: skip
def test_a_malformed_list_is_refused(tmp_path: Path, text: str):
    file = tmp_path / "accept.toml"
    file.write_text(text)
    with pytest.raises(Rejected) as caught:
        read_accepted(file)
    assert caught.value.code == "accept-malformed"
