"""The Python in a Jupyter notebook, cell by cell.

Rules: lines that only IPython reads (`%magic`, `!command`, `?help`) are taken out, a cell of another language (`%%bash`)
is passed over, and so is a notebook whose kernel is no Python. A notebook that cannot be read raises ValueError.

Source: https://nbformat.readthedocs.io/en/latest/format_description.html, versions 3 and 4.
"""

from __future__ import annotations

from typing import Any

from clearance.errors import Refused
from clearance.trust import strict

_STILL_PYTHON = ("%%time", "%%timeit", "%%capture", "%%prun", "%%memit")


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
    if not _is_python(document.get("metadata")):
        return []
    listed: Any = document.get("cells")
    if listed is None and isinstance(sheets := document.get("worksheets"), list):
        listed = [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells", ())]
    if not isinstance(listed, list):
        raise ValueError("a notebook has cells")
    found = []
    for number, cell in enumerate(listed, 1):
        if not isinstance(cell, dict):
            raise ValueError(f"cell {number} is no object")
        if cell.get("cell_type") == "code":
            found.append((number, _python(_text(cell.get("source", cell.get("input", "")), number))))
    return found


def _is_python(metadata: Any) -> bool:
    parts = [metadata.get(name) for name in ("language_info", "kernelspec")] if isinstance(metadata, dict) else []
    named = [part.get(key) for part in parts if isinstance(part, dict) for key in ("name", "language")]
    languages = [each for each in named if isinstance(each, str)]
    return not languages or any("python" in each.lower() or each.lower() == "ipython" for each in languages)


def _text(source: Any, number: int) -> str:
    lines = [source] if isinstance(source, str) else source
    if not isinstance(lines, list) or not all(isinstance(each, str) for each in lines):
        raise ValueError(f"the source of cell {number} is no text")
    return "".join(lines)


def _python(source: str) -> str:
    lines = source.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("%%") and not first.startswith(_STILL_PYTHON):
        return ""
    return "\n".join(_without_magic(line) for line in lines)


def _without_magic(line: str) -> str:
    text = line.lstrip()
    if text.startswith(("%", "!", "?")) or text.rstrip().endswith("?"):
        return line[: len(line) - len(text)] + "pass"
    return line
