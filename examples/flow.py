"""A search that stops when it is good enough: an ordinary loop, whose every call of a task is a checkpoint.

Doubles a learning rate until the line fits: `clearance run examples/flow.py -p goal=0.55`. Killed in the middle and
resumed, it does no fit a second time.
"""

import math
import random
from dataclasses import dataclass

from clearance import StepFailed, flow, task


@dataclass
class Points:
    x: list[float]
    y: list[float]


@dataclass
class Line:
    slope: float
    offset: float
    error: float


@task
def measure(count: int = 200, seed: int = 7) -> Points:
    """Makes points near y = 3x + 1."""
    draw = random.Random(seed)
    x = [draw.uniform(0, 10) for _ in range(count)]
    return Points(x, [3 * value + 1 + draw.gauss(0, 0.5) for value in x])


@task
def fit(points: Points, rate: float, steps: int = 200) -> Line:
    """Fits a line by gradient descent, and fails where the rate is so high that it diverges."""
    slope = offset = 0.0
    pairs = list(zip(points.x, points.y, strict=True))
    for _ in range(steps):
        errors = [slope * x + offset - y for x, y in pairs]
        slope -= rate * sum(error * x for error, (x, _) in zip(errors, pairs, strict=True)) / len(pairs)
        offset -= rate * sum(errors) / len(pairs)
        if abs(slope) > 1e3:
            raise ArithmeticError(f"diverges at rate {rate:g}")
    error = math.sqrt(sum((slope * x + offset - y) ** 2 for x, y in pairs) / len(pairs))
    return Line(slope, offset, error)


@flow
def search(goal: float = 0.55, most: int = 10) -> Line:
    """Doubles the rate until the line is good enough, or until it diverges."""
    points = measure()
    rate, best = 0.001, Line(0.0, 0.0, math.inf)
    for _ in range(most):
        try:
            line = fit(points, rate)
        except StepFailed as failed:
            print(f"stopped: {failed.message}")
            break
        best = min(best, line, key=lambda one: one.error)
        print(f"rate {rate:g}: error {line.error:.3f}")
        if line.error <= goal:
            break
        rate *= 2
    return best
