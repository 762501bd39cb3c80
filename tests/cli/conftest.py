"""The command line as a user meets it: exit code, standard output, standard error."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from clearance.cli.main import invoke


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def clearance(home, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs one command line in an empty working directory."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = invoke([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


PIPELINE = """
from clearance import Model, Tree, dag, task
@task(gang=2, retries=3, timeout="10m")
def fetch(limit: int = 10) -> Tree: ...
@task
def train(images: Tree, lr: float = 0.1) -> Model: ...
@task
def choose(models: list[Model]) -> Model: ...
digits = dag("digits", fetch >> train)
@dag
def search(limit: int):
    '''Tries learning rates.'''
    choose(train.partial(images=fetch(limit)).map(lr=[0.1, 0.2]))
"""


@pytest.fixture
def pipeline(tmp_path):
    """A pipeline file with two DAGs; `search` has a required parameter."""
    file = tmp_path / "pipe.py"
    file.write_text(PIPELINE)
    return file
