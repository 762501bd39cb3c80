"""Documents of a model: JSON and text. What they can bring in is code, by naming it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from clearance.trust.ingest.judgement import NOTE, REFUSED, Finding, Unfit

_CODE_KEYS = ("auto_map", "custom_pipelines")
_TEMPLATE = "chat_template"
_UNSAFE_TEMPLATE = re.compile(r"__\w+__|\|\s*attr\b|\.\s*mro\b|\bcycler\b|\bjoiner\b|\blipsum\b")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
_SHEBANG = "#!"
_CODE = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def text_of(data: bytes) -> str | None:
    """Returns bytes as text; None where they are none."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text


def json_of(text: str) -> Any:
    """Reads JSON.

    Raises:
        Unfit: a key stands twice: two readers would see two documents.
        ValueError: it is no JSON.
    """
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unfit("json-duplicate", f"the key {twice!r} stands twice in an object: it has two readings")
    return found


def in_json(document: Any, where: str) -> Iterator[Finding]:
    """Yields what a configuration would bring in: code by `auto_map`, a Keras Lambda, a template that reaches out."""
    stack = [document]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack += value
        if not isinstance(value, dict):
            continue
        stack += value.values()
        for key in _CODE_KEYS:
            if value.get(key):
                told = json.dumps(value[key])[:200]
                yield _refused("custom-code", where, f"its {key} has code imported: {told}", "use a model of a library")
        if value.get("class_name") in ("Lambda", "TFOpLambda", "SlicingOpLambda") or "__lambda__" in value.values():
            yield _refused("keras-lambda", where, "a Keras Lambda layer runs code of its own", "write it as a layer")
        module = value.get("module")
        if isinstance(module, str) and "class_name" in value and not module.startswith("keras"):
            yield _refused("custom-code", where, f"it imports the module {module!r}", "use layers of Keras alone")
        template = value.get(_TEMPLATE)
        if isinstance(template, str):
            yield from in_template(template, where)


def in_template(template: str, where: str) -> Iterator[Finding]:
    """Yields whether a chat template reaches for what Jinja's sandbox is there to keep from it."""
    if found := _UNSAFE_TEMPLATE.search(template):
        text = f"its chat template reaches for {found[0]!r}"
        yield _refused("template", where, text, "use the template of the base model")


def is_code(text: str, name: str) -> bool:
    """Returns whether a text is a program: a script, or Python that imports or defines something."""
    if text.startswith(_SHEBANG) or name.endswith((".py", ".pyw", ".sh", ".js", ".ps1", ".bat", ".pth")):
        return True
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, _CODE) for node in tree.body)


def _refused(code: str, where: str, text: str, mend: str) -> Finding:
    return Finding(code, REFUSED, where, text, mend)


def note(code: str, where: str, text: str) -> Finding:
    """Returns something to be known."""
    return Finding(code, NOTE, where, text)
