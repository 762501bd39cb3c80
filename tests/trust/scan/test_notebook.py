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


def notebook(*sources: Any, **metadata: Any) -> bytes:
    listed = [{"cell_type": "code", "source": source} for source in sources]
    return json.dumps(
        {"cells": [{"cell_type": "markdown", "source": "eval(x)"}, *listed], "metadata": metadata}
    ).encode()


def scan(data: bytes) -> list[tuple[str, str, int]]:
    found, _ = scan_code([Text("n.ipynb", "n.ipynb", data)])
    return [(each.rule, each.where, each.line) for each in found]


def test_the_python_of_cells_is_scanned():
    data = notebook("x = 1", ["import os\n", "%matplotlib inline\n", "!ls -l\n", "if x:\n", "    !ls\n", "eval(x)"])
    assert scan(data) == [("eval", "n.ipynb#cell3", 6)]


def test_magics_and_other_languages_are_no_python():
    assert scan(notebook("%%bash\nrm -r $(", "%%time\nx = 1", "x?", "?x", "")) == []
    assert scan(notebook("%%time\neval(x)")) == [("eval", "n.ipynb#cell2", 2)]
    assert scan(notebook("x <- eval(y", kernelspec={"name": "ir", "language": "R"})) == []
    assert scan(notebook("eval(x)", kernelspec={"name": "python3"})) != []


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
