"""Notebooks, executed in real kernels."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from clearance.errors import GraphError
from clearance.operators import notebook
from support.runs import wait_for

nbformat = pytest.importorskip("nbformat", reason="the extra `notebook` is not installed")
pytest.importorskip("ipykernel", reason="the extra `notebook` is not installed")
pytest.importorskip("nbclient", reason="the extra `notebook` is not installed")


def write(folder: Path, *cells: tuple[str, str], name: str = "report.ipynb") -> None:
    """Writes a notebook (each cell: source, tag) and has it travel in the bundle."""
    book = nbformat.v4.new_notebook()
    for source, tag in cells:
        book.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": [tag] if tag else []}))
    nbformat.write(book, folder / name)
    (folder / "clearance.toml").write_text('[bundle]\ninclude = ["*.ipynb"]\n')


def sources(path: Path) -> list[str]:
    return [cell["source"] for cell in json.loads(path.read_text())["cells"]]


def outputs(path: Path) -> str:
    return json.dumps([cell.get("outputs") for cell in json.loads(path.read_text())["cells"]])


def test_values_are_put_after_the_cell_of_parameters_and_the_executed_notebook_is_kept(bench):
    write(bench.folder, ("import math", ""), ("n = 1\nwords = []", "parameters"), ("print('n is', n, words, path)", ""))
    bench.run("""
@task
def number() -> int:
    return 42

@task
def words() -> list[str]:
    return ["a'b", '\\\\n"']

@task
def file() -> File:
    made = context.directory / "x.txt"
    made.write_text("x")
    return File(made)

@task
def lines(report: File) -> int:
    return len(report.path.read_text().splitlines())

@dag
def main():
    lines(notebook("report", "report.ipynb", parameters={"n": number(), "words": words(), "path": file()}))
""")
    kept = bench.fetch("report")
    cells = json.loads(kept.read_text())["cells"]
    assert [cell["metadata"].get("tags", []) for cell in cells] == [[], ["parameters"], ["injected-parameters"], []]
    assert "n is 42" in outputs(kept)
    assert "n is 42 [\"a'b\", '\\\\n\"'] /" in bench.log("report")
    assert bench.result("lines") > 10


def test_nothing_is_written_to_the_home_of_the_user(bench, tmp_path):
    user = tmp_path / "user"
    user.mkdir()
    bench.home.environment["HOME"] = str(user)
    write(bench.folder, ("x = 1", ""))
    bench.run('main = dag("main", notebook("report", "report.ipynb"))')
    assert list(user.rglob("*")) == []


def test_a_cell_that_fails_is_named_and_the_notebook_so_far_is_kept(bench):
    write(bench.folder, ("x = 1\nprint('before')", ""), ("1 / 0", ""), ("print('after')", ""))
    printed = bench.run('main = dag("main", notebook("report", "report.ipynb"))', expect=1)
    assert "cell 2 of report.ipynb: ZeroDivisionError: division by zero" in printed
    log = bench.log("report")
    assert "before" in log
    assert "after" not in log
    kept = bench.fetch("report")
    assert "ZeroDivisionError" in outputs(kept)
    assert "before" in outputs(kept)
    (told,) = json.loads(bench.home.command("runs", "show", "main/1", "--json"))["tasks"]
    shown = json.loads(bench.home.command("artifact", "show", "main/1", "report", "--json"))
    assert (shown["state"], shown["serializer"]) == ("failed", "file")
    assert shown["digest"] == told["failure"]["left"]["digest"]
    assert shown["digest"][:19] in bench.home.command("runs", "show", "main/1")
    bench.home.command("cache", "gc", "--older", "0.001", "--grace", "0.001")
    assert "bytes" in bench.home.command("artifact", "verify", "main/1", "report", expect=3)
    bench.home.command("artifact", "get", "main/1", "report", "-o", str(bench.folder / "again.ipynb"))
    assert (bench.folder / "again.ipynb").read_bytes() == kept.read_bytes()


def test_the_kernel_ends_with_its_run(bench):
    write(bench.folder, (
        "import os, time\nopen(os.environ['TEST_FOLDER'] + '/pid~', 'w').write(str(os.getpid()))\n"
        "os.rename(os.environ['TEST_FOLDER'] + '/pid~', os.environ['TEST_FOLDER'] + '/pid')\ntime.sleep(600)", "",
    ))  # fmt: skip
    file = bench.write('main = dag("main", notebook("report", "report.ipynb"))')
    run = bench.home.start("run", f"{file}:main")
    wait_for(bench.folder / "pid", 60)
    pid = int((bench.folder / "pid").read_text())
    bench.home.command("cancel", "main/1")
    assert run.wait(30) == 1
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_cell_may_take_only_so_long_and_a_kernel_must_be_installed(bench):
    write(bench.folder, ("import time\ntime.sleep(600)", ""))
    printed = bench.run(
        """
main = dag("main", [notebook("slow", "report.ipynb", cell_timeout=1),
                    notebook("kernel", "report.ipynb", kernel="no-such-kernel"),
                    notebook("missing", "other.ipynb")])
""",
        expect=1,
    )
    assert "cell 1 of report.ipynb: CellTimeoutError" in printed
    assert "no kernel 'no-such-kernel' is installed" in printed
    assert "other.ipynb is not in the bundle: name it in clearance.toml" in printed


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: notebook("x", "report.py"), "its name ends in .ipynb"),
        (lambda: notebook("x", "report.ipynb", parameters={"a b": 1}), "no name of a variable"),
        (lambda: notebook("x", "report.ipynb", parameters={"a; import os": 1}), "no name of a variable"),
        (lambda: notebook("x", "report.ipynb", cell_timeout=0.5), "write whole seconds"),
        (lambda: notebook("x", "report.ipynb", kernal="python3"), "unknown option 'kernal'"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(make, says):
    with pytest.raises(GraphError, match=says):
        make()
