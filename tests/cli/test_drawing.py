"""SVG and PNG of a DAG."""

import xml.etree.ElementTree as ET

from clearance.cli.drawing import COLOURS, png, svg
from clearance.graph.model import Graph, Node, Result, Value
from clearance.types.states import TaskState

GRAPH = Graph(
    dag="d<&>",
    nodes=(
        Node(id="a", function="m:a", returns="clearance.types.references.Tree"),
        Node(id="b", function="m:b", mapped={"x": Value([1, 2, 3])}, upstream=("a",), returns="list[int]"),
        Node(id="c", function="m:<c>", mapped={"x": Result("a")}, upstream=("a",), gang=4),
        Node(id="d", function="m:d", upstream=("a", "b", "c")),
    ),
)


def texts(document: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(document).iter("{http://www.w3.org/2000/svg}text")]


def test_the_svg_is_well_formed_and_shows_every_task():
    shown = texts(svg(GRAPH))
    assert {"a", "b ×3", "c ×n", "d", "→ Tree", "gang of 4"} <= set(shown)


def test_states_and_times_are_shown_as_words():
    shown = texts(svg(GRAPH, {"a": "success", "b": "up_for_retry"}, {"a": 75.0}))
    assert "success · 1m15s" in shown
    assert "up for retry" in shown


def test_every_state_that_can_be_drawn_has_a_colour():
    assert set(COLOURS) - {""} == {state.value for state in TaskState if state is not TaskState.SCHEDULED}


def test_the_same_graph_gives_the_same_picture():
    assert svg(GRAPH) == svg(GRAPH)


def test_png(tmp_path):
    png(GRAPH, tmp_path / "d.png", {"a": "failed"})
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
