"""The code of a task: what changes it, and what does not."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import GraphError
from clearance.graph.code import Code, Sources
from clearance.graph.options import options
from clearance.graph.origin import Origin, Site
from clearance.graph.syntax import canonical, names_of

HEAD = "from clearance import context, dag, task\n"


def code(folder: Path, text: str, name: str = "f", module: str = "pipe", **files: str) -> Code:
    """The code of a function in a file, read as a fresh process reads it."""
    for file, content in files.items():
        path = folder / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    path = folder / f"{module.replace('.', '/')}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for each in folder.rglob("*.py"):  # two writes within one tick of the clock are two files
        os.utime(each, ns=(next(_ticks), next(_ticks)))
    return Sources().code_of(Origin(module, name, Site(path.name, 1), str(path)))


def _count():
    number = 10**18
    while True:
        number += 10**9
        yield number


_ticks = _count()

BASE = (
    HEAD
    + "LIMIT = 3\n\ndef helper(x, y=LIMIT):\n    return x * y\n\n"
    + "@task\ndef f(x: int) -> int:\n    return helper(x) + 1\n"
)


@pytest.mark.parametrize(
    "other",
    [
        BASE.replace("    return helper(x) + 1", "    # why\n    return (helper( x )\n            + 0x1)"),
        BASE.replace("    return x * y", '    """Says what."""\n    pass\n    return x * y'),
        BASE.replace("@task", "@task(retries=3, cache='7d', version='9')"),
        BASE.replace("def helper(x, y=LIMIT)", "def helper(x: 'int', y: int = LIMIT) -> int"),
        BASE.replace("LIMIT = 3", "LIMIT: int = 3"),
        BASE + "def unused():\n    return 7\nOTHER = 8\ndigits = dag('d', f)\n",
        '"""A module."""\n' + "\n\n\n" + BASE,
        BASE.replace("import context, dag, task", "import task, dag, context"),
        BASE + "if __name__ == '__main__':\n    digits.run()\n    LIMIT = 9\n",
    ],
)
def test_what_does_not_count(tmp_path: Path, other: str):
    assert code(tmp_path, BASE).digest == code(tmp_path, other).digest


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("helper(x) + 1", "helper(x) + 2", "pipe:f"),
        ("helper(x) + 1", "helper(x) + 1.0", "pipe:f"),
        ("helper(x) + 1", "helper(x) + True", "pipe:f"),
        ("x * y", "y * x", "pipe:helper"),
        ("y=LIMIT", "y=3", "pipe:helper"),
        ("LIMIT = 3", "LIMIT = 4", "pipe:LIMIT"),
        ("LIMIT = 3", "LIMIT = 3\nLIMIT += 1", "pipe:LIMIT"),
        ("def f(x: int)", "def f(x: float)", "pipe:f"),
        ("-> int", "-> str", "pipe:f"),
        ("@task", "@deco\n@task", "pipe:f"),
        ("LIMIT = 3", "try:\n    LIMIT = 3\nexcept OSError:\n    LIMIT = 4", "pipe:LIMIT"),
    ],
)
def test_what_counts_and_how_it_is_named(tmp_path: Path, old: str, new: str, part: str):
    deco = "def deco(g):\n    return g\n"
    before, after = code(tmp_path, deco + BASE), code(tmp_path, deco + BASE.replace(old, new))
    assert before.digest != after.digest
    assert before.parts.get(part) != after.parts[part]
    assert all(before.parts[name] == after.parts[name] for name in before.parts if name not in (part, "pipe:LIMIT"))


def test_a_parameter_that_is_called_like_a_task_refers_to_nothing(tmp_path: Path):
    text = (
        HEAD
        + "@task\ndef images():\n    return {}\n\n@task\ndef f(images):\n    return [images for images in images]\n"
    )
    one, two = code(tmp_path, text.format(1)), code(tmp_path, text.format(2))
    assert one == two
    assert set(one.parts) == {"pipe:f"}


@pytest.mark.parametrize(
    ("use", "parts"),
    [
        ("import lib\ndef f(x):\n    return lib.scale(x)\n", {"pipe:f", "lib:scale", "lib:K"}),
        ("import lib as l\ndef f(x):\n    return l.scale(x)\n", {"pipe:f", "lib:scale", "lib:K"}),
        ("from lib import scale as s\ndef f(x):\n    return s(x)\n", {"pipe:f", "lib:scale", "lib:K"}),
        ("from lib import *\ndef f(x):\n    return scale(x)\n", {"pipe:f", "lib:scale", "lib:K"}),
        ("import pkg.inner\ndef f(x):\n    return pkg.inner.deep(x)\n", {"pipe:f", "pkg.inner:deep"}),
        ("from pkg import inner\ndef f(x):\n    return inner.deep(x)\n", {"pipe:f", "pkg.inner:deep"}),
        ("import lib\ndef f(x):\n    return getattr(lib, 'scale')(x)\n", {"pipe:f", "lib:*", "lib:K"}),
        ("def f(x):\n    from lib import scale\n    return scale(x)\n", {"pipe:f", "lib:scale", "lib:K"}),
        ("from pkg import up\ndef f(x):\n    return up(x)\n", {"pipe:f", "lib:scale", "lib:K"}),
        ("import numpy as np\ndef f(x):\n    return np.sum(x)\n", {"pipe:f"}),
    ],
)  # fmt: skip
def test_imports_are_followed_through_the_files_of_the_pipeline_and_no_further(
    tmp_path: Path, use: str, parts: set[str]
):
    files = {
        "lib": "K = 3\ndef scale(x):\n    return x * K\ndef other():\n    return 0\n",
        "pkg/__init__": "from lib import scale as up\n",
        "pkg/inner": "def deep(x):\n    return x\n",
    }
    assert set(code(tmp_path, use, **files).parts) == parts


def test_modules_that_import_from_each_other_come_to_an_end(tmp_path: Path):
    files = {"a": "from b import g\ndef h(x):\n    return g(x)\n", "b": "from a import h\nfrom a import g\n"}
    assert set(code(tmp_path, "from a import h\ndef f(x):\n    return h(x)\n", **files).parts) == {"pipe:f", "a:h"}


def test_what_changes_a_table_of_the_module_counts(tmp_path: Path):
    text = "T = {}\nT['a'] = 1\nT.update(b=2)\nfor k in 'cd':\n    T[k] = k\ndef f(x):\n    return T[x]\n"
    first = code(tmp_path, text)
    for old, new in (("'a'] = 1", "'a'] = 2"), ("b=2", "b=3"), ("'cd'", "'ce'")):
        assert code(tmp_path, text.replace(old, new)).digest != first.digest


def test_it_says_whether_files_are_read_and_what_the_context_is_asked_for(tmp_path: Path):
    assert code(tmp_path, "from pathlib import Path\ndef f():\n    return Path(__file__)\n").files
    assert code(tmp_path, "import importlib.resources as r\ndef f():\n    return r.files('x')\n").files
    assert not code(tmp_path, BASE).files
    assert code(tmp_path, HEAD + "def f():\n    return context.data_interval\n").asks == ("interval",)
    assert code(tmp_path, HEAD + "def f():\n    return context.checkpoint_dir\n").asks == ()
    assert code(tmp_path, "import clearance\ndef f():\n    return clearance.context.run\n").asks == ("run",)
    assert code(tmp_path, HEAD + "def f():\n    return g(context)\n").asks == ("attempt", "events", "interval", "run")


def test_the_digest_is_the_same_under_every_hash_seed_and_wherever_the_file_lies(tmp_path: Path):
    text = (
        "import sys, json\nfrom pathlib import Path\nfrom clearance.graph.code import Sources\n"
        "from clearance.graph.origin import Origin, Site\n"
        "found = Sources().code_of(Origin('pipe', 'f', Site('pipe.py', 1), sys.argv[1]))\n"
        "print(json.dumps([found.digest, found.parts]))\n"
    )
    answers = set()
    for seed, place in (("1", "one"), ("2", "two"), ("77", "three")):
        file = tmp_path / place / "pipe.py"
        file.parent.mkdir()
        file.write_text(BASE.replace("return x * y", "return {x, y} | {1, 2, 3}"))
        done = subprocess.run(
            [sys.executable, "-c", text, str(file)], check=True, capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        )  # fmt: skip
        answers.add(done.stdout)
    assert len(answers) == 1
    assert json.loads(answers.pop())[1].keys() == {"pipe:f", "pipe:helper", "pipe:LIMIT"}


def test_a_deep_expression_is_a_loop_and_no_recursion(tmp_path: Path):
    text = "def f(x):\n    return " + "x + " * 800 + "1\n"
    assert code(tmp_path, text).digest != code(tmp_path, text.replace("+ 1\n", "+ 2\n")).digest


def test_a_function_without_source_is_refused(tmp_path: Path):
    with pytest.raises(GraphError, match="the source of pipe:g is not to be found"):
        code(tmp_path, BASE, name="g")


@pytest.mark.parametrize(("cache", "age"), [(None, None), (True, -1.0), (False, 0.0), ("7d", 604800.0), (60, 60.0)])
def test_the_option_says_how_old_a_result_may_be(cache, age):
    assert options(cache=cache).cache == age


@pytest.mark.parametrize("cache", [0, -1, "soon", [], float("nan")])
def test_a_cache_that_is_no_age_is_refused(cache):
    with pytest.raises(GraphError, match=r"cache is .*: write True, False, or the largest age"):
        options(cache=cache)


def test_a_version_that_is_none_is_refused():
    assert options(version=2).version == "2"
    with pytest.raises(GraphError, match="version is"):
        options(version=["2"])


NAMES = st.sampled_from(["x", "y", "total", "LIMIT"])
NUMBERS = st.one_of(st.integers(0, 10**6), st.floats(0, 1e6, allow_nan=False), st.booleans())
EXPRESSIONS = st.recursive(
    st.one_of(
        NUMBERS.map(ast.Constant),
        st.text(max_size=5).map(ast.Constant),
        st.binary(max_size=3).map(ast.Constant),
        NAMES.map(lambda name: ast.Name(name, ast.Load())),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([ast.Add, ast.Mult]), inner).map(lambda t: ast.BinOp(t[0], t[1](), t[2])),
        st.lists(inner, max_size=3).map(lambda items: ast.List(items, ast.Load())),
        st.tuples(NAMES, st.lists(inner, max_size=2)).map(
            lambda t: ast.Call(ast.Name(t[0], ast.Load()), t[1], [])
        ),
    ),
    max_leaves=8,
)  # fmt: skip
STATEMENTS = st.one_of(
    st.tuples(NAMES, EXPRESSIONS).map(lambda t: ast.Assign([ast.Name(t[0], ast.Store())], t[1])),
    EXPRESSIONS.map(ast.Return),
    st.tuples(EXPRESSIONS, EXPRESSIONS).map(lambda t: ast.If(t[0], [ast.Return(t[1])], [])),
)


def function(body: list[ast.stmt]) -> str:
    arguments = ast.arguments([], [ast.arg("x")], None, [], [], None, [])
    made = ast.FunctionDef("f", arguments, body or [ast.Pass()], [])
    made.type_params = []  # since Python 3.12
    return ast.unparse(ast.fix_missing_locations(ast.Module([made], [])))


def form(text: str) -> bytes:
    return canonical(ast.parse(text).body[0])


@given(st.lists(STATEMENTS, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=120, deadline=None)
def test_formatting_never_changes_the_form(body: list[ast.stmt], chance):
    text = function(body)
    lines = text.split("\n")
    spread = [lines[0]] + ['    """Says what."""'] * chance.randint(0, 1)
    for line in lines[1:]:
        spread += [""] * chance.randint(0, 2) + ["    # why"] * chance.randint(0, 1)
        spread.append(line + "  # so" * chance.randint(0, 1) if '"""' not in line and "\\" not in line else line)
    assert form(text) == form("\n".join(spread))
    wide = "\n".join(line.replace("    ", "\t") if "'" not in line and '"' not in line else line for line in lines)
    if wide.count("\t") == text.count("    "):
        assert form(text) == form(wide)


@given(st.lists(STATEMENTS, max_size=4), st.lists(STATEMENTS, max_size=4))
@settings(max_examples=120, deadline=None)
def test_two_functions_have_one_form_only_where_python_sees_the_same_code(one: list[ast.stmt], two: list[ast.stmt]):
    """Judged by the standard library's own dump of the tree."""

    def dump(text: str) -> str:
        body = ast.parse(text).body[0].body  # type: ignore[attr-defined]
        return " ".join(ast.dump(each) for each in body if not _idle(each))

    left, right = function(one), function(two)
    assert (form(left) == form(right)) == (dump(left) == dump(right))


@given(st.lists(STATEMENTS, min_size=1, max_size=4), st.data())
@settings(max_examples=120, deadline=None)
def test_a_changed_constant_always_changes_the_form(body: list[ast.stmt], data: st.DataObject):
    text = function(body)
    constants = [node for node in ast.walk(ast.parse(text).body[0]) if isinstance(node, ast.Constant)]
    if not constants:
        return
    tree = ast.parse(text)
    chosen = data.draw(st.integers(0, len(constants) - 1))
    node = [each for each in ast.walk(tree.body[0]) if isinstance(each, ast.Constant)][chosen]
    others = NUMBERS | st.text(max_size=5) | st.binary(max_size=3)
    was = node.value
    node.value = data.draw(others.filter(lambda value: type(value) is not type(was) or value != was))
    assert canonical(tree.body[0]) != form(text)


def _idle(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def test_names_of_scopes():
    text = """
def f(a, b=OUT, *c, **d):
    global G
    e = a + B.inner
    def g(h): return e + h + K
    class C(Base):
        z: Kind = 3
    try: pass
    except Bad as bad: bad
    for i in range(3): i
    with open(a) as w: w
    lambda q: q + L
    return [x for x in a if x > M] + [e]
"""
    found = names_of(ast.parse(text).body[0])
    wanted = {"OUT", "K", "Base", "Kind", "Bad", "range", "open", "L", "M", "G"}
    assert found.chains == {(name,) for name in wanted} | {("B", "inner")}
    assert found.binds == {"f"}
