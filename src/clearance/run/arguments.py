"""From bindings in the graph to arguments of an attempt: constants, upstream results, elements of maps."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from clearance.errors import GraphError
from clearance.graph.model import Binding, Items, Value
from clearance.run.instance import ActiveRun, Instance
from clearance.types.artifact import Argument, Artifact, Listed, Literal, Stored

Read = Callable[[Artifact], bytes]

MAPPABLE = ("json", "msgpack")


def of(instance: Instance) -> dict[str, Argument]:
    """Returns the arguments of an instance that is about to be launched."""
    run = instance.run
    arguments = {name: _resolve(run, binding) for name, binding in instance.spec.inputs.items()}
    return arguments | instance.mapped


def elements(instance: Instance, read: Read) -> list[dict[str, Argument]]:
    """Returns the mapped arguments of every instance of a mapped node.

    Args:
        instance: the node row.
        read: returns the serialised bytes of an artifact, verified.

    Raises:
        GraphError: a result that is no list, or lists of different lengths.
    """
    run, node = instance.run, instance.spec
    columns = {name: _elements(run, node.id, name, binding, read) for name, binding in node.mapped.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise GraphError(f"task {node.id!r} ({node.file}:{node.line}): mapped lists differ in length: {shown}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _elements(run: ActiveRun, task: str, name: str, binding: Binding, read: Read) -> list[Argument]:
    if isinstance(binding, Items):
        return [_resolve(run, item) for item in binding.items]
    if isinstance(binding, Value):
        return [Literal(value) for value in binding.value]
    source = run.index[binding.task]
    if source in run.expanded:
        return [_stored(instance.result) for instance in run.expanded[source]]
    artifact = run.nodes[source].result
    where = f"task {task!r}: parameter {name!r} is mapped over the result of {binding.task!r}, which is"
    if artifact is None:
        raise GraphError(f"{where} None: return a list")
    if artifact.serializer not in MAPPABLE:
        raise GraphError(f"{where} a {artifact.type} ({artifact.serializer}): return a list of plain values")
    data = read(artifact)
    value = msgspec.json.decode(data) if artifact.serializer == "json" else msgspec.msgpack.decode(data)
    if not isinstance(value, list):
        raise GraphError(f"{where} a {artifact.type}: return a list")
    return [Literal(item) for item in value]


def _resolve(run: ActiveRun, binding: Binding) -> Argument:
    if isinstance(binding, Value):
        return Literal(binding.value)
    if isinstance(binding, Items):
        return Listed(tuple(_resolve(run, item) for item in binding.items))
    source = run.index[binding.task]
    if run.graph.nodes[source].mapped:
        return Listed(tuple(_stored(instance.result) for instance in run.expanded.get(source, ())))
    return _stored(run.nodes[source].result)


def _stored(artifact: Artifact | None) -> Argument:
    return Literal(None) if artifact is None else Stored(artifact)
