"""The ports behind `Dag.run`, `Dag.test` and `Dag.dry_run`: the graph asks to be run and knows no runner.

Rooms above fill them. They are found by name when they are first asked, so that a floor-1 room imports nothing above.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def runner() -> Callable[..., Any]:
    """Returns `run_dag(dag, *, parameters, **options)`."""
    return _find("clearance.run.python", "run_dag")


def tester() -> Callable[..., Any]:
    """Returns `test_dag(dag, *, mocks, clock, interval, parameters)`."""
    return _find("clearance.run.rehearsal.testing", "test_dag")


def planner() -> Callable[..., Any]:
    """Returns `plan(graph)`."""
    return _find("clearance.run.rehearsal.planning", "plan")


def _find(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
