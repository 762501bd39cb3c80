"""Loading a pipeline: whatever its code does wrong becomes an error with its line."""

import subprocess
import sys

import pytest

from clearance.errors import GraphError, UsageError
from clearance.graph.loading import dags_of, load, load_module
from clearance.graph.model import decode

TWO = """
    @task
    def a(n: int = 1) -> int: ...
    first = dag("one", a)
    @dag
    def second(limit: int = 3):
        a(limit)
"""


def test_a_dag_is_found_by_id_and_by_variable(pipeline):
    file = pipeline(TWO)
    assert load(file, "one").id == "one"
    assert load(file, "first").id == "one"
    assert load(file, "second").id == "second"
    assert list(dags_of(load_module(file))) == ["one", "second"]


def test_several_dags_without_a_name_are_listed(pipeline):
    with pytest.raises(GraphError, match=r"say which: pipe.py:one, pipe.py:second"):
        load(pipeline(TWO))


def test_an_unknown_dag_names_the_nearest(pipeline):
    with pytest.raises(GraphError, match="no dag 'secnd'; did you mean 'second'"):
        load(pipeline(TWO), "secnd")


def test_a_file_without_a_dag_is_refused(pipeline):
    with pytest.raises(GraphError, match="holds no dag"):
        load(pipeline("x = 1"))


def test_two_dags_of_one_id_are_refused(pipeline):
    with pytest.raises(GraphError, match=r"dag 'd' is defined twice, at pipe.py:4 and at pipe.py:5"):
        load(pipeline("@task\ndef a(): ...\nx = dag('d', a)\ny = dag('d', a)"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef (", r"^pipe.py:3: "),
        ("import nomodule_xyz", r"^pipe.py:2: ModuleNotFoundError: .*install nomodule_xyz in this environment"),
        ("from json import nothing_here", r"^pipe.py:2: ImportError"),
        ("def f():\n    return 1 / 0\nf()", r"^pipe.py:3: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", r"^pipe.py:2: SystemExit: 3"),
        ("def f(): f()\nf()", r"^pipe.py:2: RecursionError"),
        ("import json\njson.loads('{')", r"^pipe.py:3: JSONDecodeError"),
        ("class E(Exception): ...\nraise E", r"^pipe.py:3: E$"),
    ],
)
def test_an_error_in_user_code_names_its_line(refused, text, message):
    import re

    assert re.search(message, refused(text)), refused(text)


def test_a_file_that_changed_is_loaded_anew_with_its_helpers(pipeline):
    file = pipeline("import helper\n@task\ndef a(): ...\nd = dag(helper.NAME, a)")
    helper = file.with_name("helper.py")
    for name in ("one", "another"):
        helper.write_text(f"NAME = {name!r}")
        assert load(file).id == name


def test_two_files_of_one_name_do_not_mix(pipeline):
    text = "@task\ndef a(): ...\nd = dag({!r}, a)"
    for place in ("x", "y"):
        assert load(pipeline(text.format(place), f"{place}/pipe.py")).id == place


def test_a_name_with_a_dash_and_a_file_in_a_package(pipeline):
    text = "@task\ndef a(): ...\nd = dag('d', a)"
    assert load(pipeline(text, "my-pipe.py")).graph().nodes[0].function == "my-pipe:a"
    file = pipeline("from .helper import X\n" + text, "pkg/sub/p.py")
    for name in ("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/helper.py"):
        (file.parents[2] / name).write_text("X = 1")
    node = load(file).graph().nodes[0]
    assert (node.function, node.file, node.line) == ("pkg.sub.p:a", "pkg/sub/p.py", 3)


def test_a_file_that_hides_a_module_in_use_is_refused(pipeline):
    for name in ("json.py", "pytest.py"):
        with pytest.raises(UsageError, match="rename it"):
            load(pipeline("", name))


def test_a_missing_file_names_the_nearest(pipeline):
    file = pipeline("")
    with pytest.raises(UsageError, match=r"does not exist; did you mean 'pipe.py'"):
        load(file.with_name("pip.py"))


def zygote(file, code):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(file.parent)!r})\n{code}"],
        capture_output=True,
        check=True,
    )
    return done.stdout


def test_define_returns_the_graph_as_json(pipeline):
    code = "from clearance.graph.loading import define\nprint(define('pipe', 'second', {'limit': '7'}).decode())"
    graph = decode(zygote(pipeline(TWO), code))
    assert (graph.dag, graph.parameters, graph.nodes[0].id) == ("second", {"limit": 7}, "a")


def test_define_gives_graph_errors(pipeline):
    code = (
        "from clearance.graph.loading import define\n"
        "for module, name, values in (('pipe', '', {}), ('pipe', 'second', {'limit': 'x'}), ('json', '', {})):\n"
        "    try: define(module, name, values)\n"
        "    except Exception as error: print(type(error).__name__, error)"
    )
    lines = zygote(pipeline(TWO), code).decode().splitlines()
    assert lines[0] == "GraphError pipe.py holds several dags, say which: pipe.py:one, pipe.py:second"
    assert lines[1] == "GraphError dag 'second': parameter 'limit' wants int, not 'x'"
    assert "hides one that is in use" in lines[2]


def test_an_error_inside_an_dag_function_names_its_line(pipeline):
    file = pipeline("@task\ndef a(): ...\n@dag\ndef d():\n    a()\n    [][1]")
    code = (
        "from clearance.graph.loading import define\n"
        "try: define('pipe', '', {})\nexcept Exception as error: print(type(error).__name__, error)"
    )
    assert zygote(file, code).decode().strip() == "GraphError pipe.py:7: IndexError: list index out of range"


def test_a_pipeline_that_runs_as_main_is_named_by_its_file(pipeline):
    file = pipeline("@task\ndef a(): ...\nd = dag('d', a)\nprint(d.graph().nodes[0].function, d.graph().nodes[0].file)")
    assert subprocess.run([sys.executable, str(file)], capture_output=True).stdout.decode().strip() == "pipe:a pipe.py"


def test_a_task_typed_in_at_a_prompt_is_refused():
    code = "from clearance import dag, task\n@task\ndef a(): ...\ndag('d', a)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert b"put it in a .py file" in done.stderr
