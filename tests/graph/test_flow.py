"""Flows as graphs: one node, and what it may call; what a flow cannot be is an error with the mend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clearance.errors import GraphError
from clearance.graph.loading import load

HEAD = """from clearance import Resources, cron, dag, flow, task

@task
def add(a: int, b: int = 1) -> int:
    return a + b

"""


def loaded(folder: Path, body: str, name: str | None = None):
    """Writes a file and returns its flow."""
    file = folder / "pipe.py"
    file.write_text(HEAD + body)
    return load(file, name)


def test_a_flow_is_one_node_and_what_it_may_call(tmp_path: Path) -> None:
    made = loaded(
        tmp_path,
        "@task(resources=Resources(cpu=2))\ndef far(a: int) -> int:\n    return a\n"
        "@flow(retries=2, timeout='1m')\ndef sums(n: int = 3) -> int:\n    '''What it is.'''\n    return add(n)\n",
    )
    graph = made.graph(n="5")
    assert [(node.id, node.flow, node.step) for node in graph.nodes] == [
        ("sums", True, False), ("add", False, True), ("far", False, True),
    ]  # fmt: skip
    assert graph.nodes[0].inputs["n"].value == 5
    assert (graph.nodes[0].retries.times, graph.nodes[0].timeout, graph.doc) == (2, 60.0, "What it is.")
    assert graph.nodes[2].resources["cpu"] == 2000
    assert graph.parameters == {"n": 5}


def test_without_a_run_a_flow_is_its_function(tmp_path: Path) -> None:
    assert loaded(tmp_path, "@flow\ndef sums(n: int = 3) -> int:\n    return add(n) + add(n, 2)\n")(4) == 11


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("@flow(gang=2)\ndef f() -> int:\n    return 1", "flow 'f' takes no gang"),
        ("@flow\nasync def f() -> int:\n    return 1", "is async or a generator"),
        ("@flow\ndef f():\n    yield 1", "is async or a generator"),
        ("@flow(retry=2)\ndef f() -> int:\n    return 1", "unknown option 'retry'"),
        ("@flow(schedule=cron('0 5 * * *'))\ndef f(n: int) -> int:\n    return 1", "give 'n' a default"),
        ("def g():\n    @flow\n    def f() -> int:\n        return 1\n    return f\ng()", "defined inside a function"),
        ("flow(3)", "@flow wants a function, not 3"),
        ("@flow\ndef f() -> int:\n    return 1\n@dag\ndef d():\n    f()\nd.graph()", "flow 'f' is called in a dag"),
        ("@flow\ndef f() -> int:\n    return 1\nadd >> f", "a flow calls its tasks"),
        ("@flow\ndef add() -> int:\n    return 1\n", "takes"),
        ("add.submit(1)\n", "submit() is for flows"),
    ],
)
def test_what_a_flow_cannot_be(tmp_path: Path, body: str, problem: str) -> None:
    if problem == "takes":  # the flow has taken the place of the task of its name: nothing is left to call
        assert [node.id for node in loaded(tmp_path, body).graph().nodes] == ["add"]
        return
    with pytest.raises(GraphError, match=re.escape(problem)):
        loaded(tmp_path, body)


def test_a_flow_with_the_name_of_one_of_its_tasks_is_refused(tmp_path: Path) -> None:
    made = loaded(tmp_path, "@flow(name='add')\ndef f() -> int:\n    return add(1)\n")
    with pytest.raises(GraphError, match="has the id of another task or flow"):
        made.graph()


def test_wrong_parameters_are_named(tmp_path: Path) -> None:
    made = loaded(tmp_path, "@flow\ndef f(n: int) -> int:\n    return add(n)\n")
    with pytest.raises(GraphError, match="parameter 'n' \\(int\\) is missing"):
        made.graph()
    with pytest.raises(GraphError, match="parameter 'm' is unknown"):
        made.graph(m=1)
