"""Pipelines written as text: a task must be at the top level of a file, so a wrong one needs a file of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from clearance.errors import GraphError
from clearance.graph.dag import Dag
from clearance.graph.loading import load

HEAD = "from clearance import Dataset, Endpoint, File, Model, Resources, Retry, Tree, chain, dag, task\n"


@pytest.fixture
def pipeline(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a pipeline file; line 1 imports the language."""

    def write(text: str, name: str = "pipe.py") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(HEAD + textwrap.dedent(text).lstrip("\n"))
        return file

    return write


@pytest.fixture
def made(pipeline: Callable[[str], Path]) -> Callable[..., Dag]:
    """Loads the one DAG of a pipeline given as text."""
    return lambda text, name=None: load(pipeline(text), name)


@pytest.fixture
def refused(pipeline: Callable[[str], Path]) -> Callable[[str], str]:
    """Returns the error that loading and building a pipeline gives."""

    def message(text: str) -> str:
        with pytest.raises(GraphError) as error:
            load(pipeline(text)).graph()
        return str(error.value)

    return message
