"""SVG and PNG of a DAG."""

import subprocess
import sys
import xml.etree.ElementTree as ET

from clearance.cli.drawing import COLOURS, Course, png, svg
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
    shown = texts(
        svg(GRAPH, Course({"a": "success", "b": "up_for_retry"}, {"a": 75.0, "b": 0.034}, {"c": 7}, "d/1 & more"))
    )
    assert "success · 1m15s" in shown
    assert "up for retry · 34 ms" in shown
    assert {"c ×7", "d/1 & more"} <= set(shown)


def test_every_state_that_can_be_drawn_has_a_colour():
    assert set(COLOURS) - {""} == {state.value for state in TaskState if state is not TaskState.SCHEDULED}


def test_the_same_graph_gives_the_same_picture():
    assert svg(GRAPH) == svg(GRAPH)


def test_png(tmp_path):
    png(GRAPH, tmp_path / "d.png", Course({"a": "failed"}, caption="d/1"))
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_run_is_drawn_with_its_states_and_seconds(clearance, tmp_path):
    (tmp_path / "pipe.py").write_text(
        "from clearance import dag, task\n"
        "@task\ndef numbers() -> list[int]: return [1, 2]\n"
        "@task\ndef half(x: int) -> float: return 2 / (x - 1)\n"
        "@task\ndef total(xs: list[float]) -> float: return sum(xs)\n"
        "@dag\ndef sums():\n    total(half.map(x=numbers()))\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "clearance.cli", "run", "pipe.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert clearance("runs", "show", "sums/1", "--svg", "sums.svg", "--png", "sums.png").code == 0
    shown = texts((tmp_path / "sums.svg").read_text())
    assert shown[0].startswith("sums/1 · failed · 3 tasks · ")
    assert {"half ×2", "upstream failed"} <= set(shown)
    assert any(text.startswith("success · ") for text in shown)
    assert (tmp_path / "sums.png").read_bytes().startswith(b"\x89PNG")
    assert clearance("runs", "show", "sums/1", "--svg", "no/such/folder.svg").code == 2


def test_what_a_flow_may_call_stands_behind_it_with_dashed_arrows():
    flow = Node(id="search", function="p:search", flow=True)
    graph = Graph(dag="search", nodes=(flow, *(Node(id=name, function=f"p:{name}", step=True) for name in "ab")))
    drawn = svg(graph)
    assert drawn.count("stroke-dasharray") == 2
    assert drawn.count('marker-end="url(#arrow)"') == 2
