"""What a preflight job tests: the machine that it runs on, or whatever a command of one's own does."""

import pytest

from clearance.engine.preflight import check
from clearance.errors import ClearanceError


def test_this_machine_passes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check({"gpus": 0})
    assert not list(tmp_path.iterdir())


def test_a_command_passes_by_its_exit_status():
    check({"command": ["true"]})
    with pytest.raises(ClearanceError, match="sh ended with 3: broken"):
        check({"command": ["sh", "-c", "echo broken >&2; exit 3"]})
    with pytest.raises(ClearanceError, match="cannot be run"):
        check({"command": ["/nonexistent/command"]})
