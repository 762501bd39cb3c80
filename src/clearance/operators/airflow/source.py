"""An Airflow file as it is read: names that come from Airflow, constants, and what can be known without running it."""

from __future__ import annotations

import ast
from typing import Any

from clearance.errors import GraphError

UNKNOWN = object()
_UNITS = {
    "weeks": 604800.0, "days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0, "milliseconds": 1e-3,
}  # fmt: skip
_POSITIONS = ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks")


class Note:
    """Something that could not be carried.

    Attributes:
        line: of the Airflow file, from 1.
        what: the thing.
        mend: what to do about it.
    """

    __slots__ = ("line", "mend", "what")

    def __init__(self, line: int, what: str, mend: str) -> None:
        self.line = line
        self.what = what
        self.mend = mend

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}: {self.mend}"


class Source:
    """The parsed file.

    Args:
        text: of the file.
        name: of the file, for messages.

    Attributes:
        tree: its syntax.
        airflow: what each local name from Airflow is called there, `BashOperator` for `bash.BashOperator as B`.
        functions: those at its top level or in a DAG, by name.
        notes: what could not be carried so far.

    Raises:
        GraphError: it is no Python.
    """

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        try:
            self.tree = ast.parse(text, name)
        except SyntaxError as error:
            raise GraphError(f"{name}:{error.lineno}: this is no Python: {error.msg}") from None
        self.airflow: dict[str, str] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        self.notes: list[Note] = []
        self._constants: dict[str, ast.expr] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and _is_airflow(node.module):
                self.airflow |= {each.asname or each.name: each.name for each in node.names}
            elif isinstance(node, ast.Import):
                for each in node.names:
                    if _is_airflow(each.name):
                        self.airflow[each.asname or each.name.partition(".")[0]] = each.name
            elif isinstance(node, ast.FunctionDef):
                self.functions.setdefault(node.name, node)
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target = statement.targets[0]
                if isinstance(target, ast.Name):
                    self._constants[target.id] = statement.value

    def note(self, node: ast.AST, what: str, mend: str) -> None:
        """Takes down what could not be carried."""
        note = Note(getattr(node, "lineno", 1), what, mend)
        if str(note) not in map(str, self.notes):
            self.notes.append(note)

    def airflow_name(self, node: ast.expr) -> str:
        """Returns what a name or `module.name` is called in Airflow; empty when it is not Airflow's."""
        if isinstance(node, ast.Name):
            return self.airflow.get(node.id, "")
        if isinstance(node, ast.Attribute):
            base: ast.expr = node
            while isinstance(base, ast.Attribute):
                base = base.value
            if isinstance(base, ast.Name) and base.id in self.airflow:
                return node.attr if self.airflow[base.id] != "task" else f"task.{node.attr}"
        return ""

    def called(self, node: ast.AST) -> str:
        """Returns the Airflow name of what a call calls; empty for any other node."""
        return self.airflow_name(node.func) if isinstance(node, ast.Call) else ""

    def value(self, node: ast.expr | None, default: Any = None) -> Any:
        """Returns a constant that stands in the file, seconds for a `timedelta`; `UNKNOWN` where only running tells."""
        if node is None:
            return default
        if isinstance(node, ast.Name) and node.id in self._constants:
            return self.value(self._constants[node.id])
        if isinstance(node, ast.Attribute) and self.airflow_name(node.value).endswith("TriggerRule"):
            return node.attr.lower()
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "TriggerRule":
            return node.attr.lower()
        if isinstance(node, ast.Call) and _last(node.func) in ("timedelta", "duration"):
            return self._seconds(node)
        if isinstance(node, ast.Dict) and all(key is not None for key in node.keys):
            return {self.value(key): self.value(item) for key, item in zip(node.keys, node.values, strict=True) if key}
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return UNKNOWN

    def expression(self, node: ast.expr) -> ast.expr:
        """Returns the expression behind a name that is assigned once at the top level."""
        return self._constants.get(node.id, node) if isinstance(node, ast.Name) else node

    def _seconds(self, node: ast.Call) -> Any:
        given: dict[str, ast.expr] = dict(zip(_POSITIONS, node.args, strict=False))
        given |= {each.arg: each.value for each in node.keywords if each.arg}
        total = 0.0
        for unit, part in given.items():
            amount = self.value(part)
            if unit not in _UNITS or not isinstance(amount, (int, float)):
                return UNKNOWN
            total += amount * _UNITS[unit]
        return int(total) if total == int(total) else total


def _is_airflow(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] == "airflow"


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
