"""Setup and teardown: `with cluster.teardown(stop): train(cluster)`.

Rules, those of Apache Airflow's setup and teardown:

1. The teardown runs when the setup succeeded and all of the block has ended, however it ended, also in a run that is
   cancelled. Where the setup did not succeed, it does not run.
2. The first tasks of the block wait for the setup.
3. A teardown that fails does not make the run a failure, unless it says `fails_run=True`.
4. Whoever clears a task of the block clears the setup and the teardown too, once that has run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clearance.errors import GraphError
from clearance.graph.build import Declaration
from clearance.graph.definition import Definition, current
from clearance.graph.origin import call_site
from clearance.graph.step import Step


@contextmanager
def block(definition: Definition, setup: Step, stop: Any, fails_run: bool) -> Iterator[Step]:
    """See `Step.teardown`."""
    from clearance.graph.task import Task

    site = call_site()[0]
    if definition is not current():
        raise GraphError(f"{site}: .teardown(…) stands in the @dag function that calls the task")
    start = setup.declare(definition)
    if isinstance(stop, Task):
        stop = stop()
    if not isinstance(stop, Step):
        raise GraphError(f"{site}: teardown() wants a task, for example {start.id}.teardown(stop), not {stop!r}")
    down = stop.declare(definition)
    _check(start, down, str(site))
    down.waits.update(dict.fromkeys(name for name in down.upstream if name != start.id))
    down.upstream = {start.id: None}
    down.setup, down.fails_run = start.id, fails_run
    before = len(definition.declarations)
    yield stop
    inside = [one for one in definition.declarations[before:] if one.group == down.group]
    if not inside:
        raise GraphError(f"{site}: the block of {start.id}.teardown(…) calls no task: call in it what needs the setup")
    names = {one.id for one in inside}
    for one in inside:
        down.waits[one.id] = None
        if not one.setup and not names & one.upstream.keys():
            one.upstream[start.id] = None


def _check(start: Declaration, down: Declaration, site: str) -> None:
    for one, what in ((start, "setup"), (down, "teardown")):
        if one.mapped or one.is_group:
            raise GraphError(f"{site}: {one.where} is mapped and no {what}: put both into a mapped group")
    if start.group != down.group:
        raise GraphError(f"{site}: {down.where} takes down {start.where}, which stands in another mapped group")
    if down.setup:
        raise GraphError(f"{site}: {down.where} takes down {down.setup!r} already")
    if start.id == down.id:
        raise GraphError(f"{site}: {start.where} cannot take itself down")
    if down.options.trigger_rule:
        raise GraphError(f"{site}: {down.where} is a teardown and has a trigger_rule: leave it out")
