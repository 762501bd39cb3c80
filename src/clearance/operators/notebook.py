"""`notebook`: executes a Jupyter notebook with parameters; the executed copy is kept as an artifact, even of a failure.

    report = notebook("report", "report.ipynb", parameters={"rows": rows})

As papermill does, values are put into a cell after the one that is tagged `parameters`, or before all others. The file
travels in the bundle: name it in `clearance.toml`, `[bundle] include = ["report.ipynb"]`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clearance.errors import GraphError, MissingExtra, UsageError
from clearance.graph.origin import call_site
from clearance.operators.contract import OperatorFailed, attempt, names_of, operator, values_of
from clearance.types.references import File, Tree

_VALUE = (bool, int, float, str, type(None), list, dict)


def notebook(
    name: str,
    path: Any,
    *,
    parameters: Mapping[str, Any] | None = None,
    kernel: str = "",
    cell_timeout: int | None = None,
    **how: Any,
) -> Any:
    """Makes a task that executes a notebook in a kernel of its own.

    Args:
        name: id of the task.
        path: of the `.ipynb` in the bundle, absolute, or the result of a task that returns a file.
        parameters: plain values, files or trees (as their paths), constants or results.
        kernel: name of the kernel; default the notebook's own, or `python3`.
        cell_timeout: whole seconds that one cell may take; default no limit.
        **how: options of the task.

    Returns:
        A task whose result is the executed notebook, a `File`.

    Raises:
        GraphError: a parameter that is no name, or an option that is none.
    """
    site = call_site()[0]
    for parameter in parameters or ():
        if not isinstance(parameter, str) or not parameter.isidentifier():
            raise GraphError(f"task {name!r} ({site}): parameter {parameter!r} is no name of a variable")
    if isinstance(path, str) and not path.endswith(".ipynb"):
        raise GraphError(f"task {name!r} ({site}): {path!r} is no notebook: its name ends in .ipynb")
    if cell_timeout is not None and (type(cell_timeout) is not int or cell_timeout < 1):
        raise GraphError(f"task {name!r} ({site}): cell_timeout is {cell_timeout!r}: write whole seconds, 1 or more")
    configuration = {
        "path": path, "names": names_of(parameters), "values": values_of(parameters), "kernel": kernel,
        "cell_timeout": cell_timeout,
    }  # fmt: skip
    return operator(name, run_notebook, File, configuration, how)


def run_notebook(path: Any, names: list[str], values: list[Any], kernel: str, cell_timeout: int | None) -> Any:
    """Runs in the attempt's process: see `notebook`."""
    try:
        nbformat: Any = importlib.import_module("nbformat")
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    except ModuleNotFoundError:
        raise MissingExtra("nbclient with ipykernel", "notebook") from None
    source = path.path if isinstance(path, File) else _found(str(path))
    try:
        book = nbformat.read(source, as_version=4)
    except Exception as error:
        raise UsageError(f"{source.name} is no notebook: {error}") from None
    inject(book, dict(zip(names, values, strict=True)), nbformat.v4.new_code_cell)
    chosen = kernel or book.metadata.get("kernelspec", {}).get("name", "") or "python3"
    started: dict[str, int] = {}
    client = NotebookClient(
        book,
        timeout=cell_timeout,
        kernel_name=chosen,
        resources={"metadata": {"path": str(Path.cwd())}},
        on_cell_start=lambda cell, cell_index: started.update(index=cell_index),
        on_cell_executed=lambda cell, cell_index, execute_reply: _print(cell),
    )
    made = Path.cwd() / "executed" / source.name
    made.parent.mkdir()
    try:
        with _own_folders():
            client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        nbformat.write(book, made)
        kind = getattr(error, "ename", type(error).__name__)
        value = getattr(error, "evalue", str(error).strip().partition("\n")[0])
        raise OperatorFailed(
            f"cell {started.get('index', 0) + 1} of {source.name}: {kind}: {value}\n"
            f"the notebook so far is kept: `clearance artifact show {attempt().run} TASK`",
            File(made),
        ) from None
    except Exception as error:
        if type(error).__name__ != "NoSuchKernel":
            raise
        raise UsageError(f"no kernel {chosen!r} is installed where tasks run: install it, or name another") from None
    nbformat.write(book, made)
    return File(made)


@contextmanager
def _own_folders() -> Iterator[None]:
    """Has Jupyter and IPython keep what they write (a connection's key, a history) in the attempt's own folder."""
    own = {name: str(Path.cwd() / ".jupyter") for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def inject(book: Any, parameters: Mapping[str, Any], new_code_cell: Any) -> None:
    """Puts a cell that assigns the parameters after the cell tagged `parameters`, in place of one injected before."""
    if not parameters:
        return
    lines = ["# Parameters"]
    for name, value in parameters.items():
        if isinstance(value, File | Tree):
            value = str(value.path)
        if not isinstance(value, _VALUE):
            raise OperatorFailed(
                f"parameter {name!r} is of type {type(value).__qualname__}: pass plain data, a file or a tree"
            )
        lines.append(f"{name} = {_literal(name, value)}")
    cell = new_code_cell("\n".join(lines), metadata={"tags": ["injected-parameters"]})
    tags = [set(each.metadata.get("tags", ())) for each in book.cells]
    old = next((index for index, each in enumerate(tags) if "injected-parameters" in each), None)
    if old is not None:
        book.cells[old] = cell
        return
    place = next((index + 1 for index, each in enumerate(tags) if "parameters" in each), 0)
    book.cells.insert(place, cell)


def _literal(name: str, value: Any) -> str:
    """Returns plain data as Python source: what JSON can hold, and nothing that could be code."""
    try:
        return repr(json.loads(json.dumps(value, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise OperatorFailed(f"parameter {name!r} is no plain data: {error}") from None


def _found(path: str) -> Path:
    """Returns a notebook of the bundle, whose folder is on `sys.path`, or an absolute one."""
    for folder in [""] if Path(path).is_absolute() else sys.path:
        if (place := Path(folder, path)).is_file():
            return place
    raise UsageError(f"{path} is not in the bundle: name it in clearance.toml, [bundle] include = [{path!r}]")


def _print(cell: Any) -> None:
    """Writes what a cell has printed to the task's log."""
    for output in cell.get("outputs", ()):
        if output.get("output_type") == "stream":
            print(output.get("text", ""), end="", file=sys.stderr if output.get("name") == "stderr" else sys.stdout)
        elif output.get("output_type") == "error":
            print(f"{output.get('ename')}: {output.get('evalue')}", file=sys.stderr)
    sys.stdout.flush()
