"""Consolidation: members move off lightly used nodes, which are then free, where that is worth more than it costs.

Rules:

1. A plan is worth the node-hours that it frees times their price, less what its moves cost: the restart, the work since
   the last checkpoint, the transfer of the state. A node counts for as long as it would else be used, as far as
   `horizon` and estimates tell. A node whose moves cost more than it is worth is left alone, and so is the cluster
   where the plan as a whole gains less than is asked for.
2. A node is freed as a whole or not touched. Targets are nodes that stay in use, the fullest first, so that no move
   waits for another: every state on the way is feasible, devices included.
3. No member moves twice within `WINDOW`, no job has more than so many moves in it, and no more of its members are away
   at once than its `disruption_budget`. Who is not `movable`, drawn to others by affinity, or about to leave stays.
4. A plan is only a proposal: `next_moves` looks at the cluster as it is. Where somebody has come to a node, or a target
   has no room any more, the rest of that node's moves is void.
5. A service moves by starting the new member before the old one ends. A target's room is taken from the moment a move
   is decided until the driver reports `MemberMoved`, or for `LAPSE` seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from clearance.cluster.application import Application
from clearance.cluster.decision import Migrate
from clearance.cluster.nodes import BINPACKING, Nodes
from clearance.cluster.nodestate import Held, NodeState
from clearance.cluster.shape import NEVER
from clearance.cluster.victim import lost
from clearance.errors import UsageError

if TYPE_CHECKING:
    from clearance.cluster.scheduler import Scheduler

WINDOW = 3600.0
HORIZON = 4 * 3600.0
LAPSE = 600.0
BYTES_PER_SECOND = 1e9
_ROOM_FOR_A_ROW = 2


class Move(msgspec.Struct, frozen=True):
    """One member moves.

    Attributes:
        member: its id.
        source: the node that it leaves.
        target: where it goes.
        cost: in node-hours.
    """

    member: str
    source: str
    target: str
    cost: float


class Plan(msgspec.Struct, frozen=True):
    """What would be moved, and what that would bring.

    Attributes:
        moves: in order; those of one node follow each other.
        freed: names of the nodes that are empty afterwards.
        gain: what they are worth, in node-hours times their price.
        cost: of the moves, in the same unit.
    """

    moves: tuple[Move, ...] = ()
    freed: tuple[str, ...] = ()
    gain: float = 0.0
    cost: float = 0.0


class _Source(msgspec.Struct, frozen=True):
    index: int
    gain: float
    costs: Mapping[str, float]


class Consolidation:
    """See the module.

    Args:
        scheduler: whose members these are.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._moving: dict[str, tuple[Held, float]] = {}
        self._moved: dict[str, float] = {}
        self._moves: dict[str, list[float]] = {}

    # -- planning ------------------------------------------------------------------------------------------------------

    def plan(
        self,
        max_moves: int = 200,
        min_gain_node_hours: float = 1.0,
        prices: Mapping[str, float] | None = None,
        moves_per_job: int = 8,
        horizon: float = HORIZON,
    ) -> Plan:
        """Returns what to move; nothing where it does not gain enough. See rules 1 to 3.

        Args:
            max_moves: in all.
            min_gain_node_hours: least gain less cost.
            prices: of an hour of a node, by pool; 1 where there is none.
            moves_per_job: within `WINDOW`.
            horizon: seconds for which a node counts at most.
        """
        sources = self._sources(prices or {}, horizon)
        work, at = self._copy()
        kept = self.kept()
        for state in self._scheduler.nodes.named.values():
            if not state.held or state.closed or state.index in kept:
                work.close(work.named[state.name], "it is no target")
        moves: list[Move] = []
        freed: list[str] = []
        planned: dict[str, int] = {}
        gain = 0.0
        received: set[int] = set()
        for source in sources:
            copy = work.named[self._scheduler.nodes.at[source.index].name]
            if copy.index in received or len(moves) + len(source.costs) > max_moves:
                continue
            if any(self._spent(job) + count > moves_per_job for job, count in self._jobs(source, planned).items()):
                continue
            targets = self._empty(work, at, copy)
            if targets is None:
                continue
            received |= {index for _, index in targets}
            planned |= self._jobs(source, planned)
            freed.append(copy.name)
            gain += source.gain
            moves += [Move(id, copy.name, work.at[index].name, source.costs[id]) for id, index in targets]
        cost = sum(move.cost for move in moves)
        return Plan(tuple(moves), tuple(freed), gain, cost) if gain - cost >= min_gain_node_hours else Plan()

    def _sources(self, prices: Mapping[str, float], horizon: float) -> list[_Source]:
        """Returns the nodes that are worth freeing by themselves, those first that bring most for each move."""
        scheduler, now, found = self._scheduler, self._scheduler.now, []
        kept = self.kept()
        for state in scheduler.nodes.named.values():
            if not state.held or state.index in kept or not all(self._may_move(held) for held in state.held.values()):
                continue
            price = prices.get(state.node.pool, 1.0)
            ends = max(scheduler.members[id][0].ends for id in state.held)
            gain = min(max(ends - now, 0.0), horizon) / 3600 * price
            costs = {held.id: self._cost(held, state) * price for held in state.held.values()}
            net = gain - sum(costs.values())
            if net > 0:
                used = abs(scheduler.nodes.score(state)) if not state.closed else 0.0
                found.append((-net / len(costs), used, state.index, _Source(state.index, gain, costs)))
        return [source for _, _, _, source in sorted(found, key=lambda each: each[:3])]

    def _may_move(self, held: Held) -> bool:
        scheduler = self._scheduler
        app, known = scheduler.members[held.id]
        return (
            known is held and app.job.movable and not held.shape.affinity and not held.shape.whole
            and held.id not in self._moving and held.id not in scheduler.preemption.leaving
            and self._moved.get(held.id, -WINDOW) + WINDOW <= scheduler.now
        )  # fmt: skip

    def _cost(self, held: Held, state: NodeState) -> float:
        """Returns what a move costs, in node-hours; see rule 1. A gang waits for its member: all of it loses."""
        app = self._scheduler.members[held.id][0]
        job = app.job
        part = max((amount / state.capacity[at] for at, amount in held.shape.usage if state.capacity[at]), default=0.0)
        many = len(app.held) if any(group.group.min_member > 1 for group in app.gang) else 1
        work = 0.0 if job.service else (lost(app, self._scheduler.now) - job.restart_cost) * part * many
        return (job.restart_cost + work + job.state_bytes / BYTES_PER_SECOND * part) / 3600

    def _copy(self) -> tuple[Nodes, dict[str, Held]]:
        """Returns the nodes as they are, to try on, with the fullest as the best; and where every member is."""
        scheduler = self._scheduler
        work = Nodes(scheduler.space, BINPACKING, scheduler.partition.resource_weights, scheduler.nodes.backing)
        at: dict[str, Held] = {}
        for state in scheduler.nodes.named.values():
            copy = work.add(state.node)
            for held in state.held.values():
                twin = Held(held.id, held.shape, copy.index, held.devices)
                work.put(twin)
                work.wanted[held.shape] = _ROOM_FOR_A_ROW
                if scheduler.members[held.id][1] is held:
                    at[held.id] = twin
        return work, at

    def _empty(self, work: Nodes, at: dict[str, Held], source: NodeState) -> list[tuple[str, int]] | None:
        """Moves everybody off a node of the copy; returns who went where, None and nothing moved where not all can."""
        work.close(source, "it is to be freed")
        before = sorted(source.held.values(), key=_size, reverse=True)
        placed: list[Held] = []
        for held in before:
            work.give(held)
            index = self._target(work, at, held)
            if index < 0:
                work.put(held)
                for new, old in zip(placed, before, strict=False):
                    work.give(new)
                    work.put(old)
                    at[old.id] = old
                work.close(source, "")
                return None
            placed.append(work.take_one(held.id, held.shape, index))
            at[held.id] = placed[-1]
        return [(held.id, held.node) for held in placed]

    def _target(self, work: Nodes, at: Mapping[str, Held], held: Held) -> int:
        """Returns the fullest node that a member may go to; -1: none."""
        app = self._scheduler.members[held.id][0]
        name = held.id.rsplit("/", 2)[1]
        group = next(group.group for group in app.groups if group.group.name == name)
        without: set[int] = set()
        for level in filter(None, (group.topology.required, group.topology.preferred)):
            where = work.domain(level)
            without |= {state.index for state in work.named.values() if where[state.index] != where[held.node]}
        if group.anti_affinity:
            where = work.domain(group.anti_affinity)
            peers = {where[at[id].node] for id in app.held if id != held.id and id.rsplit("/", 2)[1] == name} - {-1}
            without |= {state.index for state in work.named.values() if where[state.index] in peers}
        if without:
            return work.columns.best_of(work.row(held.shape), without, None, 0)
        return work.best(held.shape)

    def kept(self) -> set[int]:
        """Returns the nodes with room that is kept for those who wait."""
        scheduler = self._scheduler
        found = {index for reservation in scheduler.backfill.holding.values() for index in reservation.spare}
        return found | {index for promise in scheduler.preemption.promises.values() for index, _ in promise.places}

    def _jobs(self, source: _Source, planned: Mapping[str, int]) -> dict[str, int]:
        """Returns how many moves the jobs on a node would have in a plan that frees it too."""
        found: dict[str, int] = {}
        for id in source.costs:
            job = self._scheduler.members[id][0].id
            found[job] = found.get(job, planned.get(job, 0)) + 1
        return found

    def _spent(self, job: str) -> int:
        """Returns how often members of a job moved within the window."""
        since = self._scheduler.now - WINDOW
        return sum(time > since for time in self._moves.get(job, ()))

    # -- moving --------------------------------------------------------------------------------------------------------

    def next_moves(self, plan: Plan) -> list[Migrate]:
        """Returns the moves of a plan that can be made now; none, and none on its way, when it is done. See rule 4."""
        scheduler, found = self._scheduler, []
        self._lapse()
        sources: dict[str, list[Move]] = {}
        for move in plan.moves:
            sources.setdefault(move.source, []).append(move)
        kept = self.kept()
        for name, moves in sources.items():
            source = scheduler.nodes.named.get(name)
            if source is None or source.held.keys() - {move.member for move in moves}:
                continue
            left = [move for move in moves if move.member in source.held and move.member not in self._moving]
            if not all(self._may_move(source.held[move.member]) and self._fits(move, kept) for move in left):
                continue
            for move in left:
                if self._fits(move, kept) and (made := self._begin(move)) is not None:
                    found.append(made)
        return found

    def _fits(self, move: Move, kept: Iterable[int]) -> bool:
        target = self._scheduler.nodes.named.get(move.target)
        if target is None or not target.held or target.index in kept:
            return False
        shape = self._scheduler.members[move.member][1].shape
        return shape.bias(target.node) > NEVER and self._scheduler.nodes.room(shape, target) > 0

    def _begin(self, move: Move) -> Migrate | None:
        """Takes the room of a move; None where too many of the job are away."""
        scheduler = self._scheduler
        app, held = scheduler.members[move.member]
        budget = app.job.disruption_budget
        if budget is not None and not app.job.service and self._away(app) >= budget:
            return None
        index = scheduler.nodes.named[move.target].index
        arriving = scheduler.nodes.take_one(move.member, held.shape, index)
        self._moving[move.member] = (arriving, scheduler.now + LAPSE)
        self._moves.setdefault(app.id, []).append(scheduler.now)
        reason = f"to free {move.source}"
        return Migrate(
            scheduler.next_id(), reason, move.member, move.source, move.target, arriving.devices, app.job.service
        )

    def _away(self, app: Application) -> int:
        return sum(id in self._moving for id in app.held)

    def _lapse(self) -> None:
        now = self._scheduler.now
        for id in [id for id, (_, until) in self._moving.items() if until <= now]:
            self._release(id)
        for id in [id for id, time in self._moved.items() if time + WINDOW <= now]:
            del self._moved[id]
        for job in [job for job, times in self._moves.items() if times[-1] + WINDOW <= now]:
            del self._moves[job]

    # -- what the scheduler tells --------------------------------------------------------------------------------------

    def arriving(self, held: Held) -> bool:
        """Whether this is the room that a move has taken, and not the member itself."""
        return held.id in self._moving and self._moving[held.id][0] is held

    def moved(self, app: Application, held: Held, target: NodeState) -> None:
        """A member goes on on a node; the one where it was before means that its move did not come about.

        Raises:
            UsageError: there is no room on that node.
        """
        scheduler, nodes = self._scheduler, self._scheduler.nodes
        taken = self._moving.get(held.id)
        if held.node == target.index:
            self._release(held.id)
            return
        if taken is None or taken[0].node != target.index:
            if held.shape.bias(target.node) == NEVER or nodes.room(held.shape, target) < 1:
                raise UsageError(
                    f"member {held.id!r} cannot go on on node {target.name!r}, which has no room for it: "
                    "end it there, and tell that it was evicted"
                )
            self._release(held.id)
            new = nodes.take_one(held.id, held.shape, target.index)
        else:
            new = taken[0]
            del self._moving[held.id]
        nodes.give(held)
        app.held[held.id] = new
        scheduler.members[held.id] = (app, new)
        scheduler.vacated(held.node)
        self._moved[held.id] = scheduler.now

    def gone(self, id: str) -> None:
        """A member has ended or left its node."""
        self._release(id)
        self._moved.pop(id, None)

    def without(self, state: NodeState) -> None:
        """A node goes: what was to come there stays where it is."""
        for id in [id for id, (held, _) in self._moving.items() if held.node == state.index]:
            self._release(id)

    def copy_to(self, other: Consolidation) -> None:
        """Gives a fork what is on its way."""
        other._moving, other._moved = dict(self._moving), dict(self._moved)
        other._moves = {job: list(times) for job, times in self._moves.items()}

    def _release(self, id: str) -> None:
        if (taken := self._moving.pop(id, None)) is not None:
            self._scheduler.nodes.give(taken[0])
            self._scheduler.vacated(taken[0].node)


def _size(held: Held) -> tuple[int, int, int, str]:
    usage = dict(held.shape.usage)
    return held.shape.gpus, held.shape.share, usage.get(0, 0), held.id
