"""The page on evictions does what it says, moved between virtual nodes: its counter and its training loop go on."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clearance.engine.base import Started
from clearance.engine.conformance import Bench, unpack, value_of, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "eviction.md"
FILES = dict(re.findall(r'```python title="([^"]+)"\n(.*?)```', PAGE.read_text(), re.DOTALL))


@pytest.fixture
def moved(bench: Bench) -> Bench:
    bench.bundle = unpack(bench.home, FILES)
    return bench


def begin(bench: Bench, attempt: str, entry: str, node: str, checkpoint: str, **how: Any) -> None:
    launch = bench.make(attempt, "", nodes=(node,), checkpoint=checkpoint, grace=60.0, **how)
    bench.engine.launch([msgspec.structs.replace(launch, entry=entry)])


def takes_the_notice(pid: int) -> bool:
    """Returns whether a process has a handler for SIGTERM."""
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) & 1 << (signal.SIGTERM - 1))


def evict(bench: Bench, attempt: str) -> None:
    """Gives notice once the attempt has looked whether it came."""
    (started,) = bench.until(Started, attempt)
    wait_until(lambda: takes_the_notice(started.pids[0]), "the first look")
    bench.engine.cancel([attempt], 60.0, "evicted")
    assert bench.finished(attempt).outcome == "evicted"


def test_the_counter_goes_on_where_it_was_on_another_node(moved: Bench) -> None:
    saved = moved.home / "checkpoints" / "c" / "count"
    reached = 0
    for number, node in enumerate(("local-0", "local-1", "local-0"), 1):
        begin(moved, f"count.{number}", "counting:count", node, "c", goal=1_000_000)
        evict(moved, f"count.{number}")
        assert f"goes on from {reached} on {node}" in moved.output(f"count.{number}")
        assert int(saved.read_text()) > reached
        reached = int(saved.read_text())
    begin(moved, "count.4", "counting:count", "local-1", "c", goal=reached)
    assert value_of(moved.finished("count.4").result) == reached


def test_a_training_that_was_moved_ends_with_the_same_loss(moved: Bench) -> None:
    import torch

    for number, node in enumerate(("local-0", "local-1"), 1):
        begin(moved, f"train.{number}", "training:train", node, "moved", preload=("torch",), steps=10**9)
        evict(moved, f"train.{number}")
    steps = torch.load(moved.home / "checkpoints" / "moved" / "state.pt", weights_only=True)["step"] + 20
    begin(moved, "train.3", "training:train", "local-0", "moved", preload=("torch",), steps=steps)
    begin(moved, "stayed.1", "training:train", "local-1", "stayed", preload=("torch",), steps=steps)
    losses = [value_of(moved.finished(attempt).result) for attempt in ("train.3", "stayed.1")]
    assert losses[0] == losses[1]
