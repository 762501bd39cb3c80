"""The nodes as the scheduler sees them: what each has, who is on it, which devices are whose.

Rules:

1. A node is never given more than it has: not in sum, not of one device.
2. A share of a GPU lies on one device: the fullest that still has room. Whole GPUs are wholly free devices, the first.
3. A node with less than is used (it shrank) has nothing free of that until enough has gone.
4. A node's score under `binpacking` is its used part, weighted over its resources, GPUs included; under `fair` the same
   below zero.
5. Under `fgd` a shape's score on a node is how much less fragmented it gets (`cluster.gradient`), and a share takes the
   device that makes the least of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from clearance.cluster.columns import LISTS_UP_TO, Columns, ListColumns
from clearance.cluster.node import Node
from clearance.cluster.nodestate import Held, NodeState
from clearance.cluster.quantities import GPU
from clearance.cluster.shape import NEVER, Shape
from clearance.cluster.space import DEVICE, EMPTY, GPU_AT, MOST, WHOLE, Space
from clearance.errors import MissingExtra

if TYPE_CHECKING:
    from clearance.cluster.arrays import ArrayColumns
    from clearance.cluster.gradient import Gradient

BINPACKING, FAIR, FGD = "binpacking", "fair", "fgd"
POLICIES = (BINPACKING, FAIR, FGD)
_ROWS = 256
_WORTH_A_ROW = 2
_LITTLE = 20.0  # of the used part: thousandths of a device that packing is worth beside fragmentation


class Nodes:
    """All nodes.

    Args:
        space: of the scheduler.
        policy: `binpacking`, `fair` or `fgd`.
        weights: of resources, by name, in the node's score; those that are not named count 1.
        backing: `lists`, `numpy` or `numba`; None: by the number of nodes and what is installed.
    """

    def __init__(
        self, space: Space, policy: str, weights: Mapping[str, float] | None = None, backing: str | None = None
    ) -> None:
        self._space = space
        self.policy = policy
        self._sign = -1.0 if policy == FAIR else 1.0
        self._weights = dict(weights or {})
        self.backing = backing
        self.gradient = _gradient() if policy == FGD else None
        self.columns: Columns = ListColumns() if backing in (None, "lists") else self._arrays()
        self.at: list[NodeState] = []
        self.named: dict[str, NodeState] = {}
        self.total: list[int] = [0] * len(space.names)
        self.used: list[int] = [0] * len(space.names)
        self.slots: dict[Shape, int] = {}
        self.wanted: dict[Shape, int] = {}
        self.plain = True
        self.version = 0
        self._kinds: Mapping[tuple[int, ...], int] = {}
        self._kinds_at = -1
        self.domains: dict[str, tuple[dict[str, int], list[int]]] = {}
        self._gone: list[int] = []

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def add(self, node: Node) -> NodeState:
        """Adds a node.

        Raises:
            UsageError: an unknown resource, or a bad amount.
        """
        parsed = self._parse(node)
        self.widen()
        if self._gone:
            state = NodeState(node, self._gone.pop())
            self.at[state.index] = state
        else:
            if self.backing is None and len(self.at) == LISTS_UP_TO and isinstance(self.columns, ListColumns):
                self._grow()
            state = NodeState(node, self.columns.add([0] * self._space.columns, NEVER))
            self.at.append(state)
        self.named[node.name] = state
        self._equip(state, node, parsed)
        return state

    def change(self, state: NodeState, node: Node) -> None:
        """Gives a node other capacity, labels or taints; what it holds stays.

        Raises:
            UsageError: an unknown resource, or a bad amount.
        """
        parsed = self._parse(node)
        self.widen()
        for position, amount in enumerate(state.capacity):
            self.total[position] -= amount
        self._equip(state, node, parsed)

    def remove(self, state: NodeState) -> None:
        """Takes a node away; whatever it holds must have been given back."""
        self.version += 1
        for position, amount in enumerate(state.capacity):
            self.total[position] -= amount
        del self.named[state.name]
        self.columns.set(state.index, [0] * self._space.columns, NEVER)
        self._place_in_domains(state, Node(state.name))
        self._gone.append(state.index)

    def resort(self, policy: str, weights: Mapping[str, float]) -> None:
        """Changes the policy, which may not become or cease to be `fgd`, and the weights of resources."""
        self.policy, self._weights = policy, dict(weights)
        self._sign = -1.0 if policy == FAIR else 1.0
        for state in self.named.values():
            self._weigh(state)
            self._refresh(state)

    def close(self, state: NodeState, why: str) -> None:
        """Lets a node take nothing new, or, with no reason, opens it again."""
        state.shut = why
        state.closed = _closed(state)
        self._refresh(state)

    # -- members -------------------------------------------------------------------------------------------------------

    def take(self, ids: Sequence[str], shape: Shape, index: int) -> list[Held]:
        """Puts members on a node that has room for all of them.

        Args:
            ids: of the members.
            shape: of each.
            index: of the node.
        """
        state = self.at[index]
        used = state.used
        found = []
        for id in ids:
            devices: tuple[int, ...] = ()
            if shape.gpus:
                devices = _whole(state.devices, shape.gpus)
                for number in devices:
                    state.devices[number] = 0
            elif shape.share:
                number = self._device(state, shape)
                state.devices[number] -= shape.share
                devices = (number,)
            for position, amount in shape.usage:
                used[position] += amount
                self.used[position] += amount
            held = state.held[id] = Held(id, shape, index, devices)
            found.append(held)
        if shape.whole:
            state.whole += 1
        self._refresh(state)
        return found

    def take_one(self, id: str, shape: Shape, index: int) -> Held:
        """As `take`, for one member."""
        state = self.at[index]
        used, total = state.used, self.used
        devices: tuple[int, ...] = ()
        if shape.gpus:
            devices = _whole(state.devices, shape.gpus)
            for number in devices:
                state.devices[number] = 0
        elif shape.share:
            devices = (self._device(state, shape),)
            state.devices[devices[0]] -= shape.share
        for position, amount in shape.usage:
            used[position] += amount
            total[position] += amount
        if shape.whole:
            state.whole += 1
        held = state.held[id] = Held(id, shape, index, devices)
        self._refresh(state)
        return held

    def put(self, held: Held) -> None:
        """Puts a member back where it was."""
        state = self.at[held.node]
        for position, amount in held.shape.usage:
            state.used[position] += amount
            self.used[position] += amount
        for number in held.devices:
            state.devices[number] -= held.shape.share or DEVICE
        state.held[held.id] = held
        state.whole += held.shape.whole
        self._refresh(state)

    def give(self, held: Held) -> None:
        """Takes a member off its node."""
        self.give_all((held,))

    def give_all(self, members: Iterable[Held]) -> None:
        """Takes members off their nodes."""
        states = {}
        for held in members:
            shape = held.shape
            state = states[held.node] = self.at[held.node]
            del state.held[held.id]
            for position, amount in shape.usage:
                state.used[position] -= amount
                self.used[position] -= amount
            back = DEVICE if shape.gpus else shape.share
            for number in held.devices:
                if number < len(state.devices):
                    state.devices[number] += back
            state.whole -= shape.whole
        for state in states.values():
            self._refresh(state)

    def room(self, shape: Shape, state: NodeState) -> int:
        """Returns how many members of a shape a node can still take."""
        if state.closed or state.whole:
            return 0
        if shape.whole:
            free = self.free(state)
            return int(all(need <= have for need, have in zip(shape.needs, free, strict=True)))
        most = min(
            (
                (state.capacity[position] - state.used[position]) // amount
                for position, amount in shape.usage
                if position != GPU_AT
            ),
            default=1 << 30,
        )  # fmt: skip
        if shape.gpus:
            most = min(most, state.devices.count(DEVICE) // shape.gpus)
        elif shape.share:
            most = min(most, sum(left // shape.share for left in state.devices if left > 0))
        return max(most, 0)

    def rooms(self, shape: Shape) -> dict[int, int]:
        """Returns how many members of a shape each node has room for where at least one fits, the best node first."""
        order = self.columns.ranked(self.row(shape))
        if shape.share:
            return {index: self.room(shape, self.at[index]) for index in order}
        if shape.whole:
            return dict.fromkeys(order, 1)
        return dict(zip(order, self.columns.multiples(shape, order), strict=True))

    def lacking(self, shape: Shape) -> tuple[int, int, dict[str, int]]:
        """Returns how many nodes are closed, how many others a shape may not use, and how many lack each resource.

        Devices count twice: `nvidia.com/gpu` where too few are wholly free, or none has so large a part free.
        """
        gone = len(self.at) - len(self.named)
        closed, unusable, lack = self.columns.lacking(shape, self._biases(shape))
        named: dict[str, int] = {}
        for column, count in lack.items():
            if column == EMPTY:
                name = "empty"
            else:
                name = GPU if column in (WHOLE, MOST) else self._space.names[column if column < EMPTY else column - 2]
            named[name] = max(named.get(name, 0), count)
        return closed - gone, unusable, named

    def free(self, state: NodeState) -> list[int]:
        """Returns the columns of a node; see `cluster.space`."""
        if state.whole:
            return [0] * self._space.columns
        capacity, used, devices = state.capacity, state.used, state.devices
        columns = [
            capacity[0] - used[0],
            capacity[1] - used[1],
            devices.count(DEVICE) if devices else 0,
            max(devices) if devices else 0,
            0 if state.held else 1,
        ]
        if len(capacity) > 3:
            columns += [have - out for have, out in zip(capacity[3:], used[3:], strict=True)]
        return columns

    def score(self, state: NodeState) -> float:
        """Returns the node's score; see rule 4."""
        if state.closed:
            return NEVER
        used = state.used
        score = 0.0
        for position, weight in state.weights:
            score += used[position] * weight
        return score * self._sign * (_LITTLE if self.gradient else 1.0)

    # -- rows ----------------------------------------------------------------------------------------------------------

    def row(self, shape: Shape) -> int:
        """Returns the slot of a shape's row, and opens it when there is none."""
        slot = self.slots.get(shape)
        if slot is None:
            if len(self.slots) >= _ROWS:
                self._close_idle()
            slot = self.slots[shape] = self.columns.open(shape, self._biases(shape))
        return slot

    def best(self, shape: Shape) -> int:
        """Returns the index of the best node for a shape; -1 when it fits nowhere."""
        slot = self.slots.get(shape)
        if slot is None:
            if self.wanted.get(shape, 0) < _WORTH_A_ROW:
                return self.columns.once(shape, self._biases(shape))
            slot = self.row(shape)
        return self.columns.best(slot)

    def fitting(self, index: int, shapes: Collection[Shape]) -> list[Shape]:
        """Returns those of the shapes that fit on a node."""
        slots = self.slots
        with_rows = {slots[shape]: shape for shape in shapes if shape in slots}
        found = [with_rows[slot] for slot in self.columns.fitting(index, list(with_rows))]
        if len(with_rows) < len(shapes):
            state = self.at[index]
            free, open = self.free(state), not state.closed
            for shape in shapes:
                fits = all(need <= have for need, have in zip(shape.needs, free, strict=True))
                if fits and open and shape not in slots and shape.bias(state.node) > NEVER:
                    found.append(shape)
        return found

    def close_row(self, shape: Shape) -> None:
        """Closes the row of a shape, if it has one."""
        if (slot := self.slots.pop(shape, None)) is not None:
            self.columns.close(slot)

    def widen(self) -> None:
        """Follows the space, which may have come to know more resources."""
        more = len(self._space.names) - len(self.total)
        if more <= 0:
            return
        for shape in list(self.slots):
            self.close_row(shape)
        self.columns.widen(self._space.columns)
        self.total += [0] * more
        self.used += [0] * more
        for state in self.at:
            state.capacity = state.capacity + [0] * more
            state.used += [0] * more

    def domain(self, level: str) -> list[int]:
        """Returns of each node the number of its domain at a level; -1: it is in none.

        Every node is a domain of its own at the level `node`.
        """
        if level not in self.domains:
            names: dict[str, int] = {}
            where = [-1] * len(self.at)
            self.domains[level] = (names, where)
            for state in self.named.values():
                name = _domain(state.node, level)
                if name is not None:
                    where[state.index] = names.setdefault(name, len(names))
        return self.domains[level][1]

    def kinds(self) -> Mapping[tuple[int, ...], int]:
        """Returns how many nodes there are of each capacity."""
        if self._kinds_at != self.version:
            self._kinds_at = self.version
            self._kinds = Counter(tuple(state.capacity) for state in self.named.values())
        return self._kinds

    def copy(self) -> Nodes:
        """Returns a copy that changes on its own, with no rows open."""
        other = Nodes(self._space, self.policy, self._weights, self.backing)
        other.columns = self.columns.copy()
        other.at = [state.copy() for state in self.at]
        other.named = {name: other.at[state.index] for name, state in self.named.items()}
        other.total, other.used, other.plain = list(self.total), list(self.used), self.plain
        other._gone = list(self._gone)
        return other

    # -- inside --------------------------------------------------------------------------------------------------------

    def _parse(self, node: Node) -> list[tuple[int, int]]:
        return self._space.parse(node.capacity, f"node {node.name}")

    def _equip(self, state: NodeState, node: Node, parsed: list[tuple[int, int]]) -> None:
        self.version += 1
        state.node = node
        capacity = [0] * len(self._space.names)
        for position, amount in parsed:
            capacity[position] = amount
        state.capacity = capacity
        state.used = state.used or [0] * len(capacity)
        state.devices = [DEVICE] * (capacity[GPU_AT] // DEVICE)
        for held in state.held.values():
            for number in held.devices:
                if number < len(state.devices):
                    state.devices[number] -= held.shape.share or DEVICE
        state.closed = _closed(state)
        self._weigh(state)
        for position, amount in enumerate(capacity):
            self.total[position] += amount
        self.plain = self.plain and not node.taints
        self._place_in_domains(state, node)
        picky = [(slot, shape.bias(node)) for shape, slot in self.slots.items() if shape.picky or not self.plain]
        if picky:
            self.columns.set_biases(state.index, picky)
        self._refresh(state)

    def _weigh(self, state: NodeState) -> None:
        state.weights = [
            (position, self._weights.get(self._space.names[position], 1.0) / amount)
            for position, amount in enumerate(state.capacity)
            if amount
        ]

    def _refresh(self, state: NodeState) -> None:
        free = self.free(state)
        self.columns.set(state.index, free, self.score(state))
        if self.gradient is not None and self.slots:
            fitting = {slot: shape for shape, slot in self.slots.items()}
            slots = self.columns.fitting(state.index, list(fitting))
            if slots:
                shapes = [fitting[slot] for slot in slots]
                deltas = self.gradient.deltas(free, state.devices, shapes)
                self.columns.set_biases(
                    state.index,
                    [
                        (slot, shape.bias(state.node) - delta)
                        for slot, shape, (delta, _) in zip(slots, shapes, deltas, strict=True)
                    ],
                )  # fmt: skip

    def _device(self, state: NodeState, shape: Shape) -> int:
        """Returns the device that a share takes; see rules 2 and 5."""
        if self.gradient is None:
            return _fullest(state.devices, shape.share)
        free = [have - used for have, used in zip(state.capacity[:2], state.used[:2], strict=True)]
        return state.devices.index(self.gradient.deltas(free, state.devices, [shape])[0][1])

    def learn(self) -> None:
        """Lets `fgd` take what was submitted as typical; rows are made anew where that has changed."""
        if self.gradient is not None and self.gradient.learn():
            for shape in list(self.slots):
                self.close_row(shape)

    def _biases(self, shape: Shape) -> Sequence[float] | None:
        if self.gradient is not None:
            places = [
                (state.capacity[0] - state.used[0], state.capacity[1] - state.used[1], *sorted(state.devices))
                for state in self.at
            ]
            deltas = self.gradient.of([(shape, place) for place in places])
            return [
                shape.bias(state.node) - delta if state.name in self.named else 0.0
                for state, (delta, _) in zip(self.at, deltas, strict=True)
            ]
        if self.plain and not shape.picky:
            return None
        return [shape.bias(state.node) if state.name in self.named else 0.0 for state in self.at]

    def _close_idle(self) -> None:
        """Closes rows of shapes that nobody asks for; of all, where everybody asks."""
        idle = [shape for shape in self.slots if not self.wanted.get(shape)]
        for shape in idle or list(self.slots)[: _ROWS // 2]:
            self.close_row(shape)

    def _place_in_domains(self, state: NodeState, node: Node) -> None:
        for level in self.domains:
            self._place(level, state, node)

    def _place(self, level: str, state: NodeState, node: Node) -> None:
        names, where = self.domains[level]
        where += [-1] * (len(self.at) - len(where))
        name = _domain(node, level)
        where[state.index] = -1 if name is None else names.setdefault(name, len(names))

    def _grow(self) -> None:
        """Goes from lists to numpy, where it is installed."""
        try:
            arrays = self._arrays()
        except MissingExtra:
            return
        for shape in list(self.slots):
            self.close_row(shape)
        for state in self.at:
            arrays.add(self.free(state), self.score(state))
        self.columns = arrays

    def _arrays(self) -> ArrayColumns:
        try:
            from clearance.cluster.arrays import ArrayColumns
        except ModuleNotFoundError as error:
            raise MissingExtra("numpy", "cluster") from error
        return ArrayColumns(self._space.columns, compiled=self.backing == "numba")


def _domain(node: Node, level: str) -> str | None:
    return node.name if level == "node" else node.labels.get(level)


def _gradient() -> Gradient:
    try:
        from clearance.cluster.gradient import Gradient
    except ModuleNotFoundError as error:
        raise MissingExtra("numpy", "cluster") from error
    return Gradient()


def _closed(state: NodeState) -> str:
    return state.shut or ("" if state.node.schedulable else "it is cordoned")


def _whole(devices: Sequence[int], count: int) -> tuple[int, ...]:
    """Returns the first devices that are wholly free."""
    found = []
    for number, left in enumerate(devices):
        if left == DEVICE:
            found.append(number)
            if len(found) == count:
                break
    return tuple(found)


def _fullest(devices: Sequence[int], share: int) -> int:
    """Returns the device with the least room that suffices."""
    best, least = -1, DEVICE + 1
    for number, left in enumerate(devices):
        if share <= left < least:
            best, least = number, left
    return best
