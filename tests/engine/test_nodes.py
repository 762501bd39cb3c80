"""Virtual nodes of the local engine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from clearance.engine.conformance import Bench, value_of
from clearance.engine.local.engine import LocalEngine
from clearance.engine.local.nodes import first_devices, nodes_of
from clearance.errors import EngineError
from clearance.settings import Settings

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_without_virtual_nodes_there_is_this_machine():
    (node,) = nodes_of(Settings(workers=3))
    assert node.name == socket.gethostname()
    assert node.capacity["cpu"] == 3000


def test_virtual_nodes_stand_in_the_place_of_the_machine_and_share_its_memory():
    nodes = nodes_of(Settings(nodes="2x1cpu,big=1x64cpu+1Ti+2gpu"))
    assert [node.name for node in nodes] == ["local-0", "local-1", "big-0"]
    assert nodes[2].capacity == {"cpu": 64000, "memory": 2**40, "gpu": 2000}
    assert nodes[0].capacity == nodes[1].capacity
    assert 0 < nodes[0].capacity["memory"] <= MEMORY // 3


def test_devices_of_a_later_node_come_after_those_of_an_earlier_one(home: Path):
    assert first_devices(Settings(nodes="2x1cpu+2gpu,1x1cpu+1gpu")) == {"local-0": 0, "local-1": 2, "local-2": 4}
    engine = LocalEngine(Settings(home=home, nodes="2x1cpu+2gpu"))
    bench = Bench(engine, home, engine.adopt(1))
    found = bench.run("a.1", "variable", name="CUDA_VISIBLE_DEVICES", nodes=("local-1",), devices=((0, 1),))
    assert value_of(found.result) == "2,3"
    engine.close(stop=True)


@pytest.mark.parametrize("how", [{"nodes": ("local-0",)}, {"devices": ((0,), (1,), (2,))}])
def test_a_launch_that_places_not_every_process_is_refused(bench: Bench, how: dict[str, tuple[object, ...]]):
    with pytest.raises(EngineError, match="for a gang of 2: give one a process"):
        bench.launch("a.1", "add", gang=2, a=1, b=1, **how)
