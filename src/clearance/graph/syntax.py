"""Python source as data: a canonical form that formatting does not change, and the names that code refers to.

Rules:

1. The canonical form is written from the syntax tree alone: positions, comments, docstrings and other statements
   that do nothing leave no trace. It is the same under every hash seed and in every patch version of Python.
2. Annotations count where something reads them: in a class, on a decorated function, on the function of a task.
3. A name counts as referred to where it is not bound by a scope of the code itself: a parameter that is called like
   a function of the file refers to nothing.
4. Nothing here recurses over the tree: an expression of ten thousand terms is a loop.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Chain = tuple[str, ...]
Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMPREHENSIONS = frozenset({ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp})
_FUNCTIONS = frozenset({ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda})
_BINDERS = frozenset({ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping})
_UNSEEN = frozenset({"ctx", "type_comment", "type_ignores", "kind"})


def canonical(node: ast.AST, keep: bool = False) -> bytes:
    """Returns the canonical form of a statement or module.

    Args:
        node: the syntax tree.
        keep: whether the annotations of the function that `node` defines count.
    """
    out: list[str] = []
    stack: list[Any] = [(node, False, keep)]
    while stack:
        top = stack.pop()
        if top.__class__ is str:
            out.append(top)
            continue
        value, in_class, kept = top
        kind = value.__class__
        if kind is list:
            out.append("[")
            stack.append("]")
            for part in reversed(value):
                stack.append(_leaf(part) or (part, in_class, kept))
        elif kind in _SCOPED or kept or in_class:
            plain = kind is ast.AnnAssign and value.value is not None and not in_class
            out.append("(Assign" if plain else f"({kind.__name__}")
            stack.append(")")
            for name, part, inside, annotated in reversed(list(_fields(value, in_class, kept))):
                if part is not None and part != []:
                    stack.append(_leaf(part) or (part, inside, annotated))
                    stack.append(f".{name}=")
        else:
            out.append(f"({kind.__name__}")
            stack.append(")")
            for name, begin, is_body in _plan(kind):
                part = getattr(value, name, None)
                if part is None or part == []:
                    continue
                if is_body and part.__class__ is list:
                    part = [each for each in part if not _does_nothing(each)]
                    if not part:
                        continue
                leaf = _leaf(part)
                if leaf:
                    stack.append(begin + leaf)
                else:
                    stack.append((part, False, name in ("annotation", "returns")))
                    stack.append(begin)
    return "".join(out).encode("utf-8", "surrogatepass")


_SCOPED = frozenset({ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.AnnAssign})
_BODIES = frozenset({"body", "orelse", "finalbody"})


def _leaf(value: Any) -> str:
    """Returns the form of what has nothing within: a name, a constant, an operator; empty for anything else."""
    kind = value.__class__
    if kind is ast.Name:
        return f"(Name.id=#s{len(value.id)}:{value.id})"
    if kind is ast.Constant:
        return _constant(value.value)
    if kind is list:
        return ""
    if isinstance(value, ast.AST):
        return "" if value._fields else f"({kind.__name__})"
    return _constant(value)


@cache
def _plan(kind: type[ast.AST]) -> tuple[tuple[str, str, bool], ...]:
    """Returns the fields of a kind of node that count, last first: name, how its form begins, whether it is a body."""
    names = [name for name in kind._fields if name not in _UNSEEN and name not in ("annotation", "returns")]
    return tuple((name, f".{name}=", name in _BODIES) for name in reversed(names))


def _fields(node: ast.AST, in_class: bool, keep: bool) -> Iterator[tuple[str, Any, bool, bool]]:
    """Yields name and value of each field that counts, whether it stands in a class, and whether annotations count."""
    if isinstance(node, Function):
        keep = keep or bool(node.decorator_list)
        in_class = False
    elif isinstance(node, ast.Lambda):
        in_class = False
    elif isinstance(node, ast.ClassDef):
        in_class = True
    elif isinstance(node, ast.AnnAssign) and not in_class:
        if node.value is not None:
            yield "targets", [node.target], False, False
            yield "value", node.value, False, False
        else:
            yield "target", node.target, False, False  # it makes the name local
        return
    for name, value in ast.iter_fields(node):
        if name in _UNSEEN or (name in ("annotation", "returns") and not (keep or in_class)):
            continue
        if name in ("body", "orelse", "finalbody") and isinstance(value, list):
            value = [each for each in value if not _does_nothing(each)]
        annotated = keep and name in ("args", "posonlyargs", "kwonlyargs", "vararg", "kwarg")
        yield name, value, in_class, annotated or name in ("annotation", "returns")


def _does_nothing(statement: ast.AST) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass)


def _constant(value: Any) -> str:
    if isinstance(value, str):
        return f"#s{len(value)}:{value}"
    if isinstance(value, bytes):
        return f"#b{value.hex()};"
    if value is None or value is True or value is False or value is Ellipsis:
        return f"#{value};"
    if isinstance(value, int):
        return f"#i{value:x};"
    if isinstance(value, float):
        return f"#f{value.hex()};"
    return f"#c{value.imag.hex()};"  # no other constant is left: an imaginary literal


def binds_itself_alone(statement: Function) -> bool:
    """True for a function at the top level that binds no name but its own, as far as a glance can tell."""
    given = statement.args
    evaluated = [*statement.decorator_list, *given.defaults, *(each for each in given.kw_defaults if each is not None)]
    return not any(isinstance(part, ast.NamedExpr | ast.Lambda) for each in evaluated for part in ast.walk(each))


@dataclass
class Names:
    """What a piece of code refers to and binds.

    Attributes:
        chains: names from outside, with the attributes read of them: `helper.scale(x)` is `("helper", "scale")`.
        binds: names that it binds in its own scope.
        changes: names of which it sets an item or attribute, or calls a method as a statement, in its own scope.
        imports: its import statements that are in no function.
        modules: dotted names of modules that it imports within functions, or by `import_module`.
    """

    chains: set[Chain] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)
    modules: set[Chain] = field(default_factory=set)


@dataclass
class _Scope:
    """One scope: what is looked at in it, and what the scopes around it bind."""

    roots: list[Any]
    bound: frozenset[str] = frozenset()
    local: set[str] | None = None  # None for the outermost and for a class: its names bind nothing within functions
    outside: set[str] = field(default_factory=set)


def names_of(statement: ast.AST, keep: bool = False) -> Names:
    """Returns what a statement at the top level of a module refers to and binds; `keep` is as for `canonical`."""
    found = Names()
    waiting = [_Scope([(statement, False, keep)])]
    first = True
    while waiting:
        scope = waiting.pop()
        binds: set[str] = set()
        loads: set[Chain] = set()
        inner: list[_Scope] = []
        _look(scope, binds, loads, inner, found, first)
        bound = scope.bound
        if scope.local is not None:
            bound |= (scope.local | binds) - scope.outside
        found.chains.update(chain for chain in loads if chain[0] not in bound)
        if first:
            found.binds = binds
            first = False
        for each in inner:
            each.bound = bound
        waiting += inner
    return found


def _look(
    scope: _Scope, binds: set[str], loads: set[Chain], inner: list[_Scope], found: Names, outermost: bool
) -> None:
    stack = list(scope.roots)
    while stack:
        node, in_class, keep = stack.pop()
        kind = node.__class__
        if kind is ast.Attribute:
            chain = _chain(node)
            if chain is None:
                stack.append((node.value, in_class, False))
                continue
            loads.add(chain)
            if outermost and not isinstance(node.ctx, ast.Load):
                found.changes.add(chain[0])
        elif kind is ast.Name:
            (loads.add((node.id,)) if node.ctx.__class__ is ast.Load else binds.add(node.id))
        elif kind in _FUNCTIONS:
            inner.append(_function(node, binds, stack, keep))
        elif kind is ast.ClassDef:
            binds.add(node.name)
            stack += [(each, False, False) for each in (*node.decorator_list, *node.bases, *node.keywords)]
            inner.append(_Scope([(each, True, False) for each in node.body]))
        elif kind in _COMPREHENSIONS:
            stack.append((node.generators[0].iter, in_class, False))
            parts = [part for part in ast.iter_child_nodes(node) if part is not node.generators[0]]
            rest = [node.generators[0].target, *node.generators[0].ifs]
            inner.append(_Scope([(each, False, False) for each in (*parts, *rest)], local=set()))
        elif kind is ast.Global:
            scope.outside.update(node.names)
            loads.update((name,) for name in node.names)
        elif kind is ast.Import or kind is ast.ImportFrom:
            _import(node, binds, found, outermost)
        elif kind is ast.AnnAssign and not in_class:
            stack += [(each, False, False) for each in (node.target, node.value) if each is not None]
        else:
            if kind in _BINDERS:
                _bind_text(node, binds)
            if kind is ast.Call:
                found.modules.update(_imported_by_call(node))
            elif outermost and (base := _changed(node)):
                found.changes.add(base)
            annotation = getattr(node, "annotation", None)
            if annotation is not None and (in_class or keep):
                stack.append((_unquoted(annotation), in_class, False))
            for each in _children(node):
                within = each.__class__
                if within is ast.Name and each is not annotation:
                    (loads.add((each.id,)) if each.ctx.__class__ is ast.Load else binds.add(each.id))
                elif within is not ast.Constant and each is not annotation:
                    stack.append((each, in_class, keep))


def _children(node: ast.AST) -> list[Any]:
    """Returns the nodes within a node that can hold a name, in order."""
    found: list[Any] = []
    kind: Any = type(node)
    for name in _within(kind):
        value = getattr(node, name, None)
        if value.__class__ is list:
            found += [each for each in value if isinstance(each, ast.AST) and each._fields]
        elif isinstance(value, ast.AST) and value._fields:
            found.append(value)
    return found


@cache
def _within(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(name for name in kind._fields if name not in _UNSEEN)


def _function(node: Function | ast.Lambda, binds: set[str], stack: list[Any], keep: bool) -> _Scope:
    """Returns the scope of a function; what is evaluated where it is defined is put on the stack."""
    given = node.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    named = [each for each in arguments if each is not None]
    stack += [(each, False, False) for each in (*given.defaults, *given.kw_defaults) if each is not None]
    body = node.body if isinstance(node.body, list) else [node.body]
    if not isinstance(node, ast.Lambda):
        binds.add(node.name)
        stack += [(each, False, False) for each in node.decorator_list]
        if keep or node.decorator_list:
            annotations = [*(each.annotation for each in named), node.returns]
            stack += [(_unquoted(each), False, False) for each in annotations if each is not None]
    return _Scope([(each, False, False) for each in body], local={each.arg for each in named})


def _import(node: ast.Import | ast.ImportFrom, binds: set[str], found: Names, outermost: bool) -> None:
    if outermost:
        found.imports.append(node)
    for alias in node.names:
        if alias.name != "*":
            binds.add(alias.asname or alias.name.partition(".")[0])
        if outermost:
            continue
        if isinstance(node, ast.Import):
            found.modules.add((alias.name,))
        else:
            found.modules.add(("." * node.level + (node.module or ""), alias.name))


def _imported_by_call(node: ast.Call) -> Iterator[Chain]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in ("import_module", "__import__") and node.args:
        name = node.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield (name.value,)


def _bind_text(node: ast.AST, binds: set[str]) -> None:
    """Adds a name that stands as text in its node."""
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        binds.add(node.name)
    elif isinstance(node, ast.MatchMapping) and node.rest:
        binds.add(node.rest)


def _chain(node: ast.Attribute) -> Chain | None:
    parts: list[str] = []
    at: ast.expr = node
    while isinstance(at, ast.Attribute):
        parts.append(at.attr)
        at = at.value
    return (at.id, *reversed(parts)) if isinstance(at, ast.Name) else None


def _changed(node: ast.AST) -> str:
    """Returns the name that `name[x] = …` or the statement `name.method(…)` changes; nothing for any other code."""
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return _base(node)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        return _base(node.value.func)
    return ""


def _base(node: ast.expr) -> str:
    """Returns the name at the beginning of `name.a[1].b`; nothing where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _unquoted(annotation: ast.expr) -> ast.AST:
    """Returns an annotation that is written as text as the expression it stands for."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return ast.parse(annotation.value, mode="eval")
        except SyntaxError:
            return annotation
    return annotation


def joined(statements: Iterable[bytes]) -> bytes:
    """Returns canonical forms as one, each with its length."""
    return b"".join(b"%d:%s" % (len(each), each) for each in statements)
