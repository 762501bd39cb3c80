"""Steps in a flow's process: what they are known by, and what is on disk when its process is cut off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy
from hypothesis import given
from hypothesis import strategies as st

from clearance.engine.base import Step
from clearance.engine.flow import fingerprint
from clearance.engine.local import ipc, line
from clearance.types.references import File

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Point:
    x: int
    y: int


@given(PLAIN, PLAIN)
def test_a_fingerprint_says_whether_plain_arguments_are_equal(one: object, other: object) -> None:
    assert fingerprint({"a": one}) == fingerprint({"a": one})
    if fingerprint({"a": one}) == fingerprint({"a": other}):
        assert one == other


def test_a_fingerprint_looks_at_content_and_not_at_places() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": Point(1, 2)}) != fingerprint({"a": Point(2, 1)})
    here, there = File(Path("/here/x"), "sha256:1"), File(Path("/there/x"), "sha256:1")
    assert fingerprint({"a": here}) == fingerprint({"a": there})
    assert fingerprint({"a": [here]}) != fingerprint({"a": [File(Path("/here/x"), "sha256:2")]})
    array = numpy.arange(6)
    assert fingerprint({"a": array}) == fingerprint({"a": array.copy()})
    assert fingerprint({"a": array}) != fingerprint({"a": array.reshape(2, 3)})
    assert fingerprint({"a": array}) != fingerprint({"a": array + 1})
    assert fingerprint({"a": {3, 1, 2}}) == fingerprint({"a": {2, 3, 1}})


@given(st.lists(st.integers(0, 1000), max_size=5), st.integers(0, 60))
def test_a_torn_last_step_is_left_out(tmp_path_factory, positions: list[int], cut: int) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "spool").mkdir()
    steps = [
        Step(position=number, path="", index=0, task="t", entry="m:t", inputs="", started_at=1.0, finished_at=2.0)
        for number in positions
    ]
    data = b"".join(len(body).to_bytes(4, "big") + body for body in map(ipc.encode, steps))
    Path(line.path_of(str(home), "run.0.1")).write_bytes(data[: len(data) - cut] if cut else data)
    found = line.read(str(home), "run.0.1")
    assert found == steps[: len(found)]
    if not cut:
        assert len(found) == len(steps)
    assert line.read(str(home), "run.0.2") == []
