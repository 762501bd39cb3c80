"""From a file or module to its `Dag`: whatever user code does wrong becomes an error with the user's line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from clearance.errors import ClearanceError, GraphError, UsageError, nearest
from clearance.graph.dag import Dag
from clearance.graph.file import check_file
from clearance.graph.model import encode, join
from clearance.graph.origin import locate

_loaded: set[str] = set()


def load(file: Path, name: str | None = None) -> Dag:
    """Imports a pipeline file in this process and returns its DAG.

    Args:
        file: the pipeline.
        name: id or variable of the DAG; without one the file must hold exactly one.

    Raises:
        UsageError: the file is missing or is no Python file.
        GraphError: the file cannot be imported, or holds no such DAG.
    """
    return choose(load_module(file), name or "")


def load_module(file: Path) -> ModuleType:
    """Imports a pipeline file in this process, anew, with what it imported from its own folder.

    Raises:
        UsageError: the file is missing or is no Python file.
        GraphError: whatever the file raises, with its line.
    """
    file = check_file(file)
    root, module = locate(file)
    if _shipped(file):
        with user_errors(root):
            return importlib.import_module(module)
    for stale in _loaded:
        sys.modules.pop(stale, None)
    _loaded.clear()
    top = module.partition(".")[0]
    _check_free(top, file)
    if str(root) in sys.path:
        sys.path.remove(str(root))
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    before = set(sys.modules)
    try:
        with user_errors(root):
            return importlib.import_module(module)
    finally:
        prefix = str(root) + "/"
        for new in set(sys.modules) - before:
            if (getattr(sys.modules[new], "__file__", None) or "").startswith(prefix):
                _loaded.add(new)


def _shipped(file: Path) -> bool:
    """True for a pipeline that comes with Clearance itself."""
    return file.is_relative_to(Path(__file__).absolute().parents[1])


def _check_free(top: str, file: Path) -> None:
    found = sys.modules.get(top)
    if found is None and top not in sys.stdlib_module_names:
        return
    place = getattr(found, "__file__", None) or ""
    library = sysconfig.get_path("stdlib")
    if top in sys.stdlib_module_names or place.startswith(library) or "site-packages" in place or top == "clearance":
        raise UsageError(f"{file.name} hides the module {top!r} that is in use: rename it")
    for name in [name for name in sys.modules if name == top or name.startswith(top + ".")]:
        if name != "__main__":
            del sys.modules[name]


def define(module: str, name: str, parameters: dict[str, Any]) -> bytes:
    """Builds a graph in a process whose `sys.path[0]` is the unpacked bundle.

    Args:
        module: dotted name of the pipeline's module.
        name: id or variable of the DAG; empty for the only one, `*` for a list of all.
        parameters: by name, as values or text.

    Returns:
        The graph as JSON (`graph.model.decode` reads it).

    Raises:
        GraphError: what the pipeline's code, its graph or a parameter has wrong.
    """
    root = Path(sys.path[0]).absolute()
    with user_errors(root):
        loaded = importlib.import_module(module)
    place = getattr(loaded, "__file__", None)
    if place is None or not (Path(place).absolute().is_relative_to(root) or _shipped(Path(place).absolute())):
        raise GraphError(f"the pipeline's module {module!r} hides one that is in use: rename the file")
    with user_errors(root):
        if name == "*":
            found = list(dags_of(loaded).values()) or [choose(loaded, "")]
            return join(encode(one.graph(**parameters)) for one in found)
        return encode(choose(loaded, name).graph(**parameters))


def dags_of(module: ModuleType) -> dict[str, Dag]:
    """Returns the DAGs of a module by id, in order; those it imports only where it has none of its own.

    Raises:
        GraphError: two DAGs of one id.
    """
    found: dict[str, Dag] = {}
    values = {id(value): value for value in vars(module).values() if isinstance(value, Dag)}
    own = [value for value in values.values() if value.path == module.__file__]
    for value in own or values.values():
        if (first := found.setdefault(value.id, value)) is not value:
            raise GraphError(f"dag {value.id!r} is defined twice, at {first.site} and at {value.site}: rename one")
    return found


def choose(module: ModuleType, name: str) -> Dag:
    """Returns the DAG of this id or variable name; without a name, the only one.

    Raises:
        GraphError: there is none, or there are several and no name.
    """
    dags = dags_of(module)
    file = Path(module.__file__ or module.__name__).name
    if not dags:
        raise GraphError(f"{file} holds no dag at its top level: write digits = dag('digits', a >> b)")
    if not name:
        if len(dags) > 1:
            raise GraphError(f"{file} holds several dags, say which: {', '.join(f'{file}:{one}' for one in dags)}")
        return next(iter(dags.values()))
    if name in dags:
        return dags[name]
    variable = getattr(module, name, None) if name.isidentifier() else None
    if isinstance(variable, Dag):
        return variable
    raise GraphError(f"{file} holds no dag {name!r}{nearest(name, dags) or ': it holds ' + ', '.join(dags)}")


@contextmanager
def user_errors(root: Path) -> Iterator[None]:
    """Turns whatever user code raises into a `GraphError` that names the deepest line under `root`.

    What the code prints meanwhile goes to standard error: standard output belongs to the command's own answer.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except ClearanceError:
        raise
    except SyntaxError as error:
        place = _relative(error.filename or "?", root)
        raise GraphError(f"{place}:{error.lineno or 0}: {error.msg}") from None
    except RecursionError as error:
        raise GraphError(f"{_place(error, root)}: RecursionError: {error}") from None
    except (Exception, SystemExit) as error:
        text = str(error).strip().partition("\n")[0]
        message = f"{_place(error, root)}: {type(error).__name__}{': ' + text if text else ''}"
        if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] not in sys.modules:
            top = error.name.partition(".")[0]
            message += f" (install {top} in this environment, or put {top}.py beside the pipeline)"
        raise GraphError(message) from error


def _place(error: BaseException, root: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(root)]
    if not own:
        return "the pipeline"
    return f"{_relative(own[-1].filename, root)}:{own[-1].lineno}"


def _relative(filename: str, root: Path) -> str:
    path = Path(filename)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
