"""A run in memory: rows of the database as objects, with what is derived from its graph.

Rules:

1. The row of every node at the empty path is here for as long as the run is. Of a mapped task or group only those
   rows are here that are needed: an instance until its end is committed, a copy of a group until all of it has ended.
2. Whatever is not here is in the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from clearance.graph.model import Graph, Node
from clearance.run.expansion import Expansion, Taken
from clearance.run.rows import DeferralRow
from clearance.run.shape import Path, Shape, text
from clearance.types.artifact import Argument, Artifact, Listed
from clearance.types.cause import Cause
from clearance.types.states import RunState, TaskState

LATER = Artifact(digest="", size=0, serializer="later")  # type: ignore[arg-type]  # a result that is in the database
BAD = frozenset({TaskState.FAILED, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED})


class Instance:
    """One task instance, or a row that stands for others: of a mapped task, a mapped group, a node in such a group.

    Attributes:
        run: the run it belongs to.
        number: its number in the run: the node's index, or beyond the nodes where it has a path.
        node: index of its node in the graph.
        spec: that node.
        path: its indices in the mapped groups around it and in its own map, outermost first.
        state: where it stands.
        pending: upstream rows that have not finished; of a row that stands for others, those of them.
        failed: how many of those failed; `skipped`: how many were skipped; `barred`: how many of the failed never ran.
        held: how many rows have not finished that must end before it, and that its trigger rule does not count.
        reason: why it ended as it did, where that is known.
        epoch: counts launches; fences late writes.
        attempts: counts the launches that use up a retry.
        due_at: when a retry may start, seconds since 1970.
        clearance: the last decision, as JSON.
        result: what it returned; `LATER` where it must be read from the database.
        mapped: arguments of an instance of a mapped task.
        stored: state and epoch as last committed.
        within: the expansions in which it lies, outermost first.
        deferral: what it waits for, or waited for last; None where it never deferred.
    """

    __slots__ = (
        "attempts", "barred", "clearance", "deferral", "due_at", "epoch", "failed", "held", "mapped", "node", "number",
        "path", "pending", "reason", "result", "run", "skipped", "spec", "state", "stored", "within",
    )  # fmt: skip

    def __init__(
        self,
        run: ActiveRun,
        number: int,
        node: int,
        path: Path = (),
        pending: int = 0,
        within: tuple[Expansion, ...] = (),
    ) -> None:
        self.run = run
        self.number = number
        self.node = node
        self.spec: Node = run.graph.nodes[node]
        self.path = path
        self.within = within
        self.state = TaskState.SCHEDULED
        self.pending = pending
        self.failed = 0
        self.skipped = 0
        self.barred = 0
        self.held = len(run.shape.holds[node])
        self.reason = ""
        self.epoch = 0
        self.attempts = 0
        self.due_at = 0.0
        self.clearance = ""
        self.result: Artifact | None = None
        self.mapped: dict[str, Argument] = {}
        self.stored = (TaskState.SCHEDULED, 0)
        self.deferral: DeferralRow | None = None

    @property
    def position(self) -> int:
        """The last index of its path; -1 outside of every map."""
        return self.path[-1] if self.path else -1

    @property
    def scope(self) -> str:
        """Its path without the last index, as it is stored."""
        return text(self.path[:-1])

    @property
    def upstreams(self) -> int:
        """How many tasks come before it."""
        return len(self.run.shape.parents[self.node])

    @property
    def collects(self) -> bool:
        """True for a row in a mapped group that stands for the same node in every copy."""
        return len(self.path) < self.run.shape.depth(self.node)

    @property
    def label(self) -> str:
        """How people write it: `train`, `train[2]` when mapped, `train[3,1]` when that is in a mapped group."""
        return f"{self.spec.id}[{text(self.path)}]" if self.path else self.spec.id

    @property
    def attempt(self) -> str:
        """The key of its newest attempt."""
        return f"{self.run.key}.{self.number}.{self.epoch}"


@dataclass(eq=False)
class ActiveRun:
    """A run that has not finished.

    Attributes:
        nodes: the row of each node at the empty path.
        rows: the other rows that are in memory, by node index and path.
        expansions: of each row that stands for others and was expanded, by node index and path.
        filling: expansions that have more to open.
        total: the next number of an instance.
        unfinished: rows in memory that have not finished.
        gathered: lists of results that were put together lately.
        parked: what is ready in a queued run.
        created_at: when it was made, seconds since 1970.
        arrival: its place in the order of arrival at the capacity desk; 0 before it asked.
        taken: what mapped tasks and groups have from a run before, by node index, until they are expanded.
        marks: how rows are to end and why, as people said, by node index and path.
    """

    number: int
    key: str
    id: str
    version: str
    bundle: str
    graph: Graph
    principal: str = ""
    environment: str = ""
    cause: Cause | None = None
    state: RunState = RunState.RUNNING
    nodes: list[Instance] = field(default_factory=list)
    rows: dict[tuple[int, Path], Instance] = field(default_factory=dict)
    expansions: dict[tuple[int, Path], Expansion] = field(default_factory=dict)
    filling: dict[Expansion, None] = field(default_factory=dict)
    gathered: dict[tuple[int, Path], Listed] = field(default_factory=dict)
    parked: list[Instance] = field(default_factory=list)
    taken: dict[int, Taken] = field(default_factory=dict)
    marks: dict[tuple[int, Path], tuple[TaskState, str]] = field(default_factory=dict)
    total: int = 0
    unfinished: int = 0
    failures: int = 0
    cancelled: int = 0
    cancelling: bool = False
    created_at: float = 0.0
    arrival: int = 0

    def __post_init__(self) -> None:
        self.shape = Shape(self.graph)
        for number, parents in enumerate(self.shape.parents):
            self.nodes.append(Instance(self, number, number, pending=len(parents)))
        self.total = self.unfinished = len(self.nodes)

    @property
    def working(self) -> bool:
        """True until everything has finished but the handlers of the run."""
        left = sum(not self.nodes[final].state.finished for final in self.shape.finals)
        return self.unfinished > left

    def get(self, node: int, path: Path) -> Instance | None:
        """Returns a row that is in memory."""
        return self.rows.get((node, path)) if path else self.nodes[node]

    def instances(self) -> list[Instance]:
        """Returns every row in memory in the order of their numbers."""
        return self.nodes + sorted(self.rows.values(), key=lambda instance: instance.number)

    def below(self, node: int, path: Path) -> Iterator[Instance]:
        """Yields the rows of a node in every open copy below a path, at which its trigger rule is asked."""
        paths = [path]
        for group in self.shape.chain[node][len(path) :]:
            paths = [
                (*one, position)
                for one in paths
                if (found := self.expansions.get((group, one)))
                for position in found.live
            ]
        for one in paths:
            if (instance := self.get(node, one)) is not None:
                yield instance

    def locate(self, label: str) -> tuple[int, Path] | None:
        """Returns node and path of what people write as `task`, `task[3]` or `task[3,1]`; None for no such form."""
        name, bracket, rest = label.partition("[")
        node = self.shape.index.get(name)
        if node is None or (bracket and not rest.endswith("]")):
            return None
        try:
            path = tuple(int(part) for part in rest.removesuffix("]").split(",")) if bracket else ()
        except ValueError:
            return None
        return (node, path) if len(path) <= self.shape.levels(node) + self.graph.nodes[node].is_group else None

    def find(self, label: str) -> Instance | None:
        """Returns the row in memory that people write as `task`, `task[3]` or `task[3,1]`."""
        found = self.locate(label)
        return self.get(*found) if found else None

    def drop(self, expansion: Expansion, position: int) -> None:
        """Forgets an instance, or a whole copy of a group, whose end is committed."""
        if position in expansion.live:
            return  # opened again meanwhile
        node, path = expansion.node, (*expansion.path, position)
        for each in self.shape.inside.get(node, (node,)):
            if (row := self.rows.get((each, path))) is not None and row.state.finished:
                del self.rows[each, path]
                self.expansions.pop((each, path), None)


def counts_as_failure(instance: Instance) -> bool:
    """True for a task that nothing depends on and that did not come to a good end: it makes its run a failure."""
    shape = instance.run.shape
    leaf = not instance.path and not instance.spec.is_group and shape.leaf(instance.node)
    return leaf and instance.state in (TaskState.FAILED, TaskState.UPSTREAM_FAILED)
