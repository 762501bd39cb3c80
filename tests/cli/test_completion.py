"""Completion scripts, and what they complete."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(clearance, shell):
    done = clearance("completion", shell)
    assert done.code == 0
    assert "_CLEARANCE_COMPLETE" in done.out


def test_an_unknown_shell_is_2(clearance):
    assert clearance("completion", "cmd").code == 2


def test_commands_are_completed_without_loading_them(home):
    environment = {**os.environ, "_CLEARANCE_COMPLETE": "bash_complete", "COMP_WORDS": "clearance r", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-m", "clearance.cli"], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["plain,run", "plain,retry", "plain,resume", "plain,reject", "plain,runs"]
