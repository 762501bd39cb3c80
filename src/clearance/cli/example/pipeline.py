"""A small pipeline: make points, fit a line through them, judge it, report."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from clearance import Model, Retry, dag, task


@dataclass
class Points:
    """Measured points."""

    x: list[float]
    y: list[float]


@dataclass
class Report:
    """How well a line fits: the root of the mean squared error, in units of y."""

    slope: float
    error: float


@task(retries=Retry(3, on=(OSError,)), timeout="1m")
def measure(count: int = 200, seed: int = 7) -> Points:
    """Makes points near y = 3x + 1."""
    draw = random.Random(seed)
    x = [draw.uniform(0, 10) for _ in range(count)]
    return Points(x, [3 * value + 1 + draw.gauss(0, 0.5) for value in x])


@task
def fit(points: Points, steps: int = 500, rate: float = 0.02) -> Model:
    """Fits a line by gradient descent and keeps it as a model: a folder with a file in it."""
    slope = offset = 0.0
    pairs = list(zip(points.x, points.y, strict=True))
    for _ in range(steps):
        errors = [slope * x + offset - y for x, y in pairs]
        slope -= rate * sum(error * x for error, (x, _) in zip(errors, pairs, strict=True)) / len(pairs)
        offset -= rate * sum(errors) / len(pairs)
    folder = Path("model")
    folder.mkdir()
    (folder / "line.json").write_text(json.dumps({"slope": slope, "offset": offset}))
    return Model(folder, metadata={"framework": "none"})


@task
def judge(model: Model, points: Points) -> Report:
    """Measures the error of the line on the points."""
    line = json.loads((model.path / "line.json").read_text())
    squares = [(line["slope"] * x + line["offset"] - y) ** 2 for x, y in zip(points.x, points.y, strict=True)]
    return Report(line["slope"], (sum(squares) / len(squares)) ** 0.5)


@task
def best(reports: list[Report]) -> Report:
    """Returns the report with the smallest error."""
    winner = min(reports, key=lambda report: report.error)
    print(f"best error {winner.error:.3f}, slope {winner.slope:.3f}")
    return winner


@dag
def line(count: int = 200) -> None:
    """Fits with several learning rates at once, and keeps the best."""
    points = measure(count)
    models = fit.partial(points=points).map(rate=[0.001, 0.01, 0.02])
    best(judge.partial(points=points).map(model=models))
