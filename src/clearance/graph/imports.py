"""Which of a pipeline's own files it needs: a static walk along its imports, nothing is executed.

Followed: `import a.b`, `from a import b`, relative imports, `importlib.import_module("a")`, modules in
`preload=[…]`, and entry points written as `"module:function"`; each only where the file lies under the root.
Clearance itself never travels: it is installed where the pipeline runs. Of a folder of installed distributions
only the pipeline's own package is taken.
"""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from clearance.errors import GraphError

_ENTRY = re.compile(r"([A-Za-z_][\w\-]*(?:\.[A-Za-z_]\w*)*):[A-Za-z_][\w.]*\Z")


def own_modules(root: Path, module: str) -> dict[str, Path]:
    """Returns every file under `root` that the module imports, directly or through others, itself included.

    Args:
        root: the folder from which modules are imported.
        module: dotted name of the first module.

    Returns:
        Path relative to the root (with `/`) → the file; packages bring their `__init__.py`.

    Raises:
        GraphError: a file that is not valid Python.
    """
    found: dict[str, Path] = {}
    installed = root in {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    top = module.partition(".")[0]
    todo = list(files_of(root, module))
    while todo:
        file = todo.pop()
        name = file.relative_to(root).as_posix()
        if name in found:
            continue
        found[name] = file
        parts = list(file.relative_to(root).with_suffix("").parts)
        package = parts[:-1]
        for wanted in _wanted(file, name, package):
            if not installed or wanted.partition(".")[0] == top:
                todo.extend(files_of(root, wanted))
    return found


def files_of(root: Path, module: str) -> Iterator[Path]:
    """Yields the files that importing the module reads: each package on the way, then the module."""
    parts = module.split(".")
    if not all(parts) or parts[0] == "clearance":
        return
    for depth in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:depth])
        if (package := place / "__init__.py").is_file():
            yield package
        elif (file := place.with_name(place.name + ".py")).is_file():
            yield file
            return
        elif not place.is_dir():
            return


def _wanted(file: Path, name: str, package: list[str]) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes(), name)
    except SyntaxError as error:
        raise GraphError(f"{name}:{error.lineno or 0}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise GraphError(f"{name}: cannot be read as Python: {error}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level > len(package) + 1:
                continue
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            if prefix:
                yield prefix
            yield from (f"{prefix}.{alias.name}" if prefix else alias.name for alias in node.names)
        elif isinstance(node, ast.Call):
            yield from _named_in_call(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := _ENTRY.match(node.value)):
            yield match[1]


def _named_in_call(node: ast.Call) -> Iterator[str]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in ("import_module", "__import__") and node.args:
        yield from _texts(node.args[0])
    for keyword in node.keywords:
        if keyword.arg == "preload":
            yield from _texts(keyword.value)


def _texts(node: ast.expr) -> Iterator[str]:
    for item in node.elts if isinstance(node, (ast.List, ast.Tuple)) else [node]:
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            yield item.value
