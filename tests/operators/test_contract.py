"""What holds for every operator."""

from __future__ import annotations

import subprocess
import sys

import pytest

import clearance.operators
from clearance import Secret
from clearance.errors import GraphError
from clearance.graph.dag import dag
from clearance.operators import approval, bash, container, http, notebook, sql, ssh, trigger_dag
from clearance.operators.contract import OperatorFailed, text_of
from clearance.types.references import File

MADE = {
    "bash": lambda: bash("x", ["true"], env={"A": 1, "B": Secret.env("B")}),
    "http": lambda: http("x", "https://example.org/", auth=Secret.env("B")),
    "sql": lambda: sql("x", "sqlite:////x.db", "SELECT 1"),
    "container": lambda: container("x", "localhost/x", ["true"]),
    "ssh": lambda: ssh("x", "user@host", ["true"]),
    "notebook": lambda: notebook("x", "x.ipynb", parameters={"a": 1}),
    "approval": lambda: approval("x", approvers=["mia"]),
    "trigger_dag": lambda: trigger_dag("x", "other", parameters={"a": 1}),
    "file_sensor": lambda: clearance.operators.file_sensor("x", "/x"),
    "http_sensor": lambda: clearance.operators.http_sensor("x", "https://example.org/"),
    "sql_sensor": lambda: clearance.operators.sql_sensor("x", "sqlite:////x.db", "SELECT 1"),
}


@pytest.mark.parametrize("name", MADE)
def test_its_configuration_is_data_and_no_parameter_of_the_dag(name):
    made = dag("d", MADE[name]())
    (node,) = made.graph().nodes
    assert node.id == "x"
    assert node.file.endswith("test_contract.py")
    assert node.function.startswith("clearance.operators.")
    assert made.parameters == {}
    assert made.graph() == made.graph()


@pytest.mark.parametrize("name", MADE)
def test_nothing_flows_into_it_by_a_guess(name):
    made = dag("d", bash("before", ["echo", "x"], result="text") >> MADE[name]())
    assert made.graph().nodes[1].upstream == ("before",)
    assert not any(type(binding).__name__ == "Result" for binding in made.graph().nodes[1].inputs.values())


def test_in_a_dag_function_it_is_a_step_and_elsewhere_a_task():
    @dag
    def inside():
        bash("second", ["wc", bash("first", ["echo", "x"], result="output")])

    first, second = inside.graph().nodes
    assert (first.id, second.id, second.upstream) == ("first", "second", ("first",))
    assert type(bash("x", ["true"])).__name__ == "Task"


def test_two_of_one_name_are_refused_at_the_line_of_the_second():
    with pytest.raises(GraphError, match="declared twice"):
        dag("d", [bash("x", ["true"]), bash("x", ["false"])])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        (3, "3"),
        (True, "true"),
        (None, "null"),
        (2.5, "2.5"),
        ([1, "x"], '[1,"x"]'),
        (File("/a b"), "/a b"),
    ],
)
def test_a_value_has_one_form_as_an_argument(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize("value", ["a\0b", object(), {1: object()}])
def test_what_is_no_argument_is_refused(value):
    with pytest.raises(OperatorFailed):
        text_of(value)


@pytest.mark.parametrize(
    "order",
    [
        "import clearance.operators.bash; from clearance.operators import bash",
        "from clearance.operators import bash; import clearance.operators.bash; from clearance.operators import bash",
    ],
)
def test_the_names_are_functions_in_whatever_order_they_are_imported(order):
    code = f"{order}\nassert callable(bash), bash\nimport clearance\nassert 'bash' not in dir(clearance)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_them_imports_nothing_heavy():
    code = (
        "import clearance.operators, sys; "
        "print([name for name in ('ssl', 'sqlite3', 'http.client', 'psycopg', 'nbformat', 'numpy') "
        "if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
