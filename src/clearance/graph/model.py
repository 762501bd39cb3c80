"""The graph as data: what `dag check` validates, what a run follows, what provenance names.

A `Graph` is JSON through and through. Its digest, with the digest of the source bundle, is the DAG version.
Nodes are in topological order, so that a reader needs no recursion.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from clearance.errors import GraphError
from clearance.graph.binding import Binding as Binding
from clearance.graph.binding import Element as Element
from clearance.graph.binding import Ended as Ended
from clearance.graph.binding import Items as Items
from clearance.graph.binding import Result as Result
from clearance.graph.binding import Value as Value
from clearance.graph.firing import Firing
from clearance.graph.predicate import Predicate
from clearance.graph.schedule import Condition
from clearance.graph.trigger import DEFAULT
from clearance.types.digest import Digest, digest_of


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often and when a failed attempt is tried again, as `graph.retry.Retry` describes it.

    `on` holds qualified exception names, and matches when one of them is the failure's type or one of its bases.
    `builtins.Exception` matches every failure, a process that died or ran out of time included.
    """

    times: int = 0
    backoff: float = 2.0
    delay: float = 1.0
    max_delay: float = 60.0
    jitter: bool = True
    on: tuple[str, ...] = ()


class Caching(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a node takes results of before.

    Attributes:
        code: digest of its code, see `graph.code`.
        max_age: how old such a result may be, in seconds; negative for any age.
        version: the declared version of its code.
        files: whether its code reads other files of its bundle.
        asks: what its code asks the context for that differs between runs.
    """

    code: str
    max_age: float = -1.0
    version: str = ""
    files: bool = False
    asks: tuple[str, ...] = ()


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task in the graph, or a mapped group, which has no function and of which a run makes copies.

    Attributes:
        id: unique in the graph.
        function: `module:qualified.name`; what lies there is a `Task` (its `function` is the plain one) or a function.
        file: where it was defined, relative to the bundle.
        line: line of the definition.
        inputs: a binding for each filled parameter.
        mapped: parameters that are mapped: one instance, or one copy of a group, for each element.
        product: whether every combination of the mapped lists is meant; else they are zipped, lengths must agree.
        copies: how many instances (copies of a group) may run at the same time; 0 means all.
        group: id of the mapped group in which it stands; empty outside of every one.
        upstream: ids of every node that must finish first, in order.
        returns: qualified name of the annotated return type, for people and checks.
        retries: the retry policy.
        timeout: seconds; 0 means none.
        resources: `cpu` and `gpu` in thousandths, `memory` in bytes, for each process.
        gang: number of processes.
        isolation: `process`, `worker` or `inline`.
        preload: modules imported once before forking.
        priority: higher goes first.
        expect: estimated seconds; 0 means unknown.
        trigger_rule: whether it runs, by how its upstream tasks ended: see `graph.trigger`.
        outlets: URIs of the assets that its success writes.
        concurrency: how many of it may run at the same time, in all runs of the DAG together; 0 means all.
        pool: a limit that tasks share by name; `pool_slots` is how much of it each instance takes.
        queue: of the scheduler; empty: the DAG's.
        conditions: it runs only if all of them hold: see `graph.predicate`.
        setup: of a teardown, the id of what it takes down. It runs when that succeeded and `waits` have ended.
        waits: of a teardown, ids that must have ended before it, in whatever state.
        fails_run: of a teardown, whether its failure makes the run a failure.
        on: of a handler, `failure` or `success`: it runs when `of`, a node or for the empty id the run, ended so.
        of: of a handler, the id of what it handles.
        deadline: seconds since the run was made, after which it is late when it has not ended; 0 means none.
        flow: its function is a flow, whose calls of tasks are steps.
        step: a task that the flow may call; it has an instance for each call.
        cache: how it takes results of before; None where it does not.
    """

    id: str
    function: str
    file: str = ""
    line: int = 0
    inputs: dict[str, Binding] = {}
    mapped: dict[str, Binding] = {}
    product: bool = False
    copies: int = 0
    group: str = ""
    upstream: tuple[str, ...] = ()
    returns: str = ""
    retries: RetryPolicy = RetryPolicy()
    timeout: float = 0.0
    resources: dict[str, int] = {}
    gang: int = 1
    isolation: str = "process"
    preload: tuple[str, ...] = ()
    priority: int = 0
    expect: float = 0.0
    trigger_rule: str = DEFAULT
    outlets: tuple[str, ...] = ()
    concurrency: int = 0
    pool: str = ""
    pool_slots: int = 1
    queue: str = ""
    conditions: tuple[Predicate, ...] = ()
    setup: str = ""
    waits: tuple[str, ...] = ()
    fails_run: bool = False
    on: str = ""
    of: str = ""
    deadline: float = 0.0
    flow: bool = False
    step: bool = False
    cache: Caching | None = None

    @property
    def aside(self) -> bool:
        """True for what never makes a run or a group a failure: a handler, a teardown that does not say so."""
        return bool(self.on) or (bool(self.setup) and not self.fails_run)

    @property
    def is_group(self) -> bool:
        """True for a mapped group."""
        return not self.function


class Graph(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A DAG: its id, the parameters it was built with, and its nodes in topological order.

    Attributes:
        dag: id of the DAG.
        parameters: the values it was built with, JSON-compatible.
        nodes: in topological order.
        doc: what the DAG is for.
        schedule: when it runs by itself; None when only somebody starts it.
        catchup: whether every interval that was missed is made up for, or the newest alone.
        firing: how it takes what its schedule brings; None for the defaults.
        max_active_tasks: how many tasks of one run may run at the same time; 0 means all.
        max_active_runs: how many runs go on at the same time; the others are queued. 0 means all.
        priority: added to that of each task.
        queue: of each task that does not say its own; empty: as the placement rules say.
        deadline: seconds since it was made, after which a run is late that has not ended; 0 means none.
        code: of each code digest that a node's cache names, the digest of each part, shortened.
    """

    dag: str
    parameters: dict[str, Any] = {}
    nodes: tuple[Node, ...] = ()
    doc: str = ""
    schedule: Condition | None = None
    catchup: bool = False
    firing: Firing | None = None
    max_active_tasks: int = 0
    max_active_runs: int = 0
    priority: int = 0
    queue: str = ""
    deadline: float = 0.0
    code: dict[str, dict[str, str]] = {}


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Graph)
_parts = msgspec.json.Decoder(tuple[msgspec.Raw, ...])


def encode(graph: Graph) -> bytes:
    """Returns the canonical JSON of the graph."""
    return _encoder.encode(graph)


def decode(data: bytes) -> Graph:
    """Reads what `encode` wrote.

    Raises:
        GraphError: the bytes are no graph.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GraphError(f"these bytes are no graph: {error}") from None


def join(graphs: Iterable[bytes]) -> bytes:
    """Returns the JSON list of graphs that `encode` wrote."""
    return b"[" + b",".join(graphs) + b"]"


def split(data: bytes) -> list[bytes]:
    """Returns the graphs of a list that `join` wrote, or the one that `encode` wrote."""
    return [bytes(part) for part in _parts.decode(data)] if data.startswith(b"[") else [data]


def graph_digest(graph: Graph) -> Digest:
    """Returns the digest of the canonical JSON."""
    return digest_of(encode(graph))
