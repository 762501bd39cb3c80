"""How the handles of runs and tasks read: the settings they were made with, and a read-only connection a question.

Nothing is held open between two questions, so handles may be kept, copied to threads and forgotten.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from clearance.settings import Settings, load
from clearance.store import serializers
from clearance.store.blobs import open_blobs
from clearance.store.database import Database
from clearance.types.artifact import Artifact
from clearance.types.digest import hex_of
from clearance.types.references import Dataset, File, Model, Tree

_TREES = {"tree": Tree, "dataset": Dataset, "model": Model}


class Reader:
    """Where handles read from.

    Args:
        settings: which installation; None for that of the environment.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Opens the database for reading.

        Raises:
            StoreError: nothing is remembered yet, or it is of another version than this program.
        """
        with Database(self.settings.database, read_only=True) as database:
            database.check()
            yield database

    def value(self, artifact: Artifact | None, annotation: Any) -> Any:
        """Reads a value, verified; a file, tree, dataset or model lies read-only in the home's cache of results.

        Raises:
            NotSerialisable: it does not fit the annotation.
            Corrupt: its bytes do not have their digest.
        """
        if artifact is None:
            return None
        if artifact.serializer in _TREES or artifact.serializer == "file":
            return self._reference(artifact, annotation)
        return serializers.load(artifact, annotation, open_blobs(self.settings.blobs), _scratch())

    def _reference(self, artifact: Artifact, annotation: Any) -> Any:
        folder = self.settings.home / "results"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError:  # a home that may only be read, or that holds nothing but a database
            folder = _scratch()
        place = folder / f"{hex_of(artifact.digest)}-{artifact.serializer}"
        if not place.exists():
            made = Path(tempfile.mkdtemp(dir=folder))
            try:
                serializers.load(artifact, Any, open_blobs(self.settings.blobs), made)
                (content,) = made.iterdir()
                try:
                    content.rename(place)
                except OSError:
                    if not place.exists():
                        raise
            finally:
                shutil.rmtree(made, ignore_errors=True)
        if artifact.serializer == "file":
            (found,) = place.iterdir()
            return found if annotation is Path else File(found, artifact.digest)
        return _TREES[artifact.serializer](place, artifact.digest, dict(artifact.metadata))


@cache
def _scratch() -> Path:
    """Returns a folder of this process, which is removed at its end."""
    made = tempfile.mkdtemp(prefix="clearance-results-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def moment(at: float | None) -> datetime | None:
    """Returns an instant of the database in UTC; None for none."""
    return None if at is None else datetime.fromtimestamp(at, UTC)
