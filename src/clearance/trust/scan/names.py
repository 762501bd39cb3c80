"""Which dotted names an expression may mean in a module, by its imports and assignments.

Rules: a name means everything that it is bound to anywhere in the module, whatever the order; `getattr` with a text,
`__import__`, `importlib.import_module` and `from x import *` are followed. The result of a call is written `f()`.
What is computed is not followed: this finds habits and carelessness, not whoever hides code on purpose.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

_MOST_PASSES = 4
_MOST_NAMES = 16
_LONGEST = 200


class Names:
    """What the names of a module mean."""

    def __init__(self, tree: ast.Module) -> None:
        self._bound: dict[str, set[str]] = defaultdict(set)
        self._stars: set[str] = set()
        bindings: list[tuple[ast.expr, ast.expr]] = []
        for node in ast.walk(tree):
            self._import(node)
            bindings.extend(_bindings(node))
        for _ in range(_MOST_PASSES):
            before = sum(map(len, self._bound.values()))
            for target, value in bindings:
                self._bind(target, value)
            if sum(map(len, self._bound.values())) == before:
                break

    def of(self, node: ast.expr) -> set[str]:
        """Returns the dotted names that an expression may mean; none where it is no name."""
        if isinstance(node, ast.Name):
            found = self._bound.get(node.id)
            return set(found) if found else {node.id, *(f"{module}.{node.id}" for module in self._stars)}
        if isinstance(node, ast.Attribute):
            return self._joined(self.of(node.value), node.attr)
        if isinstance(node, ast.Call):
            return self._called(node)
        if isinstance(node, ast.Await | ast.NamedExpr):
            return self.of(node.value)
        return set()

    def _called(self, node: ast.Call) -> set[str]:
        functions = self.of(node.func)
        first = node.args[0] if node.args else None
        if functions & {"__import__", "importlib.import_module", "builtins.__import__"} and _is_text(first):
            return {first.value}  # type: ignore[union-attr]
        if functions & {"getattr", "builtins.getattr"} and len(node.args) > 1 and _is_text(node.args[1]):
            return self._joined(self.of(node.args[0]), node.args[1].value)  # type: ignore[attr-defined]
        if functions & {"functools.partial"} and first is not None:
            return self.of(first)
        return {f"{each}()" for each in functions if len(each) < _LONGEST}

    def _joined(self, bases: set[str], name: str) -> set[str]:
        return {f"{base}.{name}" for base in bases if len(base) < _LONGEST}

    def _import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for each in node.names:
                if each.asname:
                    self._bound[each.asname].add(each.name)
                else:
                    top = each.name.partition(".")[0]
                    self._bound[top].add(top)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for each in node.names:
                if each.name == "*":
                    self._stars.add(node.module)
                else:
                    self._bound[each.asname or each.name].add(f"{node.module}.{each.name}")

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
            for one, other in zip(target.elts, value.elts, strict=False):
                self._bind(one, other)
        elif isinstance(target, ast.Name):
            found = self._bound[target.id]
            for each in self.of(value):
                if len(found) < _MOST_NAMES and each != target.id:
                    found.add(each)
            if not found:
                del self._bound[target.id]


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield target, node.value
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
