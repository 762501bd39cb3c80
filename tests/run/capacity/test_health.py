"""A node that is not well is drained for real: its work moves and loses nothing, and it comes back by way of a test."""

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
import os
import time

from clearance import Evicted, Resources, context, dag, task


@task(resources=Resources(cpu=0.5))
def count(gate: str = "") -> list[str]:
    kept = context.checkpoint_dir / "seen"
    seen = kept.read_text().split() if kept.exists() else []
    seen.append(context.node)
    while not os.path.exists(gate):
        if context.evicting:
            kept.write_text(" ".join(seen))
            raise Evicted
        time.sleep(0.05)
    return seen


counter = dag("counter", count)
"""
POOLS = """health:
  probationseconds: 1
  mostout: 1
  preflight: {{resources: {{vcore: 100m}}, new: false, command: [test, -e, {passes}]}}
"""


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


class Machine:
    """A folder that looks like a machine with two GPUs, one for each node of `2x1cpu+1gpu`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "dev/kmsg"
        self.log.parent.mkdir(parents=True)
        self.log.touch()
        for address in ("0000:3b:00.0", "0000:5e:00.0"):
            (root / "proc/driver/nvidia/gpus" / address).mkdir(parents=True)

    def fill(self, entries: int) -> None:
        """Says that so many of 100 entries of the neighbour table are in use."""
        proc = self.root / "proc"
        for path, text in (
            ("net/stat/arp_cache", f"entries allocs\n{entries:08x} 0\n"),
            ("sys/net/ipv4/neigh/default/gc_thresh3", "100\n"),
        ):
            (proc / path).parent.mkdir(parents=True, exist_ok=True)
            (proc / path).write_text(text)

    def fail(self, device: str, number: int) -> None:
        """Writes an error of a GPU to the log, as the kernel does."""
        microseconds = int(time.monotonic() * 1e6)
        with self.log.open("a") as file:
            file.write(
                f"4,1234,{microseconds},-;NVRM: Xid (PCI:{device}): {number}, pid=1, GPU has fallen off the bus.\n"
            )


@pytest.fixture
def machine(home: Home, tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "machine")
    pools = tmp_path / "pools.yaml"
    pools.write_text(POOLS.format(passes=tmp_path / "passes"))
    (tmp_path / "counting.py").write_text(PIPELINE)
    home.environment |= {
        "CLEARANCE_POOLS": str(pools), "CLEARANCE_HEALTH_ROOT": str(made.root), "CLEARANCE_HEALTH_INTERVAL": "0.2",
        "CLEARANCE_NODES": "2x1cpu+1gpu",
    }  # fmt: skip
    return made


def leading(home: Home) -> subprocess.Popen[str]:
    leader = home.start("up", "--no-api")
    assert leader.stdout is not None
    line = leader.stdout.readline()
    assert "leading" in line, line + leader.stdout.read()
    return leader


def node(home: Home, name: str) -> dict[str, Any]:
    (found,) = json.loads(home.command("cluster", "nodes", name, "--json"))
    return found


@pytest.mark.slow
def test_a_gpu_that_is_gone_drains_its_node_and_the_node_comes_back_when_its_preflight_passes(
    home: Home, machine: Machine, tmp_path: Path
):
    gate = tmp_path / "gate"
    leader = leading(home)
    try:
        home.start("run", f"{tmp_path / 'counting.py'}:counter", "-p", f"gate={gate}", "--run-id", "moved")
        until(lambda: "moved" in home.command("runs", "list") and home.states("moved") == {"count": "running"})
        (told,) = json.loads(home.command("why", "moved", "count", "--json"))
        assert told["capacity"]["nodes"] == ["local-0"]

        machine.fail("0000:3b:00", 79)
        until(lambda: node(home, "local-0")["condition"] == "drained")
        assert node(home, "local-1")["condition"] == "healthy"
        assert "ip_pool_left is not seen: no network here" in home.command("cluster", "nodes")
        shown = node(home, "local-0")
        assert (shown["health"], shown["schedulable"]) == ("it is drained: gpu_error is 79", False)
        assert shown["signals"]["gpu_error"] == 79
        until(lambda: home.states("moved") == {"count": "running"})
        (told,) = json.loads(home.command("why", "moved", "count", "--json"))
        assert told["capacity"]["nodes"] == ["local-1"]

        os.kill(leader.pid, signal.SIGKILL)
        leader.wait(20)  # the run's own process leads from now on
        assert node(home, "local-0")["health"] == "it is drained: gpu_error is 79"

        home.command("cluster", "uncordon", "local-0")
        until(lambda: node(home, "local-0")["health"] == "it is drained: its preflight job failed")

        (tmp_path / "passes").touch()
        home.command("cluster", "uncordon", "local-0")
        until(lambda: node(home, "local-0")["condition"] == "healthy")
        gate.touch()
        until(lambda: home.states("moved") == {"count": "success"})
        assert home.show("moved")["tasks"][0]["attempts"] == 1
    finally:
        leader.terminate()
        leader.wait(20)


@pytest.mark.slow
def test_no_more_nodes_are_out_at_once_than_may_be(home: Home, machine: Machine):
    leader = leading(home)
    try:
        machine.fail("0000:3b:00", 79)
        until(lambda: node(home, "local-0")["condition"] == "drained")
        machine.fail("0000:5e:00", 48)
        until(lambda: node(home, "local-1")["condition"] == "suspect")
        assert node(home, "local-1")["schedulable"]
        (machine.root.parent / "passes").touch()
        home.command("cluster", "uncordon", "local-0")
        until(lambda: node(home, "local-1")["condition"] == "drained")
    finally:
        leader.terminate()
        leader.wait(20)


@pytest.mark.slow
def test_nodes_that_come_are_tested_side_by_side(home: Home, machine: Machine, tmp_path: Path):
    (tmp_path / "pools.yaml").write_text(
        "health:\n  preflight: {resources: {vcore: 100m}, new: true, command: [sleep, '2']}\n"
    )
    leader = leading(home)
    try:
        until(lambda: node(home, "local-1")["condition"] == "testing")
        for name in ("local-0", "local-1"):
            until(lambda name=name: node(home, name)["condition"] == "healthy", 20)
    finally:
        leader.terminate()
        leader.wait(20)


@pytest.mark.slow
def test_a_full_neighbour_table_closes_a_node_that_keeps_what_it_has_until_there_is_room_again(
    home: Home, machine: Machine, tmp_path: Path
):
    (tmp_path / "pools.yaml").write_text("health: {mostout: 1, calmseconds: 1, probationseconds: 1}\n")
    machine.fill(20)
    gate = tmp_path / "gate"
    leader = leading(home)
    pipeline = f"{tmp_path / 'counting.py'}:counter"

    def start(run: str) -> str:
        home.start("run", pipeline, "-p", f"gate={gate}", "--run-id", run)
        until(lambda: run in home.command("runs", "list") and home.states(run) == {"count": "running"})
        (told,) = json.loads(home.command("why", run, "count", "--json"))
        (where,) = told["capacity"]["nodes"]
        return where

    try:
        assert start("before") == "local-0"
        machine.fill(95)
        until(lambda: node(home, "local-0")["condition"] == "cordoned")
        shown = node(home, "local-0")
        assert (shown["health"], shown["schedulable"]) == ("it is cordoned: neighbour_fill is 0.95", False)
        assert shown["signals"]["neighbour_fill"] == 0.95
        assert home.states("before") == {"count": "running"}
        assert start("meanwhile") == "local-1"
        assert "neighbour_fill 0.95" in home.command("cluster", "nodes")
        machine.fill(20)
        for name in ("local-0", "local-1"):
            until(lambda name=name: node(home, name)["condition"] == "healthy")
        gate.touch()
        until(lambda: {*home.states("before").values(), *home.states("meanwhile").values()} == {"success"})
    finally:
        leader.terminate()
        leader.wait(20)
