"""Functions of libraries as tasks."""

from __future__ import annotations

import statistics

import pytest

from clearance.errors import GraphError
from clearance.operators import python


def test_a_function_of_a_library_is_a_task_with_inputs_and_options(bench):
    bench.run("""
import statistics

@task
def rows() -> list[float]:
    return [1.0, 2.0, 6.0]

@task
def double(x: float) -> float:
    return 2 * x

@dag
def main():
    double(python("mean", statistics.fmean, data=rows(), weights=None, options={"retries": 1}))

beside = dag("beside", rows >> python("mean", statistics.fmean, weights=None))
""")
    assert bench.result("double") == 6.0
    bench.home.command("run", f"{bench.folder / 'pipeline.py'}:beside")
    assert bench.result("mean", "beside/1") == 3.0


def helper(x: int) -> int:
    return x


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: python("x", lambda: 1), "is a lambda"),
        (lambda: python("x", helper, y=1), "parameter 'y' is unknown"),
        (lambda: python("x", helper, options={"retires": 1}), "did you mean 'retries'"),
        (lambda: python("x", statistics.NormalDist), "is a class"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(make, says):
    with pytest.raises(GraphError, match=says):
        make()
