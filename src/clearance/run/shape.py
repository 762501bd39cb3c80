"""What follows from a graph alone: edges by node index, and which mapped group lies in which.

A row is a node at a path: one index for each mapped group around it, and one more for an instance of a mapped task.
A row whose path is shorter than that stands for all the rows below it.
"""

from __future__ import annotations

from clearance.graph.model import Graph, Node
from clearance.graph.predicate import sources

Path = tuple[int, ...]


class Shape:
    """The edges and groups of one graph.

    Attributes:
        index: index of each node, by id.
        parents: by node, each node directly before it and how many mapped groups lie around both.
        children: by node, the same for those directly behind it.
        holds: by node, what must end before it and is not counted by its trigger rule: what its conditions read, what
            it takes down or handles.
        held: by node, the same for those that it holds.
        reads: by node, those among `holds` that its conditions read.
        finals: the handlers of the run, which come after everything.
        teardowns: by node, the teardowns that wait for it.
        handlers: the handlers of nodes, each with the node that it handles.
        setups: by node, the setups without which it does not run: those between which and a teardown it stands.
        chain: by node, the mapped groups around it, outermost first.
        members: by group, the nodes directly in it.
        inside: by group, every node in it, at any depth, in topological order.
        ways: by node, the longest expected time from its start to the end of the run, in microseconds; empty where no
            task says how long it takes.
    """

    def __init__(self, graph: Graph) -> None:
        nodes = graph.nodes
        self.index = {node.id: number for number, node in enumerate(nodes)}
        self.children: list[list[tuple[int, int]]] = [[] for _ in nodes]
        self.parents: list[list[tuple[int, int]]] = []
        self.chain: list[Path] = []
        self.members: dict[int, list[int]] = {}
        self.inside: dict[int, list[int]] = {}
        self.holds: list[list[tuple[int, int]]] = []
        self.held: list[list[tuple[int, int]]] = [[] for _ in nodes]
        self.reads: list[tuple[int, ...]] = []
        self.finals = [number for number, node in enumerate(nodes) if node.on and not node.of]
        self.handlers = {number: self.index[node.of] for number, node in enumerate(nodes) if node.of}
        self.teardowns: dict[int, list[int]] = {}
        self._aside = [node.aside for node in nodes]
        self._returns: dict[int, bool] = {}
        self._leaves: dict[int, bool] = {}
        self._read = [False] * len(nodes)
        self._mapped = [bool(node.mapped) and not node.is_group for node in nodes]
        for number, node in enumerate(nodes):
            around: Path = ()
            if node.group:
                group = self.index[node.group]
                around = (*self.chain[group], group)
                self.members.setdefault(group, []).append(number)
                for one in around:
                    self.inside.setdefault(one, []).append(number)
            self.chain.append(around)
            before = []
            for name in dict.fromkeys(node.upstream):
                parent = self.index[name]
                common = self.common(parent, number) if around else 0
                before.append((parent, common))
                self.children[parent].append((number, common))
            self.parents.append(before)
            self.reads.append(())
            self.holds.append([])
            if node.conditions or node.waits or node.of:
                self._hold(number, node)
        self.ways: list[int] = []
        if any(node.expect for node in nodes):
            self.ways = [round(node.expect * 1e6) for node in nodes]
            for number in reversed(range(len(nodes))):
                self.ways[number] += max((self.ways[child] for child, _ in self.children[number]), default=0)
        self.setups: list[tuple[int, ...]] = [()] * len(nodes)
        for node in nodes:
            if node.setup:
                self._stand_between(self.index[node.setup], [self.index[name] for name in node.waits])

    def _hold(self, number: int, node: Node) -> None:
        """Takes what a node waits for without counting it."""
        reads = tuple(self.index[name] for name in sources(node.conditions))
        waits = [self.index[name] for name in node.waits]
        of = [self.index[node.of]] if node.of else []
        for parent in dict.fromkeys((*reads, *waits, *of)):
            common = self.common(parent, number)
            self.holds[number].append((parent, common))
            self.held[parent].append((number, common))
        for parent in reads:
            self._read[parent] = True
        for parent in waits:
            self.teardowns.setdefault(parent, []).append(number)
        self.reads[number] = reads

    def _stand_between(self, setup: int, waits: list[int]) -> None:
        """What a teardown waits for, and depends on the setup, waits for the setup."""
        after: set[int] = set()
        waiting = [setup]
        while waiting:
            for child in [*(child for child, _ in self.children[waiting[-1]]), *self.inside.get(waiting.pop(), ())]:
                if child not in after:
                    after.add(child)
                    waiting.append(child)
        for wait in waits:
            if wait not in after:
                continue
            for one in (wait, *self.inside.get(wait, ())):
                self.setups[one] = (*self.setups[one], setup)
                edge = (setup, self.common(setup, one))
                if edge not in self.holds[one]:
                    self.holds[one].append(edge)
                    self.held[setup].append((one, edge[1]))

    def depth(self, node: int) -> int:
        """How many mapped groups lie around a node: the length of the path at which its trigger rule is asked."""
        return len(self.chain[node])

    def levels(self, node: int) -> int:
        """The length of the path of what really runs: one more than the depth for a mapped task."""
        return len(self.chain[node]) + self._mapped[node]

    def common(self, one: int, other: int) -> int:
        """How many mapped groups lie around both."""
        return _common(self.chain[one], self.chain[other])

    def around(self, node: int, level: int) -> int:
        """The mapped task or group of whose copies a row of the node at a path of this length stands for all."""
        chain = self.chain[node]
        return chain[level] if level < len(chain) else node

    def leaf(self, node: int) -> bool:
        """True for a node that nothing depends on, nor on a group around it, and whose end counts for the run."""
        known = self._leaves.get(node)
        if known is None:
            used = any(self._used(one) for one in (node, *self.chain[node]))
            known = self._leaves[node] = not self._aside[node] and not used
        return known

    def _used(self, node: int) -> bool:
        return self._read[node] or any(not self._aside[child] for child, _ in self.children[node])

    def last(self, node: int) -> bool:
        """True for a node of a group that nothing in the group depends on: its end is the end of the group."""
        depth = len(self.chain[node])
        inner = any(common == depth and not self._aside[child] for child, common in self.children[node])
        return not self._aside[node] and not inner

    def returns(self, group: int) -> bool:
        """True for a mapped group in which something waits for all copies of something else in it, by way of outside.

        Such copies cannot end before all of them are open.
        """
        if (known := self._returns.get(group)) is None:
            known = self._returns[group] = self._comes_back(group)
        return known

    def _comes_back(self, group: int) -> bool:
        within = {*self.inside.get(group, ())}
        found = {parent for node in within for parent, _ in (*self.parents[node], *self.holds[node])} - within
        waiting = [*found]
        while waiting:
            one = waiting.pop()
            before = [*self.inside.get(one, ())]
            for each in (one, *self.chain[one]):
                before += [parent for parent, _ in (*self.parents[each], *self.holds[each])]
            if not within.isdisjoint(before):
                return True
            waiting += {*before} - found
            found.update(before)
        return False

    def behind(self, node: int, level: int) -> dict[int, int]:
        """Returns the node and every node that depends on it, with what stands for them and what lies in them.

        Args:
            node: where it begins.
            level: length of the path of the row where it begins.

        Returns:
            By node, how many indices of its path a row must share with that row to depend on it. What leaves a mapped
            group and comes back into it reaches every copy.
        """
        found: dict[int, int] = {}
        waiting = [(one, level) for one in (node, *self.inside.get(node, ()))]
        while waiting:
            one, shared = waiting.pop()
            if found.get(one, shared + 1) <= shared:
                continue
            found[one] = shared
            for child, common in (*self.children[one], *self.held[one]):
                below = min(shared, common)
                waiting += [(each, below) for each in (child, *self.inside.get(child, ()))]
            waiting += [(final, 0) for final in self.finals]
            waiting += [(group, min(shared, self.depth(group))) for group in self.chain[one]]
        return found


def _common(one: Path, other: Path) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def text(path: Path) -> str:
    """Returns a path as it is stored and written: `3,1`."""
    return ",".join(map(str, path))


def path_of(scope: str, position: int) -> Path:
    """Returns the path of a stored row: its scope, and its position there; -1 for a row outside of every map."""
    if position < 0:
        return ()
    return (*map(int, scope.split(",")), position) if scope else (position,)
