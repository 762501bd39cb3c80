"""Nodes of pools come for a gang and go when they are empty, whatever happens to who asked for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.runs import Home

PIPELINE = """
from clearance import Resources, context, dag, task


@task(gang=2, resources=Resources(cpu=1))
def train() -> str:
    return context.node


trainer = dag("trainer", train)
"""
POOLS = """pools:
- name: small
  capacity: {vcore: 1, memory: 1Gi}
  maxnodes: 5
  startseconds: 1.5
autoscale: {interval: 0.1, idleseconds: 0.5, cooldownseconds: 0.5, largestremoval: 1}
"""


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture
def pooled(home: Home, tmp_path: Path) -> Home:
    """A home with one node that is too small for anything, and a pool."""
    (tmp_path / "pools.yaml").write_text(POOLS)
    (tmp_path / "training.py").write_text(PIPELINE)
    home.environment |= {"CLEARANCE_POOLS": str(tmp_path / "pools.yaml"), "CLEARANCE_NODES": "1x0.5cpu"}
    return home


def leading(home: Home) -> subprocess.Popen[str]:
    leader = home.start("up", "--no-api")
    assert leader.stdout is not None
    assert "leading" in (line := leader.stdout.readline()), line
    return leader


def written(home: Home) -> dict[str, Any]:
    """Returns what the engine has of nodes that come and go."""
    try:
        return json.loads((home.path / "nodes.json").read_bytes())
    except FileNotFoundError:
        return {"nodes": [], "orders": [], "numbers": {}}


@pytest.mark.slow
def test_nodes_come_for_a_whole_gang_and_go_when_it_has_ended(pooled: Home, tmp_path: Path):
    leader = leading(pooled)
    try:
        pooled.command("run", f"{tmp_path / 'training.py'}:trainer", "--run-id", "one")
        (told,) = json.loads(pooled.command("why", "one", "train", "--json"))
        assert sorted(told["capacity"]["nodes"]) == ["small-0", "small-1"]
        until(lambda: not written(pooled)["nodes"])
        assert written(pooled)["numbers"] == {"small": 1}  # two came, in all
        assert [node["nodeID"] for node in json.loads(pooled.command("cluster", "nodes", "--json"))] == ["local-0"]
    finally:
        leader.terminate()
        leader.wait(20)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "asked", "there"])
def test_a_leader_that_is_killed_has_asked_for_nothing_twice(pooled: Home, tmp_path: Path, moment: str):
    leader = leading(pooled)
    client = pooled.start("run", f"{tmp_path / 'training.py'}:trainer", "--run-id", "one")
    try:
        if moment != "before":
            until(lambda: written(pooled)["nodes"])
        if moment == "there":
            until(lambda: all(node["ready_at"] < time.time() for node in written(pooled)["nodes"]))
        os.kill(leader.pid, signal.SIGKILL)
        leader.wait(20)
        leader = leading(pooled) if client.poll() is not None else leader
        client.wait(30)
        assert pooled.states("one") == {"train": "success"}
        assert written(pooled)["numbers"] == {"small": 1}
    finally:
        leader.kill()
        leader.wait(20)


GANG = """
import os
import time

from clearance import Evicted, Resources, context, dag, task


@task(gang=2, resources=Resources(cpu=1))
def train(gate: str = "") -> str:
    while not os.path.exists(gate):
        if context.evicting:
            raise Evicted
        time.sleep(0.05)
    return context.node


trainer = dag("trainer", train)
"""


@pytest.mark.slow
def test_a_gang_whose_node_is_gone_at_a_takeover_ends_whole_and_starts_whole(home: Home, tmp_path: Path):
    (tmp_path / "gang.py").write_text(GANG)
    home.environment["CLEARANCE_NODES"] = "2x1cpu"
    gate = tmp_path / "gate"
    leader = leading(home)
    client = home.start("run", f"{tmp_path / 'gang.py'}:trainer", "-p", f"gate={gate}", "--run-id", "one")
    until(lambda: "one" in home.command("runs", "list") and home.states("one") == {"train": "running"})
    for process in (client, leader):
        process.kill()
        process.wait(20)
    home.environment["CLEARANCE_NODES"] = "1x2cpu"
    leader = leading(home)
    try:
        until(
            lambda: json.loads(home.command("why", "one", "train", "--json"))[0]["capacity"]["nodes"] == ["local-0"] * 2
        )
        until(lambda: home.states("one") == {"train": "running"})
        gate.touch()
        until(lambda: home.states("one") == {"train": "success"})
        assert home.show("one")["tasks"][0]["attempts"] == 1
    finally:
        leader.terminate()
        leader.wait(20)


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ("{name: local, capacity: {vcore: 1}, maxnodes: 2}", "cannot name nodes of the local engine"),
        ("{name: Big Ones, capacity: {vcore: 1}, maxnodes: 2}", "cannot name nodes of the local engine"),
        ("{name: a, capacity: {vcore: 1, nvidia.com/gpu: 1}, maxnodes: 2}", "has only those of this machine"),
        ("{name: a, capacity: {vcore: 1}}", "maxnodes is missing"),
    ],
)
def test_pools_that_the_local_engine_cannot_have_are_refused_with_the_mend(pooled: Home, tmp_path: Path, pool, said):
    (tmp_path / "pools.yaml").write_text(f"pools: [{pool}]\n")
    assert said in pooled.command("up", "--no-api", expect=2)
