"""Every example runs as it is, and leaves nothing running."""

from __future__ import annotations

import json
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


def test_the_search_stops_at_the_first_rate_that_is_good_enough(home: Home):
    home.command("run", str(EXAMPLES / "flow.py"), "-p", "goal=0.58")
    steps = json.loads(home.command("flow", "steps", "search/1", "--json"))
    assert [step["step"] for step in steps] == ["measure[0]", "fit[0]", "fit[1]", "fit[2]"]
    errors = [json.loads(home.command("artifact", "get", "search/1", f"fit[{index}]"))["error"] for index in range(3)]
    assert errors[-1] <= 0.58 < min(errors[:-1])
    assert json.loads(home.command("artifact", "get", "search/1", "search"))["error"] == errors[-1]


def test_a_search_that_cannot_succeed_ends_with_the_best_when_a_rate_diverges(home: Home):
    home.command("run", str(EXAMPLES / "flow.py"), "-p", "goal=0")
    assert "stopped: diverges at rate 0.128" in home.command("logs", "search/1", "search")
    best = json.loads(home.command("artifact", "get", "search/1", "search"))
    assert best == json.loads(home.command("artifact", "get", "search/1", "fit[5]"))
    assert abs(best["slope"] - 3) < 0.05


def test_a_better_forecast_is_published_and_starts_the_board(home: Home):
    home.command("dag", "register", str(EXAMPLES / "nightly.py"))
    home.command("run", str(EXAMPLES / "nightly.py:nightly"))
    states = home.states("nightly/1")
    assert (states["publish"], states["keep"], states["on_failure"]) == ("success", "skipped", "skipped")
    home.command("resume", "board/asset-1")
    assert json.loads(home.command("artifact", "get", "board/asset-1", "show")) == ["nightly/1"]


def test_a_forecast_that_is_not_better_is_kept_back(home: Home):
    home.command("dag", "register", str(EXAMPLES / "nightly.py"))
    home.command("run", str(EXAMPLES / "nightly.py:nightly"), "-p", "least=0.9")
    states = home.states("nightly/1")
    assert (states["publish"], states["keep"]) == ("skipped", "success")
    assert [run["id"] for run in json.loads(home.command("runs", "list", "--json"))] == ["nightly/1"]


def test_a_night_that_fails_raises_the_alarm(home: Home):
    home.command("run", str(EXAMPLES / "nightly.py:nightly"), "-p", "weeks=1", expect=1)
    assert home.states("nightly/1")["on_failure"] == "success"
    assert "nightly/1 failed" in home.command("logs", "nightly/1", "on_failure")
