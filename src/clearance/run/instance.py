"""A run in memory: the rows of the database as objects, with what is derived from its graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from clearance.graph.model import Graph, Node
from clearance.run.rows import DeferralRow
from clearance.types.artifact import Argument, Artifact
from clearance.types.cause import Cause
from clearance.types.states import TaskState


class Instance:
    """One task instance, or the node row of a mapped task, which stands for all its instances.

    Attributes:
        run: the run it belongs to.
        number: its number in the run: the node's index, or beyond the nodes for a mapped instance.
        node: index of its node in the graph.
        position: index among the mapped instances; -1 for a node row.
        state: where it stands.
        pending: upstream nodes that have not finished; for an expanded node row, its unfinished instances.
        failed: how many of those failed; `skipped`: how many were skipped.
        epoch: counts launches; fences late writes.
        attempts: counts the launches that use up a retry.
        due_at: when a retry may start, seconds since 1970.
        clearance: the last decision, as JSON.
        result: what it returned.
        mapped: arguments of a mapped instance.
        stored: state and epoch as last committed.
        deferral: what it waits for, or waited for last; None where it never deferred.
    """

    __slots__ = (
        "attempts", "clearance", "deferral", "due_at", "epoch", "failed", "mapped", "node", "number", "pending",
        "position", "result", "run", "skipped", "state", "stored",
    )  # fmt: skip

    def __init__(self, run: ActiveRun, number: int, node: int, position: int = -1, pending: int = 0) -> None:
        self.run = run
        self.number = number
        self.node = node
        self.position = position
        self.state = TaskState.SCHEDULED
        self.pending = pending
        self.failed = 0
        self.skipped = 0
        self.epoch = 0
        self.attempts = 0
        self.due_at = 0.0
        self.clearance = ""
        self.result: Artifact | None = None
        self.mapped: dict[str, Argument] = {}
        self.stored = (TaskState.SCHEDULED, 0)
        self.deferral: DeferralRow | None = None

    @property
    def spec(self) -> Node:
        """The node of the graph."""
        return self.run.graph.nodes[self.node]

    @property
    def upstreams(self) -> int:
        """How many tasks come before it."""
        return len(set(self.spec.upstream))

    @property
    def label(self) -> str:
        """How people write it: `train`, or `train[2]` when mapped."""
        return self.spec.id if self.position < 0 else f"{self.spec.id}[{self.position}]"

    @property
    def attempt(self) -> str:
        """The key of its newest attempt."""
        return f"{self.run.key}.{self.number}.{self.epoch}"


@dataclass(eq=False)
class ActiveRun:
    """A run that has not finished, with its instances and the edges of its graph by node index."""

    number: int
    key: str
    id: str
    version: str
    bundle: str
    graph: Graph
    principal: str = ""
    environment: str = ""
    cause: Cause | None = None
    nodes: list[Instance] = field(default_factory=list)
    expanded: dict[int, list[Instance]] = field(default_factory=dict)
    children: list[list[int]] = field(default_factory=list)
    index: dict[str, int] = field(default_factory=dict)
    total: int = 0
    unfinished: int = 0
    failures: int = 0
    cancelled: int = 0
    cancelling: bool = False

    def __post_init__(self) -> None:
        self.index = {node.id: number for number, node in enumerate(self.graph.nodes)}
        self.children = [[] for _ in self.graph.nodes]
        for number, node in enumerate(self.graph.nodes):
            parents = self.parents(node)
            for parent in parents:
                self.children[parent].append(number)
            self.nodes.append(Instance(self, number, number, pending=len(parents)))
        self.total = self.unfinished = len(self.nodes)

    def parents(self, node: Node) -> list[int]:
        """Returns the indices of the nodes that must finish before this one, each once."""
        return [self.index[name] for name in dict.fromkeys(node.upstream)]

    def instances(self) -> list[Instance]:
        """Returns every instance: node rows first, then mapped ones in the order of their numbers."""
        extra = [instance for group in self.expanded.values() for instance in group]
        return self.nodes + sorted(extra, key=lambda instance: instance.number)

    def find(self, label: str) -> Instance | None:
        """Returns the instance that people write as `task` or `task[3]`."""
        name, bracket, rest = label.partition("[")
        node = self.index.get(name)
        if node is None:
            return None
        if not bracket:
            return self.nodes[node]
        group = self.expanded.get(node, [])
        position = rest.removesuffix("]")
        return group[int(position)] if position.isdigit() and int(position) < len(group) else None
