"""What a run that is only planned would take from the cache.

A task is looked up when all its arguments are known: constants, and results that would be taken themselves. Whether
the bytes are still what they were is asked only when the run gets there.
"""

from __future__ import annotations

import time

from clearance.graph.binding import Binding
from clearance.run.arguments import Arguments
from clearance.run.instance import Instance
from clearance.run.look.lineage import results_in
from clearance.run.redo.cache import fields_of, unfit
from clearance.run.redo.entries import Entry, key_of
from clearance.store.database import Database
from clearance.trust.environment import environment_lock


class Hits:
    """The entries that a planned run would take.

    Args:
        database: open for reading; None where nothing is remembered yet.
        arguments: of the instances of the run.
    """

    def __init__(self, database: Database | None, arguments: Arguments) -> None:
        self._database = database
        self._arguments = arguments
        self._known: set[str] = set()
        self._environment = ""

    def take(self, instance: Instance) -> Entry | None:
        """Returns the entry that would be taken for an instance; None where it would run."""
        spec = instance.spec
        if self._database is None or spec.cache is None or spec.cache.files or spec.mapped or instance.path:
            return None
        if not self._known.issuperset(_sources([*spec.inputs.values()])):
            return None
        self._environment = instance.run.environment = self._environment or environment_lock().digest
        fields = fields_of(instance, self._arguments.of(instance), "")
        found = self._database.rows("cache_entry_get", key_of(fields))
        entry = Entry(*found[0]) if found else None
        if entry is None or unfit(entry, spec.cache.max_age, time.time()):
            return None
        self._known.add(spec.id)
        return entry


def _sources(bindings: list[Binding]) -> set[str]:
    return {task for binding in bindings for task in results_in(binding)}
