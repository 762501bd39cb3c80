"""Random graphs with nested maps and groups, and a plain reference of how a run of one ends."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from clearance.graph import trigger
from clearance.graph.model import Graph, Node, Value
from clearance.run import rows
from clearance.run.instance import BAD
from clearance.store.database import Database
from clearance.types.states import TaskState

RULES = (
    "all_success",
    "all_success",
    "all_success",
    "all_done",
    "none_failed",
    "all_failed",
    "one_failed",
    "one_success",
)
S = TaskState
Key = tuple[int, tuple[int, ...]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes: list[Node] = []
    groups = [""]

    def copies() -> list[int]:
        return list(range(draw(st.integers(0, 3))))

    for number in range(draw(st.integers(3, 12))):
        group = draw(st.sampled_from(groups))
        kind = draw(st.sampled_from(["task", "task", "map", "group", "group"]))
        id = f"{group}.n{number}" if group else f"n{number}"
        before = [each.id for each in nodes if not f"{id}.".startswith(f"{each.id}.")]
        upstream = tuple(draw(st.lists(st.sampled_from(before), unique=True, max_size=3))) if before else ()
        rule = draw(st.sampled_from(RULES)) if kind == "task" else "all_success"
        mapped = {"x": Value(copies())} if kind != "task" else {}
        function = "" if kind == "group" else f"m:n{number}"
        nodes.append(Node(id=id, function=function, upstream=upstream, mapped=mapped, group=group, trigger_rule=rule))
        if kind == "group":
            inner = f"{id}.i"
            rule = draw(st.sampled_from(RULES))
            nodes.append(Node(id=inner, function=f"m:i{number}", group=id, trigger_rule=rule))
            groups.append(id)
    # what waits for a group waits for all of it, also for what was put into it later: it goes behind
    order = _topological(nodes)
    return Graph(dag="d", nodes=tuple(order)) if order else Graph(dag="d", nodes=tuple(_plain(nodes)))


def _topological(nodes: list[Node]) -> list[Node] | None:
    known = {each.id: each for each in nodes}
    inside: dict[str, list[str]] = {}
    for each in nodes:
        for other in nodes:
            if other.id != each.id and f"{other.id}".startswith(f"{each.id}.") and not each.function:
                inside.setdefault(each.id, []).append(other.id)
    waits = {
        each.id: {
            *each.upstream,
            *(x for up in each.upstream for x in inside.get(up, ())),
            *([each.group] if each.group else []),
        }
        for each in nodes
    }
    order: list[Node] = []
    while len(order) < len(nodes):
        done = {each.id for each in order}
        free = [each for each in nodes if each.id not in done and waits[each.id] <= done]
        if not free:
            return None
        order += free[:1]
    assert len(known) == len(order)
    return order


def _plain(nodes: list[Node]) -> list[Node]:
    return [Node(id=each.id.replace(".", "_"), function="m:f") for each in nodes]


class Reference:
    """What must come out, computed by recursion over the definition, with nothing of the machine.

    Args:
        graph: to run.
        fate: how each attempt ends, by task and path.
        before: the states in which an earlier pass left every row; what succeeded in it is not done again.
    """

    def __init__(self, graph: Graph, fate, before: dict[Key, TaskState] | None = None) -> None:
        self.graph, self.fate, self.before = graph, fate, before
        self.index = {node.id: number for number, node in enumerate(graph.nodes)}
        self.known: dict[Key, TaskState] = {}

    def chain(self, node: int) -> list[int]:
        found: list[int] = []
        group = self.graph.nodes[node].group
        while group:
            found.insert(0, self.index[group])
            group = self.graph.nodes[self.index[group]].group
        return found

    def parents(self, node: int, path: tuple[int, ...]) -> list[Key]:
        mine = self.chain(node)
        found = []
        for name in self.graph.nodes[node].upstream:
            parent = self.index[name]
            common = 0
            for left, right in zip(mine, self.chain(parent), strict=False):
                if left != right:
                    break
                common += 1
            found.append((parent, path[:common]))
        return found

    def unchanged(self, node: int, path: tuple[int, ...]) -> bool:
        if self.before is None or (node, path) not in self.before:
            return False
        if self.before[node, path] is S.SUCCESS:
            return True
        if path and self.unchanged(node, path[:-1]):
            return True
        chain = self.chain(node)
        return len(path) < len(chain) and self.unchanged(chain[len(path)], path)

    def state(self, node: int, path: tuple[int, ...] = ()) -> TaskState:
        if (node, path) not in self.known:
            self.known[node, path] = self.before[node, path] if self.unchanged(node, path) else self._state(node, path)
        return self.known[node, path]

    def verdict(self, node: int, path: tuple[int, ...]) -> TaskState | None:
        """The state without running; None where it runs."""
        spec = self.graph.nodes[node]
        if (
            self.before is not None
            and spec.mapped
            and any(
                key[1][:-1] == path
                and key[0]
                in ([node] if spec.function else [n for n in range(len(self.graph.nodes)) if node in self.chain(n)])
                for key in self.before
                if key[1]
            )
        ):
            return None  # it had been expanded
        states = [self.state(*parent) for parent in self.parents(node, path)]
        good, bad = states.count(S.SUCCESS), sum(state in BAD for state in states)
        rest, barred = states.count(S.SKIPPED), states.count(S.UPSTREAM_FAILED)
        if trigger.early(spec.trigger_rule, good, bad, barred):
            return None
        said = trigger.decide(spec.trigger_rule, good, bad, rest, barred)
        return None if said == trigger.RUN else S(said)

    def copies(self, node: int) -> int:
        return len(self.graph.nodes[node].mapped["x"].value)

    def over(self, node: int, path: tuple[int, ...], copies: int) -> TaskState:
        states = [self.state(node, (*path, each)) for each in range(copies)]
        if any(state in BAD for state in states):
            return S.FAILED
        return S.SKIPPED if states and all(state is S.SKIPPED for state in states) else S.SUCCESS

    def _state(self, node: int, path: tuple[int, ...]) -> TaskState:
        spec, chain = self.graph.nodes[node], self.chain(node)
        if len(path) < len(chain):
            group = chain[len(path)]
            not_run = self.verdict(group, path) if len(path) == len(self.chain(group)) else None
            if not_run is None and len(path) == len(self.chain(group)):
                return self.over(node, path, self.copies(group))
            return not_run or S.SUCCESS
        if len(path) == len(chain):
            if (state := self.verdict(node, path)) is not None:
                return state
            if not spec.function:
                within = [each for each in self.graph.nodes if each.id.startswith(f"{spec.id}.")]
                used = {self.index[name] for each in within for name in each.upstream}
                members = [n for n, each in enumerate(self.graph.nodes) if each.group == spec.id]
                bad = any(self.state(each, path) in BAD for each in members if each not in used)
                return S.FAILED if bad else S.SUCCESS
            if spec.mapped:
                return self.over(node, path, self.copies(node))
        return self.fate(spec.id, path)

    def everything(self) -> dict[Key, TaskState]:
        """Returns the state of every row that there is."""
        waiting: list[Key] = [(node, ()) for node in range(len(self.graph.nodes))]
        found: dict[Key, TaskState] = {}
        while waiting:
            node, path = waiting.pop()
            found[node, path] = self.state(node, path)
            chain, spec = self.chain(node), self.graph.nodes[node]
            around = chain[len(path)] if len(path) < len(chain) else node if spec.mapped and spec.function else None
            if around is not None and len(path) <= len(chain) and self.expanded(around, path):
                waiting += [(node, (*path, each)) for each in range(self.copies(around))]
        return found

    def expanded(self, group: int, path: tuple[int, ...]) -> bool:
        if self.unchanged(group, path):
            below = (
                [group]
                if self.graph.nodes[group].function
                else [n for n in range(len(self.graph.nodes)) if group in self.chain(n)]
            )
            return any((each, (*path, 0)) in self.before for each in below)
        return self.verdict(group, path) is None


def fate_of(seed: int, bad: bool = True):
    def fate(task: str, path: tuple[int, ...]) -> TaskState:
        drawn = random.Random(f"{seed} {task} {path}").random()
        return S.SUCCESS if drawn < 0.7 or not bad else S.FAILED if drawn < 0.9 else S.SKIPPED

    return fate


def stored_states(database: Database, run: str) -> dict[Key, TaskState]:
    row = rows.run_row(database, run)
    assert row is not None
    return {(each.node, each.path): TaskState(each.state) for each in rows.instance_rows(database, row.number)}


def path_in(database: Database, launch) -> tuple[str, tuple[int, ...]]:
    number = int(launch.checkpoint.rpartition(".")[2])
    run = rows.run_row(database, launch.run)
    assert run is not None
    return launch.task, rows.InstanceRow(*database.rows("instances_numbered", run.number, number)[0]).path
