"""From bindings in the graph to arguments of an attempt: constants, upstream results, elements of maps.

A result of this turn is in memory and not yet in the database; an older one is in the database and may be in memory no
more: both are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from clearance.errors import GraphError
from clearance.graph.binding import Path as Way
from clearance.graph.model import Binding, Element, Ended, Items, Result, Value
from clearance.graph.predicate import part
from clearance.run.conditions import plain_value
from clearance.run.instance import BAD, LATER, ActiveRun, Instance, counts_as_failure
from clearance.run.shape import Path, text
from clearance.run.stored import Stored
from clearance.types.artifact import Argument, Artifact, Listed, Literal, Projected
from clearance.types.artifact import Stored as Kept
from clearance.types.states import TaskState

Read = Callable[[Artifact], bytes]
T = TypeVar("T")
R = TypeVar("R")

MAPPABLE = ("json", "msgpack")
BYTES_AN_ELEMENT = 256
_CHUNK = 512
_GATHERED = 4
_NAMED = 5  # failures in the message of a run's outcome
_INSTANCES = 100  # that an outcome names


class Steps(Sequence[dict[str, Argument]]):
    """The arguments of the steps of a task that run as instances of their own, by index; of any other, none.

    Args:
        known: of those that have not ended.
    """

    def __init__(self, known: Mapping[int, dict[str, Argument]] | None = None) -> None:
        self._known = dict(known or {})

    def put(self, index: int, arguments: dict[str, Argument]) -> None:
        """Adds a step."""
        self._known[index] = arguments

    def forget(self, index: int) -> None:
        """A step has ended."""
        self._known.pop(index, None)

    def __getitem__(self, index: Any) -> Any:
        return self._known.get(index, {})

    def __len__(self) -> int:
        return len(self._known)


class Arguments:
    """Where arguments come from.

    Args:
        read: returns the serialised bytes of an artifact, verified.
        stored: what is committed; None where everything is in memory.
        limit: how many elements a map may have; `BYTES_AN_ELEMENT` bytes for each may be read.
    """

    def __init__(self, read: Read, stored: Stored | None = None, limit: int = 1_000_000) -> None:
        self._read = read
        self._stored = stored
        self._limit = limit

    @property
    def stored(self) -> Stored | None:
        """What is committed; None where everything is in memory."""
        return self._stored

    def stored_in(self, run: ActiveRun, state: str) -> list[tuple[int, str, int, int]]:
        """Returns node, scope, position and number of every committed row with a path that is in this state."""
        return self._stored.rows_in(run.number, state) if self._stored else []

    def of(self, instance: Instance) -> dict[str, Argument]:
        """Returns the arguments of an instance that is about to be launched."""
        return {
            name: self._resolve(instance, binding) for name, binding in instance.spec.inputs.items()
        } | instance.mapped

    def elements(self, row: Instance, again: bool = False) -> Sequence[dict[str, Argument]]:
        """Returns the mapped arguments of every copy of a mapped task or group.

        Args:
            row: which stands for the copies.
            again: they were allowed before: the limit, which may be another one now, is not asked.

        Raises:
            GraphError: a result that is no list, lists of different lengths, or more elements than the limit.
        """
        node = row.spec
        columns = {name: self._column(row, name, binding, again) for name, binding in node.mapped.items()}
        where = f"{'group' if node.is_group else 'task'} {node.id!r} ({node.file}:{node.line})"
        lengths = {name: len(column) for name, column in columns.items()}
        total = math.prod(lengths.values()) if node.product else max(lengths.values())
        if total > self._limit and not again:
            raise GraphError(
                f"{where}: it is mapped over {total:,} elements, the limit is {self._limit:,}: "
                "map over batches of them, or raise CLEARANCE_MAP_LIMIT"
            )
        if node.product:
            return _Product(columns, total)
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise GraphError(f"{where}: mapped lists differ in length: {shown}")
        return _Zipped(columns, total)

    def steps(self, row: Instance) -> tuple[dict[str, int], Sequence[dict[str, Argument]]]:
        """Returns how many steps of a task there are in each state, and the arguments of those that have not ended."""
        if self._stored is None:
            return {}, Steps()
        run = row.run.number
        return self._stored.counts(run, row.node, ()), Steps(self._stored.calls(run, row.spec.id))

    def _column(self, row: Instance, name: str, binding: Binding, again: bool) -> Sequence[Argument]:
        run = row.run
        if isinstance(binding, Items):
            return [self._resolve(row, item) for item in binding.items]
        if isinstance(binding, Value):
            return _Literals(binding.value)
        where = f"task {row.spec.id!r}: parameter {name!r} is mapped over "
        if isinstance(binding, Element):
            where += f"{binding.name!r} of group {binding.group!r}, which is"
            return self._listed(self._resolve(row, binding), where, again)
        assert isinstance(binding, Result)
        where += f"the result of {binding.task!r}, which is"
        if binding.path:
            return self._listed(self._resolve(row, binding), where, again)
        source = run.shape.index[binding.task]
        path = row.path[: run.shape.common(source, row.node)]
        if run.shape.levels(source) == len(path) + 1:
            return _Results(self, run, source, path, self._length(run, source, path))
        return self._listed(self._result(run, source, path), where, again)

    def _listed(self, argument: Argument, where: str, again: bool) -> Sequence[Argument]:
        if isinstance(argument, Listed):
            return argument.items
        if isinstance(argument, Literal):
            if not isinstance(argument.value, list):
                raise GraphError(f"{where} {_kind(argument.value)}: return a list")
            return _Literals(argument.value)
        artifact = argument.artifact
        if isinstance(argument, Projected):
            return _Literals(self._projected(argument, where))
        if artifact.serializer not in MAPPABLE:
            raise GraphError(f"{where} a {artifact.type} ({artifact.serializer}): return a list of plain values")
        if artifact.size > self._limit * BYTES_AN_ELEMENT and not again:
            raise GraphError(
                f"{where} {artifact.size:,} bytes long, the limit is {self._limit * BYTES_AN_ELEMENT:,}: "
                "map over batches, store large elements as files, or raise CLEARANCE_MAP_LIMIT"
            )
        data = self._read(artifact)
        value = msgspec.json.decode(data) if artifact.serializer == "json" else msgspec.msgpack.decode(data)
        if not isinstance(value, list):
            raise GraphError(f"{where} a {artifact.type}: return a list")
        return _Literals(value)

    def _projected(self, argument: Projected, where: str) -> list[Any]:
        binding = Result("it", argument.path)
        value = plain_value(Kept(argument.artifact), binding, self._read)
        if not isinstance(value, list):
            raise GraphError(f"{where} {_kind(value)}: return a list")
        return value

    def plain(self, instance: Instance, binding: Binding) -> Any:
        """Returns the plain value of a binding, for a condition.

        Raises:
            GraphError: there is none: see `run.conditions`.
        """
        if isinstance(binding, Value):
            return binding.value
        assert isinstance(binding, Result | Element)
        whole = self._resolve(instance, msgspec.structs.replace(binding, path=()))
        return plain_value(whole, binding, self._read)

    def _resolve(self, instance: Instance, binding: Binding) -> Argument:
        run = instance.run
        if isinstance(binding, Result | Element) and binding.path:
            return _part(self._resolve(instance, msgspec.structs.replace(binding, path=())), binding.path)
        if isinstance(binding, Ended):
            return Literal(self._outcome(instance, binding.task))
        if isinstance(binding, Value):
            return Literal(binding.value)
        if isinstance(binding, Items):
            return Listed(tuple(self._resolve(instance, item) for item in binding.items))
        if isinstance(binding, Element):
            group = run.shape.index[binding.group]
            depth = run.shape.depth(group)
            return run.expansions[group, instance.path[:depth]].elements[instance.path[depth]][binding.name]
        source = run.shape.index[binding.task]
        return self._result(run, source, instance.path[: run.shape.common(source, instance.node)])

    def _outcome(self, instance: Instance, task: str) -> dict[str, Any]:
        """Returns how what a handler handles ended, as `types.outcome.Outcome` in plain data."""
        run = instance.run
        told: dict[str, Any] = {"dag": run.graph.dag, "run": run.id, "task": "", "message": "",
                "link": f"/api/v1/run?id={quote(run.id, safe='')}"}  # fmt: skip
        if task:
            row = run.get(run.shape.index[task], instance.path)
            assert row is not None
            told |= {"task": row.label, "state": str(row.state), "message": self._reason(row)}
            return told | {"instances": self._unsuccessful(row)} if row.spec.mapped else told
        failed = [row for row in run.nodes if counts_as_failure(row)]
        told["state"] = "failed" if failed else "success"
        ended = [row for row in run.nodes if not (row.spec.aside or row.spec.is_group)]
        causes = [row for row in ended if row.state is TaskState.FAILED]
        said = (causes or failed)[:_NAMED] if failed else []
        told["message"] = "; ".join(f"{row.label}: {self._reason(row) or row.state}" for row in said)
        return told

    def _unsuccessful(self, row: Instance) -> list[str]:
        """Returns the first instances of a mapped task that did not succeed, committed or not."""
        run = row.run
        stored = self._stored.unsuccessful_of(run.number, row.node, row.path, _INSTANCES) if self._stored else []
        found = {(*row.path, position) for position in stored}
        for (node, path), each in run.rows.items():
            if node == row.node and path[:-1] == row.path and each.state in BAD:
                found.add(path)
        return [f"{row.spec.id}[{text(path)}]" for path in sorted(found)[:_INSTANCES]]

    def _reason(self, row: Instance) -> str:
        if not row.reason and row.state in BAD and self._stored is not None:
            row.reason = self._stored.reason(row.run.number, row.number)
        return row.reason

    def _result(self, run: ActiveRun, node: int, path: Path) -> Argument:
        """Returns the result of a row: an artifact, or the list of those of its copies."""
        if run.shape.levels(node) > len(path):
            return self._gather(run, node, path)
        row = run.get(node, path)
        assert row is not None
        if row.result is LATER:
            row.result = self._stored.artifact(run.number, row.number) if self._stored else None
        return _kept(row.result)

    def _gather(self, run: ActiveRun, node: int, path: Path) -> Listed:
        if (known := run.gathered.get((node, path))) is not None:
            return known
        found: dict[Path, Artifact | None] = {}
        if self._stored is not None:
            found.update(
                (at, result) for at, result in self._stored.results(run.number, node) if at[: len(path)] == path
            )
        for (other, at), row in run.rows.items():
            if other == node and at[: len(path)] == path and row.result is not LATER:
                found[at] = row.result
        made = nested(found, path, run.shape.levels(node), _kept, lambda items: Listed(tuple(items)))
        assert isinstance(made, Listed)
        while len(run.gathered) >= _GATHERED:
            del run.gathered[next(iter(run.gathered))]
        run.gathered[node, path] = made
        return made

    def _length(self, run: ActiveRun, node: int, path: Path) -> int:
        """How many copies the row of a node had."""
        around = (*run.shape.chain[node], node)[len(path)]
        if (expansion := run.expansions.get((around, path))) is not None:
            return expansion.total
        return sum(self._stored.counts(run.number, node, path).values()) if self._stored else 0

    def some(self, run: ActiveRun, node: int, path: Path, first: int) -> list[Argument]:
        """Returns the results of up to `_CHUNK` copies of a row from index `first`."""
        last = first + _CHUNK - 1
        stored = self._stored.some_results(run.number, node, path, first, last) if self._stored else {}
        made = []
        for position in range(first, last + 1):
            row = run.rows.get((node, (*path, position)))
            result = stored.get(position) if row is None or row.result is LATER else row.result
            made.append(_kept(result))
        return made


class _Literals(Sequence[Argument]):
    """Plain values, each an argument when it is asked for."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, position: Any) -> Any:
        return Literal(self._values[position])


class _Results(Sequence[Argument]):
    """The results of the copies of a row, read some at a time."""

    def __init__(self, source: Arguments, run: ActiveRun, node: int, path: Path, length: int) -> None:
        self._source = source
        self._of = (run, node, path)
        self._length = length
        self._first = 0
        self._chunk: list[Argument] = []

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: Any) -> Any:
        if not self._first <= position < self._first + len(self._chunk):
            self._first = position - position % _CHUNK
            self._chunk = self._source.some(*self._of, self._first)
        return self._chunk[position - self._first]


class _Zipped(Sequence[dict[str, Argument]]):
    def __init__(self, columns: dict[str, Sequence[Argument]], total: int) -> None:
        self._columns = columns
        self._total = total

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, position: Any) -> Any:
        return {name: column[position] for name, column in self._columns.items()}


class _Product(_Zipped):
    """Every combination; the last list varies fastest."""

    def __getitem__(self, position: Any) -> Any:
        made = {}
        for name, column in reversed(self._columns.items()):
            position, rest = divmod(position, len(column))
            made[name] = column[rest]
        return dict(reversed(made.items()))


def nested(
    found: Mapping[Path, T], path: Path, levels: int, leaf: Callable[[T], R], branch: Callable[[list[R]], R]
) -> R:
    """Puts results together in lists of lists, in the order of their paths.

    Args:
        found: what there is at each path, rows that stand for others included.
        path: of the row that stands for all of it.
        levels: length of the path of what really ran.
        leaf: makes a value of what was found.
        branch: makes a value of a list of values.
    """
    copies: dict[Path, list[Path]] = {path: []}
    for at in sorted(found):  # what stands for others comes before them
        if len(at) > len(path) and at[:-1] in copies:
            copies[at[:-1]].append(at)
            if len(at) < levels:
                copies[at] = []
    lists: dict[Path, R] = {}
    for at in sorted(copies, key=len, reverse=True):
        lists[at] = branch([lists[one] if one in copies else leaf(found[one]) for one in copies[at]])
    return lists[path]


def _part(argument: Argument, path: Way) -> Argument:
    """Returns a part of an argument; of a result the attempt takes it, so that its provenance names all of it."""
    while isinstance(argument, Listed) and path:
        step = path[0]
        if not isinstance(step, int) or not -len(argument.items) <= step < len(argument.items):
            raise GraphError(f"a list of {len(argument.items)} results has no part {step!r}")
        argument, path = argument.items[step], path[1:]
    if not path:
        return argument
    if isinstance(argument, Kept):
        return Projected(argument.artifact, path)
    if isinstance(argument, Literal):
        return Literal(part(argument.value, path, "the value"))
    raise GraphError(f"a list of results has no part {path[0]!r}")


def _kept(artifact: Artifact | None) -> Argument:
    return Literal(None) if artifact is None else Kept(artifact)


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
