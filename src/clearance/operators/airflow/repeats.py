"""TaskFlow functions that a DAG calls more than once: the second task is `clean__1` in Airflow, which ours must say."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from typing import cast

from clearance.operators.airflow.source import Source

_LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Repeats(ast.NodeTransformer):
    """Names each task of a graph function as Airflow would: in the order of the calls, a count for each group.

    Args:
        source: takes down calls in a loop, whose number only running tells.
        tasks: id of the task of each TaskFlow function, by the function's name.
    """

    def __init__(self, source: Source, tasks: Mapping[str, str]) -> None:
        self._source = source
        self._tasks = tasks
        self._made: Counter[tuple[str, str]] = Counter()
        self._group = ""
        self._loops = 0

    def name(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Returns the statements with a name for each repeated task."""
        for index, each in enumerate(statements):
            statements[index] = cast(ast.stmt, self.visit(each))
        return statements

    def visit(self, node: ast.AST) -> ast.AST:
        """Counts the loops around a call."""
        self._loops += isinstance(node, _LOOPS)
        found: ast.AST = super().visit(node)
        self._loops -= isinstance(node, _LOOPS)
        return found

    def visit_With(self, node: ast.With) -> ast.AST:
        """Counts anew in a group, whose name stands before those of its tasks."""
        before = self._group
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "group":
                self._group += f"{ast.unparse(call.args[0])}."
        found = self.generic_visit(node)
        self._group = before
        return found

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Names the task that a call makes, after those that its arguments make."""
        self.generic_visit(node)
        made = isinstance(node.func, ast.Name) or (isinstance(node.func, ast.Attribute) and node.func.attr == "map")
        holder, function = _root(node)
        if not made or function is None or function.id not in self._tasks:
            return node
        id = self._tasks[function.id]
        if self._loops:
            self._source.note(
                node, f"{function.id} is called in a loop", f"name each: {function.id}.named(f'{id}_{{…}}')"
            )
        number = self._made[self._group, id]
        self._made[self._group, id] += 1
        if number:
            named = ast.Call(ast.Attribute(function, "named"), [ast.Constant(f"{id}__{number}")], [])
            if isinstance(holder, ast.Call):
                holder.func = named
            else:
                holder.value = named
        return node


def _root(call: ast.Call) -> tuple[ast.Call | ast.Attribute, ast.Name | None]:
    """Returns what holds the name with which a chain of calls begins, and that name; None where it has one already."""
    holder: ast.Call | ast.Attribute = call
    while True:
        inner = holder.func if isinstance(holder, ast.Call) else holder.value
        if isinstance(inner, ast.Attribute) and inner.attr == "named":
            return holder, None
        if isinstance(inner, ast.Name):
            return holder, inner
        if not isinstance(inner, ast.Call | ast.Attribute):
            return holder, None
        holder = inner
