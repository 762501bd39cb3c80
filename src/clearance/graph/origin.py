"""Where things were written: the module, file and line of a function, and of the call that uses it.

Rules:

1. A path that leaves this module is relative to the bundle: it follows from the dotted module name, so that
   the graph holds no path of this machine.
2. The bundle's root is the directory of a file, or the first parent without `__init__.py` if it is in a package.
3. What runs as `__main__` is named as another process would import it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

_ROOMS = (
    *(
        os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), room) + os.sep
        for room in ("graph", "operators")
    ),
    contextlib.__file__,
)


class Site(NamedTuple):
    """A line of source: `file` relative to the bundle, `line` from 1; line 0 means unknown."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file or "unknown place"


class Origin(NamedTuple):
    """Where a function was defined.

    Attributes:
        module: dotted name by which another process imports it.
        name: qualified name inside the module.
        site: file relative to the bundle, and line.
        path: the file as this process sees it.
    """

    module: str
    name: str
    site: Site
    path: str

    @property
    def entry(self) -> str:
        """`module:qualified.name`."""
        return f"{self.module}:{self.name}"


def locate(file: Path) -> tuple[Path, str]:
    """Returns the bundle's root and the dotted module name of a Python file."""
    file = file.absolute()
    root = file.parent
    parts = [] if file.stem == "__init__" else [file.stem]
    while (root / "__init__.py").is_file() and root.parent != root:
        parts.insert(0, root.name)
        root = root.parent
    return root, ".".join(parts or [file.stem])


@lru_cache(maxsize=4096)
def module_name(module: str, filename: str) -> str:
    """Returns the name by which another process imports a module that this process may run as `__main__`."""
    if module != "__main__":
        return module
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name:
        return str(spec.name).removesuffix(".__main__")
    return locate(Path(filename))[1]


@lru_cache(maxsize=4096)
def bundle_path(module: str, filename: str) -> str:
    """Returns the file of a module relative to the root from which the module is imported."""
    path = Path(filename)
    depth = module_name(module, filename).count(".") + 1
    if path.stem == "__init__":
        depth += 1
    return "/".join(path.parts[-depth:])


def origin_of(function: Callable[..., Any]) -> Origin:
    """Returns where a function was defined."""
    inner: Any = function
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    code = getattr(inner, "__code__", None)
    filename = code.co_filename if code else ""
    line = code.co_firstlineno if code else 0
    module = getattr(function, "__module__", None) or "__main__"
    return Origin(
        module_name(module, filename),
        getattr(function, "__qualname__", repr(function)),
        Site(bundle_path(module, filename), line),
        filename,
    )


def call_site() -> tuple[Site, str]:
    """Returns the nearest line of a pipeline on the call stack, and its file as this process sees it.

    This room and that of the operators, which make tasks, are none, nor is `contextlib`, through which blocks open.
    """
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_ROOMS) and frame.f_back is not None:
        frame = frame.f_back
    filename = frame.f_code.co_filename
    return Site(bundle_path(frame.f_globals.get("__name__", "__main__"), filename), frame.f_lineno), filename
