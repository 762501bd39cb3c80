"""The cache in the graph: which nodes may take a result of before, and the digest of their code."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from clearance.errors import GraphError
from clearance.graph.build import Declaration
from clearance.graph.code import Sources
from clearance.graph.maxage import OFF
from clearance.graph.model import Caching, Graph

_ENDPOINT = "clearance.types.references.Endpoint"


def with_code(graph: Graph, declarations: Sequence[Declaration], default: float | None) -> Graph:
    """Returns the graph with what the cache must know of the code of its nodes; unchanged where none has a cache.

    Args:
        graph: as it was built.
        declarations: of its nodes.
        default: the DAG's `cache`, for the tasks that say nothing.

    Raises:
        GraphError: a task with a cache whose source cannot be read, or that returns an endpoint.
    """
    ages = {
        each.id: (default or OFF) if each.options.cache is None else each.options.cache
        for each in declarations
        if not each.is_group
    }
    if not any(ages.values()):
        return graph
    with _undisturbed():
        return _with_code(graph, declarations, ages)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keeps the collector of cycles away from trees of syntax: many objects that stay, and no cycle among them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _with_code(graph: Graph, declarations: Sequence[Declaration], ages: Mapping[str, float]) -> Graph:
    sources = Sources()
    known = {each.id: each for each in declarations}
    parts: dict[str, dict[str, str]] = {}
    nodes = []
    for node in graph.nodes:
        age = ages.get(node.id, OFF)
        declaration = known[node.id]
        if node.returns == _ENDPOINT and declaration.options.cache is None:
            age = OFF  # a service is kept running by the run that asked for it
        if not age:
            nodes.append(node)
            continue
        if node.returns == _ENDPOINT:
            raise GraphError(f"{declaration.where} returns an Endpoint, which is no value to keep: say cache=False")
        assert declaration.origin is not None
        try:
            code = sources.code_of(declaration.origin)
        except GraphError as error:
            raise GraphError(f"{declaration.where}: {error}") from None
        parts[code.digest] = code.parts
        caching = Caching(
            code=code.digest, max_age=age, version=declaration.options.version, files=code.files, asks=code.asks
        )
        nodes.append(replace(node, cache=caching))
    return replace(graph, nodes=tuple(nodes), code=parts)
