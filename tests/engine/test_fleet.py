"""Nodes that come and go: each order is done once, and what is written down outlives whoever wrote it."""

import math
import time

import pytest

from clearance.engine.base import Node, NodeGone, NodeReady, Scaling
from clearance.engine.local.fleet import Fleet
from clearance.errors import EngineError

ORDER = Scaling("1.7", "small", 2, {"cpu": 1000})


def test_an_order_is_done_once_also_by_another_who_gives_it_again(tmp_path):
    Fleet(tmp_path).scale([ORDER, ORDER])
    again = Fleet(tmp_path)
    again.scale([ORDER])
    assert [node.name for node in again.nodes()] == ["small-0", "small-1"]


def test_a_node_is_told_of_once_when_its_time_has_come(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.scale([Scaling("1.1", "small", 1, {"cpu": 1000}, 0.2)])
    assert (fleet.observe(), fleet.nodes(), fleet.starting()) == ([], [], {"small": 1})
    time.sleep(max(fleet.due - time.time(), 0))
    assert fleet.observe() == [NodeReady(Node("small-0", {"cpu": 1000}, "small"))]
    assert (fleet.observe(), fleet.starting(), fleet.due) == ([], {}, math.inf)


def test_what_is_on_its_way_is_known_to_the_next(tmp_path):
    Fleet(tmp_path).scale([Scaling("1.1", "small", 3, {"cpu": 1000}, 60.0)])
    assert Fleet(tmp_path).starting() == {"small": 3}


def test_nodes_go_and_no_name_is_given_twice(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.scale([ORDER])
    fleet.observe()
    fleet.scale([Scaling("1.8", "small", remove=("small-1", "small-9"))])
    assert fleet.due == 0.0
    assert fleet.observe() == [NodeGone("small-1")]
    fleet.scale([Scaling("1.9", "small", 1, {"cpu": 1000})])
    assert [event.node.name for event in fleet.observe()] == ["small-2"]


def test_a_file_that_cannot_be_read_is_said_with_its_path(tmp_path):
    (tmp_path / "nodes.json").write_text("{")
    with pytest.raises(EngineError, match=r"nodes\.json cannot be read"):
        Fleet(tmp_path)
