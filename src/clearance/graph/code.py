"""What a task's code is: the function, and whatever of the pipeline's own files it uses, each by its syntax tree.

Rules:

1. The function's own statement counts, and so does every statement that binds a name it uses, in this file or in
   another file of the pipeline, and what those use in turn. What it does not use does not count.
2. A name is everything that binds it at the top level of its file (a whole `if` or `try` where it is bound in one),
   and everything there that sets an item of it or calls a method on it as a statement. A value that is computed at
   import counts by the code that computes it, not by what came out.
3. Of an installed distribution only the name counts that is used: its version stands in the environment's lock.
4. Clearance's own `@task` does not count: retries or resources do not change what is returned.
5. Code that names `__file__` or reads package resources reads files of its bundle: these count then, all of them.
6. Code that asks `clearance.context` for what differs between runs counts with it.
"""

from __future__ import annotations

import ast
import builtins
import copy
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

import clearance
from clearance.errors import GraphError
from clearance.graph.imports import files_of
from clearance.graph.origin import Origin
from clearance.graph.syntax import Chain, Function, binds_itself_alone, canonical, joined, names_of
from clearance.types.digest import Digest, digest_of

_TASK = frozenset({"clearance.task", "clearance.graph.task", "clearance.graph.task.task"})
_FILES = ("importlib.resources", "importlib_resources", "pkgutil", "__main__.__file__")
_ASKED = {
    "data_interval": "interval", "events": "events", "key": "events", "run": "run", "attempt": "attempt",
    "number": "attempt", "resumed": "attempt",
}  # fmt: skip
_QUIET = frozenset({"task", "instance", "rank", "size", "rendezvous", "directory", "checkpoint_dir", "grace", "ready"})
_MOST = 10_000


class Code(msgspec.Struct, frozen=True):
    """The code of one function.

    Attributes:
        digest: over all parts.
        parts: digest of each name that it uses, shortened, by `module:name`; for people.
        files: whether it reads other files of its bundle.
        asks: what it asks `clearance.context` for that differs between runs: `interval`, `events`, `run`, `attempt`.
    """

    digest: Digest
    parts: dict[str, str]
    files: bool = False
    asks: tuple[str, ...] = ()


class Sources:
    """The files of pipelines, each read once, and the code of the functions in them."""

    def __init__(self) -> None:
        self._walks: dict[Path, _Walk] = {}
        self._known: dict[Origin, Code] = {}

    def code_of(self, origin: Origin) -> Code:
        """Returns the code of a function.

        Args:
            origin: where it was defined.

        Raises:
            GraphError: its source cannot be read.
        """
        found = self._known.get(origin)
        if found is None:
            found = self._known[origin] = self._find(origin)
        return found

    def _find(self, origin: Origin) -> Code:
        root = _root(origin.path, origin.module)
        name = origin.name.partition(".")[0]
        if origin.module.partition(".")[0] == "clearance" or root in _installed():
            said = f"clearance {clearance.__version__}" if origin.module.startswith("clearance.") else "installed"
            return Code(digest_of(f"{origin.entry} {said}".encode()), {origin.entry: said})
        walk = self._walks.get(root) or self._walks.setdefault(root, _Walk(root))
        first = walk.module(origin.module)
        if first is None or name not in first.bindings:
            raise GraphError(
                f"the source of {origin.entry} is not to be found under {root}: what is cached is a function that is "
                "written in a file of the pipeline; say cache=False"
            )
        return walk.code(origin.module, name)


_codes: dict[tuple[Path, str, str], tuple[Code, dict[str, _Module | None]]] = {}  # and the modules it was found in


@lru_cache(maxsize=256)
def _root(path: str, module: str) -> Path:
    """Returns the folder from which a module of this file is imported."""
    file = Path(path).absolute()
    depth = module.count(".") + (2 if file.stem == "__init__" else 1)
    return file.parents[min(depth, len(file.parents)) - 1]


@lru_cache(maxsize=1)
def _installed() -> frozenset[Path]:
    return frozenset(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib", "platstdlib"))


class Read(NamedTuple):
    """A statement as it was read: its canonical form, the names and the modules that it refers to, in order."""

    form: bytes
    chains: list[Chain]
    modules: list[Chain]


class _Module:
    """A file of the pipeline.

    Attributes:
        name: dotted.
        tree: its syntax.
        bindings: statements at its top level that bind or change a name, by name.
        stars: modules of which it imports every name.
    """

    def __init__(self, name: str, package: str, tree: ast.Module) -> None:
        self.name = name
        self.tree = tree
        self.bindings: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, list[tuple[str, str]]] = {}
        self.stars: list[str] = []
        self._package = package
        self._read: dict[tuple[ast.AST, bool], Read] = {}
        for statement in tree.body:
            if isinstance(statement, Function) and binds_itself_alone(statement):
                self.bindings.setdefault(statement.name, []).append(statement)
                continue
            if _is_main(statement):
                continue
            found = names_of(statement)
            for each in sorted(found.binds | found.changes):
                self.bindings.setdefault(each, []).append(statement)
            for node in found.imports:
                self._take(node)

    def read(self, statement: ast.AST, root: bool) -> Read:
        """Reads a statement of this module, once; `root` is true for the function of a task itself."""
        found = self._read.get((statement, root))
        if found is None:
            bare = self._bare(statement)
            keep = root or bare is not statement
            names = names_of(bare, keep)
            found = Read(canonical(bare, keep), sorted(names.chains), sorted(names.modules))
            self._read[statement, root] = found
        return found

    def _bare(self, statement: ast.AST) -> ast.AST:
        """Returns a function without Clearance's own decorator."""
        if not isinstance(statement, Function):
            return statement
        left = [each for each in statement.decorator_list if not _TASK & self._targets(each)]
        if len(left) == len(statement.decorator_list):
            return statement
        made = copy.copy(statement)
        made.decorator_list = left
        return made

    def _targets(self, decorator: ast.expr) -> set[str]:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        parts: list[str] = []
        while isinstance(called, ast.Attribute):
            parts.insert(0, called.attr)
            called = called.value
        if not isinstance(called, ast.Name):
            return set()
        found = self.imports.get(called.id, [])
        return {".".join(filter(None, [source, attribute, *parts])) for source, attribute in found}

    def _take(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                target = (alias.name if alias.asname else alias.name.partition(".")[0], "")
            else:
                target = (self.absolute("." * node.level + (node.module or "")), alias.name)
            if alias.name == "*":
                self.stars.append(target[0])
            else:
                bound = alias.asname or alias.name.partition(".")[0]
                self.imports.setdefault(bound, []).append(target)

    def absolute(self, name: str) -> str:
        """Returns the dotted name that a relative one stands for."""
        bare = name.lstrip(".")
        level = len(name) - len(bare)
        if not level:
            return name
        parts = self._package.split(".") if self._package else []
        return ".".join(filter(None, [*parts[: len(parts) - level + 1], bare]))


class _Walk:
    """Follows names from one function through the files of a pipeline."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._modules: dict[str, _Module | None] = {}
        self._begin()

    def _begin(self) -> None:
        self._forms: dict[str, list[bytes]] = {}
        self._todo: list[tuple[str, str]] = []
        self._seen: set[tuple[str, str, Chain]] = set()
        self._touched: dict[str, _Module | None] = {}
        self._files = False
        self._asks: set[str] = set()

    def module(self, name: str) -> _Module | None:
        """Returns a module of the pipeline; None for any other."""
        if name not in self._modules:
            self._modules[name] = self._read(name)
        found = self._touched[name] = self._modules[name]
        return found

    def _read(self, name: str) -> _Module | None:
        found = list(files_of(self._root, name)) if name and not name.startswith(".") else []
        stem = "__init__" if found and found[-1].stem == "__init__" else name.rpartition(".")[2]
        parts = name.split(".")
        wanted = self._root.joinpath(*parts, "__init__.py") if stem == "__init__" else None
        wanted = wanted or self._root.joinpath(*parts[:-1], f"{parts[-1]}.py")
        if not found or found[-1] != wanted:
            return None
        package = name if stem == "__init__" else name.rpartition(".")[0]
        return _module(name, package, str(wanted), wanted.stat().st_mtime_ns)

    def code(self, module: str, name: str) -> Code:
        """Returns the code of a function of a module that is there."""
        key = (self._root, module, name)
        if (known := _codes.get(key)) and all(self.module(each) is found for each, found in known[1].items()):
            return known[0]
        self._begin()
        self._want(module, name)
        root = (module, name)
        while self._todo:
            self._follow(*self._todo.pop(), root)
        parts = {part: digest_of(joined(forms)) for part, forms in sorted(self._forms.items())}
        text = "".join(f"{part} {digest}\n" for part, digest in parts.items())
        short = {part: digest[7:23] for part, digest in parts.items()}
        code = Code(digest_of(text.encode("utf-8", "surrogatepass")), short, self._files, tuple(sorted(self._asks)))
        if len(_codes) >= _MOST:
            _codes.clear()
        _codes[key] = (code, self._touched)
        return code

    def _want(self, module: str, name: str) -> None:
        part = f"{module}:{name}"
        if part not in self._forms:
            self._forms[part] = []
            self._todo.append((module, name))

    def _follow(self, module_name: str, name: str, root: tuple[str, str]) -> None:
        module = self.module(module_name)
        assert module is not None
        part = f"{module_name}:{name}"
        statements: list[ast.stmt] | list[ast.Module] = [module.tree] if name == "*" else module.bindings[name]
        if name == "*":  # whatever is read of it by a name that is not written here
            for imported in module.imports:
                self._use(module, part, (imported,))
        for statement in statements:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                continue  # what is imported counts where it is used
            read = module.read(statement, (module_name, name) == root)
            self._forms[part].append(read.form)
            for chain in read.chains:
                self._use(module, part, chain)
            for within in read.modules:
                self._use_module(part, module.absolute(within[0]), within[1:])

    def _use(self, module: _Module, part: str, chain: Chain) -> None:
        """The code of `part`, in this module, uses a name."""
        if (part, module.name, chain) in self._seen:  # modules that import a name from each other
            return
        self._seen.add((part, module.name, chain))
        name, rest = chain[0], chain[1:]
        if name in module.bindings or name in module.imports:
            statements = module.bindings.get(name, [])
            if any(not isinstance(each, ast.Import | ast.ImportFrom) for each in statements):
                self._want(module.name, name)
            for source, attribute in module.imports.get(name, ()):
                self._use_module(part, source, (*filter(None, [attribute]), *rest))
            return
        if name == "__file__":
            self._files = True
            return
        if hasattr(builtins, name):
            return
        for star in module.stars:
            self._use_module(part, star, chain)

    def _use_module(self, part: str, source: str, rest: Chain) -> None:
        """The code of `part` uses a module, or what these attributes lead to from it."""
        module = self.module(source)
        if module is None and not (rest and self.module(f"{source}.{rest[0]}")):
            self._outside(part, ".".join((source, *rest)))
        elif module is not None and not rest:
            self._want(source, "*")
        elif module is not None and (rest[0] in module.bindings or rest[0] in module.imports):
            self._use(module, part, rest)
        elif self.module(f"{source}.{rest[0]}"):
            self._use_module(part, f"{source}.{rest[0]}", rest[1:])
        elif module is not None and module.stars:
            for star in module.stars:
                self._use_module(part, star, rest)
        elif module is not None:
            self._want(source, "*")

    def _outside(self, part: str, target: str) -> None:
        """The code uses something that is installed."""
        self._forms[part].append(f"uses {target}".encode())
        if target.startswith(_FILES):
            self._files = True
        words = target.split(".")
        if words[0] == "clearance" and "context" in words:
            after = words[words.index("context") + 1 :]
            asked = after[0] if after else ""
            if asked not in _QUIET:
                self._asks.update({_ASKED[asked]} if asked in _ASKED else {"interval", "events", "run", "attempt"})


def _is_main(statement: ast.stmt) -> bool:
    """True for `if __name__ == "__main__":`, which no task runs."""
    test = statement.test if isinstance(statement, ast.If) else None
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


@lru_cache(maxsize=256)
def _module(name: str, package: str, path: str, _: int) -> _Module:
    try:
        tree = ast.parse(Path(path).read_bytes(), path)
    except OSError as error:
        raise GraphError(f"the source {path} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise GraphError(f"the source {path} cannot be read as Python: {error}") from None
    return _Module(name, package, tree)
