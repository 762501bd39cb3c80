"""Lineage: what a result was made of, and what was made of it, within a run and across runs.

Rules:

1. Within a run data flows along the bindings of the graph: arguments, elements of maps. An edge that only orders
   carries nothing. An instance of a map over another map comes from the instance of the same index.
2. Across runs it flows through assets: an event that a task's success wrote, and the run that consumed it.
3. Equal content has one digest: whoever used it in another run used this value, and it may have been made there first.
4. `attested` says whether the signed provenance of the result names the digest as an input.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from clearance.errors import UsageError
from clearance.graph.model import Binding, Element, Graph, Items, Node, Result, decode
from clearance.run import rows
from clearance.run.evidence import PROVENANCE
from clearance.run.look import views
from clearance.run.shape import Path, Shape
from clearance.run.starts.causes import cause_of
from clearance.store.database import Database

ALIKE = "equal content"
MOST_ALIKE = 20


class Step(msgspec.Struct, frozen=True):
    """A result on the way.

    Attributes:
        run: id of its run.
        task: `train`, `train[3]`; a mapped task stands for its instances.
        digest: of the result; empty where there is none, or it stands for instances.
        type: of the result.
        depth: how many steps away, from 1; 0 is what was asked for.
        of: run and task of the step that it was reached from; empty for what was asked for.
        via: `argument x`, `element x` of a map, `asset s3://…`, `equal content`.
        attested: the signed provenance names it as an input; None where there is no one digest to be named.
    """

    run: str
    task: str
    digest: str
    type: str
    depth: int
    of: tuple[str, str] | tuple[()] = ()
    via: str = ""
    attested: bool | None = None


class _Place(NamedTuple):
    run: int
    node: int
    path: Path


class _Edge(NamedTuple):
    place: _Place
    via: str


class _Known(NamedTuple):
    """A run while its lineage is followed; `uses` says by node whose results it takes, and as what."""

    row: rows.RunRow
    graph: Graph
    shape: Shape
    uses: list[dict[int, tuple[str, bool]]]


def trace(database: Database, run: str, label: str, down: bool = False, limit: int = 1000) -> list[Step]:
    """Returns the result that was asked for and what it was made of, or what was made of it; nearest first.

    Args:
        database: where it is remembered.
        run: id.
        label: of the task.
        down: what was made of it.
        limit: how many steps at most.

    Raises:
        UsageError: no such run or task, or it has no result.
    """
    row, instance = views.find(database, run, label)
    if instance.state != "success":
        raise UsageError(f"{run} {label} is {instance.state} and has no result")
    return _Trace(database, down, limit).follow(_Place(row.number, instance.node, instance.path))


class _Trace:
    """One search, breadth first."""

    def __init__(self, database: Database, down: bool, limit: int) -> None:
        self._database = database
        self._down = down
        self._limit = limit
        self._runs: dict[int, _Known] = {}

    def follow(self, start: _Place) -> list[Step]:
        steps: list[Step] = []
        seen = {start}
        waiting: deque[tuple[_Place, int, tuple[str, str] | tuple[()], str, frozenset[str] | None, str]] = deque()
        waiting.append((start, 0, (), "", None, ""))
        while waiting and len(steps) < self._limit:
            place, depth, of, via, named, origin = waiting.popleft()
            step, row = self._step(place, depth, of, via, named)
            if row is None:
                continue
            if self._down:
                own = self._inputs(place, row, step.digest)
                step = msgspec.structs.replace(step, attested=_attested(via, origin, own))
            steps.append(step)
            if via == ALIKE and not self._down:
                continue  # where else it was made is said, and not followed
            inputs = None if self._down else self._inputs(place, row, step.digest)
            for edge in self._edges(place, row, step.digest):
                if edge.place not in seen:
                    seen.add(edge.place)
                    waiting.append((edge.place, depth + 1, (step.run, step.task), edge.via, inputs, step.digest))
        return steps

    def _step(
        self, place: _Place, depth: int, of: tuple[str, str] | tuple[()], via: str, named: frozenset[str] | None
    ) -> tuple[Step, rows.InstanceRow | None]:
        known = self._known(place.run)
        row = rows.instance_at(self._database, place.run, place.node, place.path)
        artifact = rows.artifact_of(self._database, place.run, row.number) if row is not None else None
        digest = artifact.digest if artifact is not None else ""
        attested = _attested(via, digest, named)
        label = row.label if row is not None else known.graph.nodes[place.node].id
        kind = artifact.type if artifact is not None else ""
        return Step(known.row.id, label, digest, kind, depth, of, via, attested), row

    def _edges(self, place: _Place, row: rows.InstanceRow, digest: str) -> Iterator[_Edge]:
        if self._down:
            yield from self._users(place)
            yield from self._consumers(place, row)
        else:
            yield from self._sources(place)
            yield from self._writers(place)
        if digest:
            for run, number in self._database.rows("artifacts_equal", digest, MOST_ALIKE):
                if (run, number) != (place.run, row.number):
                    other = rows.InstanceRow(*self._database.rows("instances_numbered", run, number)[0])
                    yield _Edge(_Place(run, other.node, other.path), ALIKE)

    def _sources(self, place: _Place) -> Iterator[_Edge]:
        """What filled the parameters of a row."""
        known = self._known(place.run)
        for source, (name, same) in known.uses[place.node].items():
            yield _Edge(
                _Place(place.run, source, _across(known.shape, source, place.node, place.path, same)),
                name,
            )

    def _users(self, place: _Place) -> Iterator[_Edge]:
        """Whose parameters a row filled."""
        known = self._known(place.run)
        for node, used in enumerate(known.uses):
            if place.node in used:
                name, same = used[place.node]
                path = _across(known.shape, node, place.node, place.path, same)
                yield _Edge(_Place(place.run, node, path), name)

    def _writers(self, place: _Place) -> Iterator[_Edge]:
        """The tasks of other runs that wrote the events of which the run was started: at its first tasks."""
        known = self._known(place.run)
        if known.uses[place.node]:
            return
        cause = cause_of(self._database, place.run)
        for event in cause.events if cause is not None else ():
            found = self._database.rows("asset_event_source", event.number)
            if found and found[0][0] and (writer := self._writer(found[0][0])) is not None:
                yield _Edge(writer, f"asset {event.asset}")

    def _writer(self, source: str) -> _Place | None:
        id, label, _ = source.split(" ")
        found = rows.run_row(self._database, id)
        if found is None:
            return None
        name, bracket, rest = label.partition("[")
        path = tuple(map(int, rest.removesuffix("]").split(","))) if bracket else ()
        node = self._known(found.number).shape.index[name]
        return _Place(found.number, node, path)

    def _consumers(self, place: _Place, row: rows.InstanceRow) -> Iterator[_Edge]:
        """The first tasks of the runs that were started of the events that a row wrote."""
        id = self._known(place.run).row.id
        index = 0
        while found := self._database.rows("asset_event_of", f"{id} {row.label} {row.epoch}.{index}"):
            index += 1
            number = found[0][0]
            asset = self._database.rows("asset_event_at", number)[0][1]
            for _, _, run in self._database.rows("asset_event_runs", number, number):
                started = rows.run_row(self._database, run) if run else None
                if started is not None:
                    for node, used in enumerate(self._known(started.number).uses):
                        if not used:
                            yield _Edge(_Place(started.number, node, ()), f"asset {asset}")

    def _inputs(self, place: _Place, row: rows.InstanceRow, digest: str) -> frozenset[str] | None:
        """Returns the digests that the provenance of a result names; None where it has none."""
        for kind, run, instance, envelope, _ in self._database.rows("attestations", digest) if digest else ():
            if kind == PROVENANCE and (run, instance) == (place.run, row.number):
                return frozenset(_named(bytes(envelope)))
        return None

    def _known(self, number: int) -> _Known:
        if (found := self._runs.get(number)) is None:
            row = rows.RunRow(*self._database.rows("run_at", number)[0])
            graph = decode(bytes(self._database.rows("version_get", row.version)[0][3]))
            shape = Shape(graph)
            found = self._runs[number] = _Known(row, graph, shape, [_uses(graph, shape, node) for node in graph.nodes])
        return found


def _uses(graph: Graph, shape: Shape, node: Node) -> dict[int, tuple[str, bool]]:
    """Returns by node index whose results a node takes: by which parameter, and whether instance by instance."""
    found: dict[int, tuple[str, bool]] = {}
    single = len(node.mapped) == 1 or not node.product
    for name, binding in {**node.inputs, **node.mapped}.items():
        for task in _results(graph, shape, binding):
            source = shape.index[task]
            same = name in node.mapped and isinstance(binding, Result) and single and not node.is_group
            what = f"{'element' if name in node.mapped else 'argument'} {name}"
            found.setdefault(source, (what, same and shape.levels(source) == shape.depth(source) + 1))
    return found


def _results(graph: Graph, shape: Shape, binding: Binding) -> Iterable[str]:
    if isinstance(binding, Element):
        group = graph.nodes[shape.index[binding.group]]
        yield from _results(graph, shape, group.mapped[binding.name])
    else:
        yield from results_in(binding)


def results_in(binding: Binding) -> Iterator[str]:
    """Yields the id of every task whose result a binding takes directly."""
    if isinstance(binding, Result):
        yield binding.task
    elif isinstance(binding, Items):
        for item in binding.items:
            yield from results_in(item)


def _across(shape: Shape, other: int, node: int, path: Path, same: bool) -> Path:
    """Returns the path of the row of another node that belongs to a row of this one."""
    common = shape.common(other, node)
    if same and len(path) == common + 1 and shape.depth(other) == shape.depth(node) == common:
        return path
    return path[:common]


def _attested(via: str, digest: str, named: frozenset[str] | None) -> bool | None:
    """Says whether an input is among the digests that a provenance names; an element of a list has none of its own."""
    if not digest or named is None or not via.startswith(("argument ", "element ")):
        return None
    return digest in named or (None if via.startswith("element ") else False)


def _named(envelope: bytes) -> Iterator[str]:
    """Yields the digests of the inputs that an envelope names; whether its signature holds, `artifact verify` says."""
    payload = base64.b64decode(msgspec.json.decode(envelope)["payload"])
    for each in msgspec.json.decode(payload)["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if each["name"].startswith("input:"):
            yield f"sha256:{each['digest']['sha256']}"
