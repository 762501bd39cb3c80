"""What follows from a graph alone: edges by node index, and which mapped group lies in which.

A row is a node at a path: one index for each mapped group around it, and one more for an instance of a mapped task.
A row whose path is shorter than that stands for all the rows below it.
"""

from __future__ import annotations

from clearance.graph.model import Graph

Path = tuple[int, ...]


class Shape:
    """The edges and groups of one graph.

    Attributes:
        index: index of each node, by id.
        parents: by node, each node directly before it and how many mapped groups lie around both.
        children: by node, the same for those directly behind it.
        chain: by node, the mapped groups around it, outermost first.
        members: by group, the nodes directly in it.
        inside: by group, every node in it, at any depth, in topological order.
    """

    def __init__(self, graph: Graph) -> None:
        nodes = graph.nodes
        self.index = {node.id: number for number, node in enumerate(nodes)}
        self.children: list[list[tuple[int, int]]] = [[] for _ in nodes]
        self.parents: list[list[tuple[int, int]]] = []
        self.chain: list[Path] = []
        self.members: dict[int, list[int]] = {}
        self.inside: dict[int, list[int]] = {}
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
        """True for a node that nothing depends on, nor on a group around it."""
        return not any(self.children[one] for one in (node, *self.chain[node]))

    def last(self, node: int) -> bool:
        """True for a node of a group that nothing in the group depends on: its end is the end of the group."""
        return not any(common == len(self.chain[node]) for _, common in self.children[node])

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
            for child, common in self.children[one]:
                below = min(shared, common)
                waiting += [(each, below) for each in (child, *self.inside.get(child, ()))]
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
