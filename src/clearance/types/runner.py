"""The port behind `Dag.run`: the graph asks to be run and knows no runner.

`run.python` fills it. It is found by name when a DAG is first run, so that a floor-1 room imports nothing above.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

HOME = "clearance.run.python"


def runner() -> Callable[..., Any]:
    """Returns `run_dag(dag, *, parameters, **options)`."""
    found: Callable[..., Any] = importlib.import_module(HOME).run_dag
    return found
