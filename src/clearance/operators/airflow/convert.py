"""The whole way: an Airflow file in, a file of ours out, with the list of what could not be carried.

Rules:

1. The file is parsed, never imported: nothing of it runs.
2. What stood in `with DAG(…)`, in an `@dag` function, or had `dag=`, stands in an `@dag` function of ours, in its
   order: loops and conditions stay what they are. Functions that become tasks move to the top level.
3. A template (`{{ ds }}`) is refused, every one by its line, and nothing is written: text that Airflow would have
   filled in must become a parameter, which only its author can do.
4. An operator without a counterpart becomes a task in the same place of the graph, which fails when it is run.
"""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from clearance.errors import GraphError
from clearance.operators.airflow.options import dag_options
from clearance.operators.airflow.repeats import Repeats
from clearance.operators.airflow.source import Note, Source
from clearance.operators.airflow.tasks import EMPTY, NOT_CARRIED, Tasks

_LANGUAGE = ("Retry", "asset", "chain", "cron", "dag", "every", "group", "task")
_DROPPED = ("set_upstream", "set_downstream")


class Converted(NamedTuple):
    """A file of ours, as text, the ids of its DAGs, and what could not be carried."""

    text: str
    dags: tuple[str, ...]
    notes: tuple[Note, ...]


def convert(text: str, name: str = "dag.py") -> Converted:
    """Turns the text of an Airflow DAG file into one of ours.

    Args:
        text: of the file.
        name: of the file, for messages.

    Raises:
        GraphError: it is no Python, has no DAG, or has templates; the message names each line.
    """
    source = Source(text, name)
    _refuse_templates(source)
    found = _File(source)
    found.read()
    if not found.dags:
        raise GraphError(f"{name}: no `with DAG(…)`, `DAG(…)` or `@dag` function at its top level: is it Airflow's?")
    return Converted(found.write(), tuple(found.dags), tuple(sorted(source.notes, key=lambda note: note.line)))


def _refuse_templates(source: Source) -> None:
    """Refuses templates in what Airflow would have rendered: the arguments of operators and of DAGs."""
    problems = []
    for node in ast.walk(source.tree):
        name = source.called(node)
        if not name or not isinstance(node, ast.Call) or name in ("Variable", "Connection"):
            continue
        for argument in [*node.args, *(each.value for each in node.keywords)]:
            for part in ast.walk(source.expression(argument)):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and _is_template(part.value):
                    problems.append((part.lineno, part.value.strip().splitlines()[0][:60]))
    if problems:
        lines = "".join(f"\n  line {line}: {text!r}" for line, text in sorted(set(problems)))
        raise GraphError(
            f"{source.name} has Jinja templates, which nobody fills in here:{lines}\n"
            "make each a parameter of the task (a run's interval is clearance.context.data_interval) and import again; "
            "nothing was written"
        )


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


class _File:
    """The file that is being written."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tasks = Tasks(source)
        self.dags: dict[str, str] = {}
        self._top: list[ast.stmt] = []
        self._functions: list[ast.FunctionDef] = []
        self._graphs: list[ast.FunctionDef] = []
        self._loose: dict[str, tuple[ast.Call, list[ast.stmt]]] = {}
        self._builders: set[str] = set()

    def read(self) -> None:
        """Sorts the statements of the file's top level."""
        for statement in self.source.tree.body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                self._import(statement)
            elif isinstance(statement, ast.FunctionDef):
                self._function(statement)
            elif isinstance(statement, ast.With) and (call := self._dag_of(statement)) is not None:
                self._graph(call, statement.body, "")
            elif isinstance(statement, ast.Assign) and self.source.called(statement.value) == "DAG":
                assert isinstance(statement.value, ast.Call)
                self._loose[ast.unparse(statement.targets[0])] = (statement.value, [])
            elif self._loose and self._belongs(statement):
                next(reversed(self._loose.values()))[1].append(statement)
            elif not self._is_only_airflows(statement):
                self._top.append(statement)
        for call, body in self._loose.values():
            if body:
                self._graph(call, body, "")

    def _import(self, statement: ast.Import | ast.ImportFrom) -> None:
        if isinstance(statement, ast.ImportFrom):
            if (statement.module or "").partition(".")[0] != "airflow":
                self._top.append(statement)
            return
        kept = [each for each in statement.names if each.name.partition(".")[0] != "airflow"]
        if kept:
            self._top.append(ast.Import(kept))

    def _function(self, function: ast.FunctionDef) -> None:
        for decorator in function.decorator_list:
            inner = decorator.func if isinstance(decorator, ast.Call) else decorator
            if self.source.airflow_name(inner) == "dag":
                call = decorator if isinstance(decorator, ast.Call) else ast.Call(inner, [], [])
                self._builders.add(function.name)
                self._graph(call, function.body, function.name, function.args)
                return
        if self.tasks.decorate(function):
            self._functions.append(function)
            return
        if any(self.source.called(each) == "DAG" for each in ast.walk(function)):
            self.source.note(
                function, f"{function.name} makes DAGs when it is called", "write an @dag function for each"
            )
            return
        self.tasks.without_context(function)
        self._functions.append(function)

    def _dag_of(self, statement: ast.With) -> ast.Call | None:
        for item in statement.items:
            if isinstance(item.context_expr, ast.Call) and self.source.called(item.context_expr) == "DAG":
                return item.context_expr
            if isinstance(item.context_expr, ast.Name) and item.context_expr.id in self._loose:
                return self._loose[item.context_expr.id][0]
        return None

    def _belongs(self, statement: ast.stmt) -> bool:
        """Returns whether a statement beside a `DAG(…)` is a part of it: a task, an arrow, a loop over such."""
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and (
                self.source.called(node) or (isinstance(node.func, ast.Attribute) and node.func.attr in _DROPPED)
            ):
                return True
            if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.RShift, ast.LShift)):
                return True
        return False

    def _is_only_airflows(self, statement: ast.stmt) -> bool:
        """Returns whether a statement means something to Airflow alone: its defaults, the call of an @dag function."""
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            name = ast.unparse(statement.targets[0])
            if name in ("default_args", "args", "DEFAULT_ARGS"):
                return True
        value = getattr(statement, "value", None)
        if isinstance(statement, (ast.Expr, ast.Assign)) and isinstance(value, ast.Call):
            return isinstance(value.func, ast.Name) and value.func.id in self._builders
        if isinstance(statement, ast.If):  # `if __name__ == "__main__": dag.test()`
            return "__name__" in ast.unparse(statement.test)
        return False

    def _graph(self, call: ast.Call, body: list[ast.stmt], function: str, args: ast.arguments | None = None) -> None:
        given = {each.arg: each.value for each in call.keywords if each.arg}
        named = self.source.value(given.get("dag_id") or (call.args[0] if call.args else None))
        id = named if isinstance(named, str) else function
        if not id:
            self.source.note(call, "the DAG's id is not written out", "write it")
            id = f"dag_{len(self.dags) + 1}"
        options, self.tasks.defaults = dag_options(self.source, call)
        name = "".join(letter if letter.isalnum() else "_" for letter in function or id)
        name = f"dag_{name}" if not name.isidentifier() or (name in self.source.functions and not function) else name
        if name != id:
            options.insert(0, ast.keyword("name", ast.Constant(id)))
        statements = Repeats(self.source, self.tasks.made).name(_Body(self).translate(body))
        decorator: ast.expr = ast.Call(ast.Name("dag"), [], options) if options else ast.Name("dag")
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        self._graphs.append(ast.FunctionDef(name, args or nothing, statements or [ast.Pass()], [decorator]))
        self.dags[id] = name

    def hoist(self, function: ast.FunctionDef) -> None:
        """Puts a function that stood in a DAG at the top level, where a process can import it."""
        if self.tasks.decorate(function):
            if any(each.name == function.name for each in self._functions):
                self.source.note(function, f"two functions are called {function.name}", "give one another name")
            self._functions.append(function)

    def write(self) -> str:
        """Returns the text."""
        parts = [*self._functions, *self._graphs]
        self._top = [each for each in self._top if not self._is_idle(each, parts)]
        used = {node.id for part in parts for node in ast.walk(part) if isinstance(node, ast.Name)}
        language = [name for name in _LANGUAGE if name in used]
        operators = sorted(self.tasks.used - {"task", "Retry", EMPTY, NOT_CARRIED})
        written = [ast.unparse(ast.fix_missing_locations(each)) for each in parts]
        policies = _policies("\n".join(written))
        lines = [f'"""{", ".join(self.dags)}: from the Airflow file {self.source.name}."""', ""]
        lines += [ast.unparse(each) for each in self._top if _is_import(each)]
        lines.append(f"from clearance import {', '.join(language)}")
        if operators:
            lines.append(f"from clearance.operators import {', '.join(operators)}")
        documented = ast.get_docstring(self.source.tree) is not None
        rest = self.source.tree.body[:1] if documented else []
        constants = [f'{name} = "{example}"  # set this' for name, example in self.tasks.places.items()]
        constants += [f"{name} = {policy}" for policy, name in policies.items()]
        constants += [ast.unparse(each) for each in self._top if each not in rest and not _is_import(each)]
        lines += ["", *constants] if constants else []
        if EMPTY in self.tasks.used:
            lines += ["", "", f"def {EMPTY}() -> None:", '    """Does nothing: a place where others meet."""']
        if NOT_CARRIED in self.tasks.used:
            lines += ["", "", f"def {NOT_CARRIED}(what: str) -> None:"]
            lines += ['    """Stands where an operator of Airflow stood that has no counterpart."""']
            lines += ['    raise NotImplementedError(f"{what} was not carried: write what it did")']
        for each in written:
            for policy, name in policies.items():
                each = each.replace(policy, name)
            lines += ["", "", each]
        return "\n".join(lines) + "\n"

    def _is_idle(self, statement: ast.stmt, parts: list[ast.FunctionDef]) -> bool:
        """Returns whether a statement only imported what made dates for Airflow."""
        if not isinstance(statement, (ast.Import, ast.ImportFrom)):
            return False
        module = statement.module if isinstance(statement, ast.ImportFrom) else statement.names[0].name
        bound = {each.asname or each.name for each in statement.names}
        others = [*parts, *(each for each in self._top if each is not statement)]
        used = {node.id for part in others for node in ast.walk(part) if isinstance(node, ast.Name)}
        return module in ("datetime", "pendulum") and not bound & used


def _policies(text: str) -> dict[str, str]:
    """Returns a name for each policy of retries that stands there more than once."""
    found = re.findall(r"Retry\([^()]*\)", text)
    repeated = [policy for policy in dict.fromkeys(found) if found.count(policy) > 1]
    return {policy: "RETRIES" + (f"_{number}" if number else "") for number, policy in enumerate(repeated)}


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.Import, ast.ImportFrom))


class _Body(ast.NodeTransformer):
    """Rewrites the statements of a DAG."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._source = file.source

    def translate(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Returns the statements of our graph function."""
        found: list[ast.stmt] = []
        for statement in body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                if statement is body[0] and isinstance(statement.value.value, str):
                    found.append(statement)
                continue
            if isinstance(statement, ast.FunctionDef):
                self._file.hoist(statement)
                continue
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                continue
            if isinstance(statement, ast.Return):
                continue
            changed = self.visit(statement)
            found += changed if isinstance(changed, list) else [changed] if changed is not None else []
        return found

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Rewrites operators, and what else of Airflow's is called in a DAG."""
        translated = self._file.tasks.operator(node)
        if translated is not None:
            return translated
        self.generic_visit(node)
        name = self._source.called(node)
        if name == "chain":
            node.func = ast.Name("chain")
        elif name == "cross_downstream":
            self._source.note(node, f"{name} is not carried", "write the arrows")
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("as_setup", "as_teardown"):
            self._source.note(node, f"{node.func.attr} is not carried here", "write `with SETUP.teardown(TEARDOWN):`")
            return node.func.value
        if isinstance(node.func, ast.Attribute) and node.func.attr == "expand":
            node.func.attr = "map"
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "override":
            given = {each.arg: each.value for each in node.keywords}
            if set(given) == {"task_id"}:
                node.func.attr, node.args, node.keywords = "named", [given["task_id"]], []
            else:
                self._source.note(node, "override is not carried", "make another task with these options")
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Turns `a.set_downstream(b)` into an arrow."""
        value = node.value
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in _DROPPED:
            one, other = value.func.value, value.args[0]
            left, right = (one, other) if value.func.attr == "set_downstream" else (other, one)
            return ast.Expr(ast.BinOp(self.visit(left), ast.RShift(), self.visit(right)))
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Turns `a << b` round, which ours does not have, and leaves out the labels of arrows."""
        if self._source.called(node.right) == "Label":
            return self.visit(node.left) if isinstance(node.left, ast.BinOp) else self.generic_visit(node.left)
        self.generic_visit(node)
        if isinstance(node.op, ast.LShift):
            chain = [node.right]
            left = node.left
            while isinstance(left, ast.BinOp) and isinstance(left.op, ast.LShift):
                chain.append(left.right)
                left = left.left
            chain.append(left)
            whole: ast.expr = chain[0]
            for part in chain[1:]:
                whole = ast.BinOp(whole, ast.RShift(), part)
            return whole
        return node

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.stmt]:
        """Turns a TaskGroup into a group, `with b.as_teardown(setups=a):` into `with a.teardown(b):`."""
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "as_teardown":
                given = {each.arg: each.value for each in call.keywords if each.arg}
                setup = given.get("setups")
                if setup is not None and not isinstance(setup, ast.List | ast.Tuple):
                    fails = given.get("on_failure_fail_dagrun")
                    more = [ast.keyword("fails_run", fails)] if fails is not None else []
                    start = ast.Attribute(self.visit(setup), "teardown")
                    item.context_expr = ast.Call(start, [self.visit(call.func.value)], more)
                    continue
                item.context_expr = self.visit(call)
            if isinstance(call, ast.Call) and self._source.called(call) == "TaskGroup":
                given = {each.arg: each.value for each in call.keywords if each.arg}
                id = call.args[0] if call.args else given.get("group_id", ast.Constant("group"))
                item.context_expr = ast.Call(ast.Name("group"), [id], [])
        node.body = self.translate(node.body)
        return node
