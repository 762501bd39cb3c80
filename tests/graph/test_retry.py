"""Retry policies and durations."""

import math
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance import Retry
from clearance.errors import GraphError
from clearance.graph.duration import seconds


@pytest.mark.parametrize(
    ("text", "length"),
    [("10m", 600), ("90s", 90), ("1h30m", 5400), ("2d", 172800), ("500ms", 0.5), ("1.5h", 5400), (90, 90),
     ("90", 90), (0.5, 0.5)],
)  # fmt: skip
def test_durations(text, length):
    assert seconds(text) == length


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "-5s", 0, -1, math.nan, math.inf, True, None, "1h30", "5x"])
def test_no_durations(text):
    with pytest.raises(GraphError, match="timeout is"):
        seconds(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_every_sum_of_units_is_read(hours, minutes, left):
    if hours or minutes or left:
        assert seconds(f"{hours}h{minutes}m{left}s") == hours * 3600 + minutes * 60 + left


def test_exceptions_become_qualified_names():
    assert Retry(1, on=(OSError, socket.gaierror)).policy().on == ("builtins.OSError", "socket.gaierror")
    assert Retry(1).policy().on == ("builtins.Exception",)
    assert Retry(1, on=KeyError).on == (KeyError,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"times": -1}, {"times": 1.5}, {"times": True}, {"times": 1001}, {"times": 1, "backoff": 0.5},
        {"times": 1, "delay": -1}, {"times": 1, "max_delay": math.inf}, {"times": 1, "jitter": 1},
        {"times": 1, "on": ()}, {"times": 1, "on": ("OSError",)}, {"times": 1, "on": (int,)},
        {"times": 1, "delay": "1"},
    ],
)  # fmt: skip
def test_wrong_policies_are_refused(wrong):
    with pytest.raises(GraphError, match="Retry"):
        Retry(**wrong)
