"""`Dag.run(…)` from Python: the run goes through the `clearance` command, in processes of its own.

The process that holds a pipeline's code never becomes the control plane, which holds the signing key.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearance.errors import ClearanceError, GraphError, RunFailed
from clearance.graph.model import decode
from clearance.run import rows, views
from clearance.run.arguments import nested
from clearance.run.shape import Path as Path_
from clearance.run.shape import Shape
from clearance.run.stored import Stored
from clearance.settings import Settings, load
from clearance.store.blobs import open_blobs
from clearance.store.database import Database
from clearance.store.serializers import load as load_value
from clearance.types.artifact import Artifact

if TYPE_CHECKING:
    from clearance.graph.dag import Dag


class FinishedRun:
    """A run that has ended.

    Attributes:
        id: of the run.
        state: `success`, `failed` or `cancelled`.
    """

    def __init__(self, id: str, settings: Settings) -> None:
        self.id = id
        self._settings = settings
        with self._database() as database:
            self.state: str = views.run(database, id)["state"]

    def __repr__(self) -> str:
        return f"<run {self.id!r} {self.state}>"

    def result(self, task: str, annotation: Any = Any) -> Any:
        """Returns what a task returned; of a mapped task, the list of what its instances returned, in order.

        Args:
            task: its id, or `task[3]` for one instance; of a task in a mapped group lists of lists.
            annotation: type to convert plain data to.

        Raises:
            UsageError: no such task, or it has no result.
        """
        with self._database() as database:
            row, instance = views.find(database, self.id, task)
            shape = Shape(decode(bytes(database.rows("version_get", row.version)[0][3])))
            levels = shape.levels(instance.node)
            found: dict[Path_, Artifact | None] = {(): None}
            if len(instance.path) < levels:
                found = dict(Stored(database).results(row.number, instance.node))
            single = rows.artifact_of(database, row.number, instance.number)
        blobs = open_blobs(self._settings.blobs)
        folder = Path(tempfile.mkdtemp(prefix="clearance-result-"))

        def value(artifact: Artifact | None) -> Any:
            return None if artifact is None else load_value(artifact, annotation, blobs, folder)

        if len(instance.path) == levels:
            return value(single)
        below = {path: each for path, each in found.items() if path[: len(instance.path)] == instance.path}
        return nested(below, instance.path, levels, value, list)

    def _database(self) -> Database:
        return Database(self._settings.database, read_only=True)


def run_dag(dag: Dag, *, parameters: dict[str, Any], run_id: str | None = None) -> FinishedRun:
    """Runs a DAG and waits for its end.

    Raises:
        GraphError: the DAG was not defined in a file.
        RunFailed: it ended in another state than success.
    """
    if not Path(dag.path).is_file():
        raise GraphError(f"dag {dag.id!r} was not defined in a file: write it to a .py file, whose code can travel")
    settings = load()
    command = [sys.executable, "-m", "clearance.cli", "run", f"{dag.path}:{dag.id}"]
    for name, value in parameters.items():
        command += ["-p", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    with tempfile.NamedTemporaryFile(mode="r", prefix="clearance-run-") as told:
        command += ["--id-file", told.name]
        if run_id:
            command += ["--run-id", run_id]
        code = subprocess.run(command, check=False).returncode
        id = told.read().strip()
    if not id:
        raise _Refused(f"dag {dag.id!r} was not run: see the message above", code)
    finished = FinishedRun(id, settings)
    if finished.state != "success":
        raise RunFailed(f"run {id} {finished.state}: see `clearance runs show {id}`")
    return finished


class _Refused(ClearanceError):
    """The command refused to run the DAG; its exit code is kept."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code
