"""Real tasks that move between virtual nodes: a counter and a small torch loop save on the notice and go on elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.runs import Home

PIPELINE = '''
import os
import time

import torch

from clearance import Evicted, Resources, context, dag, task


@task(resources=Resources(cpu=1.5))
def fill(gate: str) -> None:
    while not os.path.exists(gate):
        time.sleep(0.05)


@task(resources=Resources(cpu=0.5))
def count(gate: str) -> list[str]:
    kept = context.checkpoint_dir / "seen"
    seen = kept.read_text().split() if kept.exists() else []
    seen.append(context.node)
    while not os.path.exists(gate):
        if context.evicting:
            kept.write_text(" ".join(seen))
            raise Evicted
        time.sleep(0.05)
    return seen


@task(resources=Resources(cpu=1))
def train(gate: str, steps: int = 300) -> list[float]:
    """Returns how many steps the first attempt left, and the loss after all of them."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    kept, step, attempts = context.checkpoint_dir / "state.pt", 0, 1
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        step, attempts = state["step"], state["attempts"] + 1
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    while step < steps or not os.path.exists(gate):
        if context.evicting:
            state = {"step": step, "attempts": attempts, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, kept)
            raise Evicted
        if step == steps:
            time.sleep(0.05)
            continue
        batch = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        loss = (model(batch) - batch.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if not os.path.exists(gate):
            time.sleep(0.002)
    return [float(attempts), float(loss.detach())]


filler = dag("filler", fill)
counter = dag("counter", count)
trainer = dag("trainer", train)
'''


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def places(home: Home) -> dict[str, str]:
    """Returns on which node each run's task is."""
    nodes = json.loads(home.command("cluster", "nodes", "--json"))
    apps = {each["applicationID"]: each["label"] for each in json.loads(home.command("cluster", "queues", "--json")) or ()} if 0 else {}
    found = {}
    for node in nodes:
        for allocation in node["allocations"]:
            found[allocation["applicationId"]] = node["nodeID"]
    return found | apps


@pytest.mark.slow
def test_work_moves_to_free_a_node_and_off_one_that_is_drained_and_loses_nothing(home: Home, tmp_path: Path):
    pytest.importorskip("torch")
    (tmp_path / "moving.py").write_text(PIPELINE)
    filled, gate = tmp_path / "filled", tmp_path / "gate"
    leader = home.start("up", "--no-api", "--nodes", "2x2cpu")
    assert leader.stdout is not None
    assert "leading" in leader.stdout.readline()

    def start(dag: str, path: Path) -> None:
        home.start("run", f"{tmp_path / 'moving.py'}:{dag}", "-p", f"gate={path}")
        key = f"{dag}/1"
        until(lambda: "running" in home.command("runs", "show", key) if known(key) else False)

    def known(run: str) -> bool:
        return run in home.command("runs", "list")

    def nodes_of(run: str, task: str) -> list[str]:
        told = json.loads(home.command("why", run, task, "--json"))
        return told[0]["capacity"]["nodes"]

    try:
        start("filler", filled)
        start("counter", gate)
        start("trainer", gate)
        assert nodes_of("counter/1", "count") == ["local-0"]
        assert nodes_of("trainer/1", "train") == ["local-1"]
        filled.touch()
        until(lambda: "success" in home.command("runs", "show", "filler/1"))
        plan = json.loads(home.command("cluster", "consolidate", "--apply", "--min-gain", "-1000", "--json"))
        (move,) = plan["moves"]
        run, task = move["job"].split()
        until(lambda: nodes_of(run, task) == [move["target"]])
        assert nodes_of("counter/1", "count") == nodes_of("trainer/1", "train") == [move["target"]]
        until(lambda: "running" in home.command("runs", "show", run))
        printed = home.command("cluster", "drain", move["target"], "--reason", "its fan")
        assert "2 jobs asked to leave" in printed
        until(lambda: nodes_of("counter/1", "count") == nodes_of("trainer/1", "train") == [move["source"]])
        assert "its fan" not in home.command("cluster", "nodes", move["source"])
        gate.touch()
        until(lambda: all("success" in home.command("runs", "show", run) for run in ("counter/1", "trainer/1")))
        seen = json.loads(home.command("artifact", "show", "counter/1", "count", "--json"))
        home.command("cluster", "uncordon", move["target"])
        shown = json.loads(home.command("runs", "show", "trainer/1", "--json"))
        (row,) = shown["tasks"]
        assert row["state"] == "success"
        outcomes = [each["outcome"] for each in row["attempts"]]
        assert outcomes[-1] == "success"
        assert set(outcomes[:-1]) == {"evicted"}
        assert seen
    finally:
        home.command("up", "--help")
        leader.terminate()
        leader.wait(20)
