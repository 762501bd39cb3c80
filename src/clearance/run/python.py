"""`Dag.run(…)` from Python: the run goes through the `clearance` command, in processes of its own.

The process that holds a pipeline's code never becomes the control plane, which holds the signing key.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearance.errors import ClearanceError, GraphError, RunFailed
from clearance.run.look.access import Run
from clearance.run.tags import check_tags
from clearance.settings import load

if TYPE_CHECKING:
    from clearance.graph.dag import Dag


def run_dag(
    dag: Dag, *, parameters: dict[str, Any], run_id: str | None = None, tags: Mapping[str, str] | None = None
) -> Run:
    """Runs a DAG and waits for its end.

    Raises:
        GraphError: the DAG was not defined in a file.
        UsageError: a tag that is none.
        RunFailed: it ended in another state than success.
    """
    if not Path(dag.path).is_file():
        raise GraphError(f"dag {dag.id!r} was not defined in a file: write it to a .py file, whose code can travel")
    check_tags(tags or {})
    settings = load()
    command = [sys.executable, "-m", "clearance.cli", "run", f"{dag.path}:{dag.id}"]
    for name, value in parameters.items():
        command += ["-p", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    for name, value in (tags or {}).items():
        command += ["--tag", f"{name}={value}"]
    with tempfile.NamedTemporaryFile(mode="r", prefix="clearance-run-") as told:
        command += ["--id-file", told.name]
        if run_id:
            command += ["--run-id", run_id]
        code = subprocess.run(command, check=False).returncode
        id = told.read().strip()
    if not id:
        raise _Refused(f"dag {dag.id!r} was not run: see the message above", code)
    finished = Run(id, settings)
    if finished.state != "success":
        raise RunFailed(f"run {id} {finished.state}: see `clearance runs show {id}`")
    return finished


class _Refused(ClearanceError):
    """The command refused to run the DAG; its exit code is kept."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code
