"""Every example runs as it is, and leaves nothing running."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.runs import Home

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_the_digits_are_learned_signed_served_and_stopped(home: Home):
    pytest.importorskip("sklearn")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "digits.py")],
        env=home.environment, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = re.search(r"accuracy on the held-out fifth: ([\d.]+), trained by 2 processes", done.stdout)
    assert accuracy is not None, done.stdout
    assert float(accuracy[1]) >= 0.97
    assert "the same without it: 401 Unauthorized" in done.stdout
    assert "ok   model-signature: OpenSSF Model Signing" in done.stdout
    assert "service digits stopped" in done.stdout
