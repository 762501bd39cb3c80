"""Notebooks: their Python is scanned, what is not Python is taken out, and what is no notebook refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.trust.scan.code import scan_code
from clearance.trust.scan.notebook import cells
from clearance.trust.scan.reading import Text


def notebook(*sources: Any) -> bytes:
    listed = [{"cell_type": "code", "source": source} for source in sources]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "eval(x)"}, *listed]}).encode()


def scan(data: bytes) -> list[tuple[str, str, int]]:
    found, _ = scan_code([Text("n.ipynb", "n.ipynb", data)])
    return [(each.rule, each.where, each.line) for each in found]


def test_the_python_of_cells_is_scanned():
    data = notebook("x = 1", ["import os\n", "%matplotlib inline\n", "if x:\n", "    %pip list\n", "eval(x)"])
    assert scan(data) == [("eval", "n.ipynb#cell3", 5)]


def test_commands_for_a_shell_are_calls_of_a_shell():
    for source in (
        "!ls",
        "if x:\n    !ls",
        "files = !ls",
        "%%bash\nrm -r $(",
        "%%script perl\n1",
        "%sx ls",
        "%system ls",
    ):
        ((rule, where, _),) = scan(notebook(source))
        assert (rule, where) == ("shell", "n.ipynb#cell2")


def test_magics_and_help_are_taken_out():
    assert scan(notebook("%%html\n<b>", "%%time\nx = 1", "x?", "?x", "", "x = y != z")) == []
    assert scan(notebook("%%time\neval(x)")) == [("eval", "n.ipynb#cell2", 2)]


def test_a_notebook_is_read_whatever_it_says_of_its_kernel():
    document = json.loads(notebook("eval(x)"))
    document["metadata"] = {"kernelspec": {"name": "ir", "language": "R"}}
    assert scan(json.dumps(document).encode()) == [("eval", "n.ipynb#cell2", 1)]


def test_cells_of_version_3_are_read():
    data = json.dumps({"worksheets": [{"cells": [{"cell_type": "code", "input": "eval(x)"}]}]}).encode()
    assert cells(data) == [(1, "eval(x)")]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"cells": 1}', b'{"cells": [1]}', b'{"cells": [], "cells": []}',
                                  b'{"cells": [{"cell_type": "code", "source": 1}]}'])  # fmt: skip
def test_what_is_no_notebook_is_a_finding(data: bytes):
    assert scan(data) == [("code-unparsable", "n.ipynb", 0)]


JSON = st.recursive(
    st.none() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["cells", "cell_type", "source", "metadata", "worksheets", "x"]), inner, max_size=4
        )
    ),
)


@given(JSON)
def test_any_document_is_read_or_refused(document: Any):
    with contextlib.suppress(ValueError):
        assert all(isinstance(source, str) for _, source in cells(json.dumps(document).encode()))
