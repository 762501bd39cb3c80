"""Dangerous calls in pipeline code, found in its syntax tree without running it.

Rules: every file that is Python by its suffix or its first line is read, and every notebook; one that cannot be parsed
is a finding that nothing lets pass by severity. No comment in a file switches a rule off.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from functools import cache

from clearance.trust.refusal import Rejected
from clearance.trust.scan.finding import Finding, in_order
from clearance.trust.scan.names import Names
from clearance.trust.scan.notebook import cells
from clearance.trust.scan.reading import Text
from clearance.trust.scan.rules import ALL_INTERFACES, RULES, UNPARSABLE, Rule

NOTEBOOK = ".ipynb"
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  what is looked for


def scan_code(files: Iterable[Text], target: str = "") -> tuple[tuple[Finding, ...], int]:
    """Returns the findings, and how many files were read.

    Raises:
        Rejected: `source-none`: none of them is Python.
    """
    found: list[Finding] = []
    count = 0
    for file in files:
        if is_python(file):
            count += 1
            found.extend(_scan(file))
    if count == 0:
        raise Rejected("source-none", f"{target} holds no Python: nothing was scanned", target)
    return in_order(found), count


def is_python(file: Text) -> bool:
    """Says whether a file is Python or a notebook: by its suffix, or its first line."""
    if file.name.endswith((".py", ".pyw", ".pyi", NOTEBOOK)):
        return True
    return file.data.startswith(b"#!") and b"python" in file.data.partition(b"\n")[0]


def _scan(file: Text) -> Iterator[Finding]:
    if not file.name.endswith(NOTEBOOK):
        yield from scan_text(file.data, file.where)
        return
    try:
        found = cells(file.data)
    except ValueError:
        yield _finding(UNPARSABLE, file.where, 0)
        return
    for number, source in found:
        yield from scan_text(source.encode("utf-8", "surrogatepass"), f"{file.where}#cell{number}")


def scan_text(data: bytes, where: str) -> Iterator[Finding]:
    """Yields what is wrong with one file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data)
        names = Names(tree)
        found = {(line, rule.id): rule for line, rule in _named(tree, names)}
        found |= {(each.lineno, rule.id): rule for each in _calls(tree) for rule in _broken(each, names)}
        places = {each.lineno for each in ast.walk(tree) if isinstance(each, ast.Constant) and _is_everywhere(each)}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = error.lineno if isinstance(error, SyntaxError) and error.lineno else 0
        yield _finding(UNPARSABLE, where, line)
        return
    for (line, _), rule in found.items():
        yield _finding(rule, where, line)
    for line in places:
        yield _finding(ALL_INTERFACES, where, line)


def _finding(rule: Rule, where: str, line: int) -> Finding:
    return Finding(rule.id, rule.severity, where, line, rule.why, rule.mend)


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node


def _named(tree: ast.Module, names: Names) -> Iterator[tuple[int, Rule]]:
    """Yields the functions that are dangerous however they are called, wherever they are named: `map(loads, …)`."""
    exact = _tables()[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            for rule in (rule for name in names.of(node) for rule in exact.get(name, ()) if rule.when is None):
                yield node.lineno, rule


def _broken(call: ast.Call, names: Names) -> Iterator[Rule]:
    functions = names.of(call.func)
    rules = {id(rule): rule for name in functions or {""} for rule in _candidates(name)}
    for rule in sorted(rules.values(), key=lambda each: each.severity.rank):
        if rule.when is None or rule.when(call):
            yield rule


def _candidates(name: str) -> Iterator[Rule]:
    exact, prefixes, suffixes, always = _tables()
    yield from always
    yield from exact.get(name, ())
    for prefix, rule in prefixes:
        if name.startswith(prefix):
            yield rule
    for suffix, rule in suffixes:
        if name.endswith(suffix):
            yield rule


@cache
def _tables() -> tuple[
    dict[str, list[Rule]], tuple[tuple[str, Rule], ...], tuple[tuple[str, Rule], ...], tuple[Rule, ...]
]:
    """Returns the rules by exact name, beginning (`requests.*`), end (`*.from_pretrained`), and for every call."""
    exact: dict[str, list[Rule]] = {}
    prefixes: list[tuple[str, Rule]] = []
    suffixes: list[tuple[str, Rule]] = []
    always: list[Rule] = []
    for rule in RULES:
        for pattern in rule.patterns:
            if pattern == "*":
                always.append(rule)
            elif pattern.endswith("*"):
                prefixes.append((pattern[:-1], rule))
            elif pattern.startswith("*"):
                suffixes.append((pattern[1:], rule))
            else:
                exact.setdefault(pattern, []).append(rule)
    return exact, tuple(prefixes), tuple(suffixes), tuple(always)


def _is_everywhere(node: ast.Constant) -> bool:
    return isinstance(node.value, str) and node.value in _EVERYWHERE
