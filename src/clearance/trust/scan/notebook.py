"""The Python in a Jupyter notebook, cell by cell.

Rules:

1. Every notebook is read as Python, whatever it says of its kernel: another one may be given to it when it is run.
2. A command for a shell (`!command`, `x = !command`, `%%bash`) becomes the call of a shell that it is. Other lines that
   only IPython reads (`%magic`, `?help`) are taken out, and so is a cell of text (`%%html`). Line numbers stay.
3. What is no notebook raises ValueError.

Source: https://nbformat.readthedocs.io/en/latest/format_description.html, versions 3 and 4, and
https://ipython.readthedocs.io/en/stable/interactive/magics.html.
"""

from __future__ import annotations

import re
from typing import Any

from clearance.errors import Refused
from clearance.trust import strict

_SHELL = "__import__('os').system('')"
_STILL_PYTHON = re.compile(r"%%(time|timeit|capture|prun|memit|debug)\b")
_TEXT = re.compile(r"%%(html|HTML|javascript|js|latex|markdown|svg|SVG|writefile|file)\b")
_COMMAND = re.compile(r"([\w ,.\[\]'\"]{1,200}= {0,20})?(!|%sx\b|%system\b)")  # bounded, so that it stays linear


def cells(data: bytes) -> list[tuple[int, str]]:
    """Returns the number of each code cell, from 1 among all cells, and its Python.

    Raises:
        ValueError: it is no notebook.
    """
    try:
        document = strict.parse(data, "notebook")
    except Refused as error:
        raise ValueError(str(error)) from None
    if not isinstance(document, dict):
        raise ValueError("a notebook is an object")
    listed: Any = document.get("cells")
    if listed is None:
        sheets = _objects(document.get("worksheets"), "worksheets")
        listed = [cell for sheet in sheets for cell in _objects(sheet.get("cells", []), "cells")]
    found = []
    for number, cell in enumerate(_objects(listed, "cells"), 1):
        if cell.get("cell_type") == "code":
            found.append((number, _python(_text(cell.get("source", cell.get("input", "")), number))))
    return found


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError(f"{name!r} of a notebook is a list of objects")
    return value


def _text(source: Any, number: int) -> str:
    lines = [source] if isinstance(source, str) else source
    if not isinstance(lines, list) or not all(isinstance(each, str) for each in lines):
        raise ValueError(f"the source of cell {number} is no text")
    return "".join(lines)


def _python(source: str) -> str:
    lines = source.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("%%") and not _STILL_PYTHON.match(first):
        return "" if _TEXT.match(first) else _SHELL
    return "\n".join(map(_line, lines))


def _line(line: str) -> str:
    text = line.lstrip()
    margin = line[: len(line) - len(text)]
    if _COMMAND.match(text):
        return margin + _SHELL
    if text.startswith(("%", "?")) or (text.rstrip().endswith("?") and "#" not in text):
        return margin + "pass"
    return line
