"""The nodes of the local engine that come and go: names of pools, written down in the home.

Rules:

1. An order is done once: its id is written with what it changes, in one rename. A crash before that has done nothing,
   one after it everything.
2. A node is there when its start-up time is over. What is on its way survives whoever asked for it.
3. A name is never given twice in the life of a home.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from clearance.engine.base import Node, NodeGone, NodeReady, Scaling
from clearance.errors import EngineError

_REMEMBERED = 1000


class _Rented(msgspec.Struct, frozen=True):
    name: str
    pool: str
    capacity: dict[str, int]
    ready_at: float


class _State(msgspec.Struct):
    nodes: list[_Rented] = []
    orders: list[str] = []
    numbers: dict[str, int] = {}


class Fleet:
    """See the module.

    Args:
        home: of the engine; need not exist yet.

    Raises:
        EngineError: what is written down cannot be read.
    """

    def __init__(self, home: Path) -> None:
        self._file = home / "nodes.json"
        self._state = self._read()
        self._told: set[str] = set()
        self._gone: list[str] = []

    @property
    def due(self) -> float:
        """When `observe` has something next, seconds since 1970; infinity: never."""
        if self._gone:
            return 0.0
        return min((node.ready_at for node in self._state.nodes if node.name not in self._told), default=math.inf)

    def nodes(self) -> list[Node]:
        """Returns the nodes that are there, as they are written down now; `observe` tells of them no more."""
        self._state = self._read()
        return self._there()

    def _there(self) -> list[Node]:
        there = [node for node in self._state.nodes if node.ready_at <= time.time()]
        self._told.update(node.name for node in there)
        return [Node(node.name, node.capacity, node.pool) for node in there]

    def starting(self) -> dict[str, int]:
        """Returns how many nodes are on their way, by pool: those that were not told of."""
        found: dict[str, int] = {}
        for node in self._state.nodes:
            if node.name not in self._told:
                found[node.pool] = found.get(node.pool, 0) + 1
        return found

    def observe(self) -> list[NodeReady | NodeGone]:
        """Returns which nodes have come and gone since the last call."""
        if not self._state.nodes and not self._gone:
            return []
        gone, self._gone = self._gone, []
        before = set(self._told)
        return [*map(NodeGone, gone), *(NodeReady(node) for node in self._there() if node.name not in before)]

    def scale(self, orders: Sequence[Scaling]) -> None:
        """Does what was not done yet."""
        state = self._state
        new = [order for id, order in {each.id: each for each in orders}.items() if id not in state.orders]
        if not new:
            return
        now = time.time()
        nodes, numbers, gone = list(state.nodes), dict(state.numbers), list[str]()
        for order in new:
            for _ in range(order.add):
                number = numbers[order.pool] = numbers.get(order.pool, -1) + 1
                nodes.append(_Rented(f"{order.pool}-{number}", order.pool, order.capacity, now + order.start_seconds))
            gone += [node.name for node in nodes if node.name in order.remove]
            nodes = [node for node in nodes if node.name not in order.remove]
        done = [*state.orders, *(order.id for order in new)][-_REMEMBERED:]
        self._state = _State(nodes, done, numbers)
        self._write()
        self._gone += [name for name in gone if name in self._told]
        self._told.difference_update(gone)

    def _read(self) -> _State:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_State)
        except FileNotFoundError:
            return _State()
        except (OSError, msgspec.MsgspecError) as error:
            raise EngineError(
                f"{self._file} cannot be read ({error}), so the nodes of pools are unknown: take it away"
            ) from None

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(self._state))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(new, self._file)
