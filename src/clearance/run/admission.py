"""What asks the capacity desk besides tasks: a run of a DAG that limits its runs, a copy of a group that limits them.

They ask for no room on a node, only for a share of a limit, and hold it until they end. The desk alone counts.
"""

from __future__ import annotations

from clearance.cluster import Answer, Placement
from clearance.errors import UsageError, nearest
from clearance.graph.model import Graph
from clearance.run import counting
from clearance.run.clearance import Desks, pool_limit
from clearance.run.expansion import Expansion
from clearance.run.instance import ActiveRun, Instance
from clearance.run.machine import Machine
from clearance.store.database import Database
from clearance.types.states import RunState


class Admission:
    """Runs, copies of groups, and the sizes of pools.

    Args:
        desks: whose capacity desk is asked.
        machine: opens the copies that are granted.
        database: where the pools are remembered.
    """

    def __init__(self, desks: Desks, machine: Machine, database: Database) -> None:
        self._desks = desks
        self._scheduler = desks.scheduler
        self._machine = machine
        self._runs: dict[str, ActiveRun] = {}
        self._copies: dict[str, tuple[ActiveRun, Expansion]] = {}
        self._asked: dict[Expansion, str] = {}
        self.pools: dict[str, int] = {}
        for name, slots in database.rows("pools"):
            self.set_pool(name, slots)

    # -- pools -------------------------------------------------------------------------------------------------------

    def set_pool(self, name: str, slots: int | None) -> None:
        """Sets how many slots a pool has; None takes it away. Who holds more than there are keeps them."""
        if slots is None:
            self.pools.pop(name, None)
        else:
            self.pools[name] = slots
        self._scheduler.set_limit(pool_limit(name), slots)

    def check(self, graph: Graph) -> None:
        """Checks that the pools of a graph are there and large enough.

        Raises:
            UsageError: they are not.
        """
        for node in graph.nodes:
            if not node.pool:
                continue
            where = f"task {node.id!r} ({node.file}:{node.line})"
            slots = self.pools.get(node.pool)
            if slots is None:
                near = nearest(node.pool, self.pools)
                raise UsageError(
                    f"{where}: pool {node.pool!r} is unknown{near}: make it with `clearance pool set {node.pool} SLOTS`"
                )
            if 0 < slots < node.pool_slots:
                raise UsageError(
                    f"{where} takes {node.pool_slots} slots of pool {node.pool!r}, which has {slots}: "
                    "lower pool_slots, or enlarge the pool with `clearance pool set`"
                )

    # -- runs --------------------------------------------------------------------------------------------------------

    def ask(self, run: ActiveRun) -> None:
        """A run is to go on: at once, or `queued` until the desk lets it."""
        ask = self._desks.run_job(run)
        if ask is None:
            run.state = RunState.RUNNING
            return
        run.state = RunState.QUEUED
        self._runs[ask.id] = run
        self._scheduler.submit(ask)

    def restore(self, run: ActiveRun) -> None:
        """Takes back what a run held or asked before this controller led."""
        if run.state is RunState.QUEUED:
            self.ask(run)
        elif (ask := self._desks.run_job(run)) is not None:
            self._scheduler.restore(ask, Placement(()))
        for expansion in run.expansions.values():
            if not expansion.path:
                expansion.arrival = self._scheduler.arrive()
            if self._limits_copies(run, expansion):
                for position in expansion.live:
                    self._scheduler.restore(self._desks.copy_job(run, expansion, position), Placement(()))

    def end(self, run: ActiveRun) -> None:
        """A run has ended."""
        if (ask := self._desks.run_job(run)) is not None:
            self._scheduler.release(ask.id)
            self._runs.pop(ask.id, None)

    def why(self, run: ActiveRun) -> Answer | None:
        """Returns what the desk says of a queued run; None for one that goes on."""
        ask = self._desks.run_job(run) if run.state is RunState.QUEUED else None
        return self._scheduler.explain(ask.id) if ask else None

    # -- copies of groups --------------------------------------------------------------------------------------------

    def fill(self, run: ActiveRun) -> None:
        """Opens copies of what is mapped in a run, or asks for them."""
        for expansion in list(run.filling):
            if not self._limits_copies(run, expansion):
                self._machine.fill(run, expansion)
            elif (
                expansion not in self._asked
                and self._machine.wants(run, expansion)
                and not counting.held_up(run, expansion)
            ):
                ask = self._desks.copy_job(run, expansion, expansion.next)
                self._asked[expansion] = ask.id
                self._copies[ask.id] = (run, expansion)
                self._scheduler.submit(ask)

    def wants(self, run: ActiveRun) -> bool:
        """True while a run has copies to open for which no desk is asked: `fill` opens some of them, and not all."""
        return any(
            not self._limits_copies(run, expansion)
            and self._machine.wants(run, expansion)
            and not counting.held_up(run, expansion)
            for expansion in run.filling
        )

    def close(self, run: ActiveRun, expansion: Expansion, position: int) -> None:
        """A copy has ended."""
        if self._limits_copies(run, expansion):
            self._scheduler.release(self._desks.copy_job(run, expansion, position).id)

    def withdraw(self, run: ActiveRun) -> None:
        """A run asks for no more copies: it is being cancelled, or has others to open first."""
        for expansion in run.expansions.values():
            if (id := self._asked.pop(expansion, None)) is not None:
                del self._copies[id]
                self._scheduler.release(id)

    def granted(self, decision: Answer) -> ActiveRun | list[Instance] | None:
        """Takes a grant: returns the run that goes on now, or an empty list for a copy; None where it is neither."""
        if (run := self._runs.pop(decision.id, None)) is not None:
            run.state = RunState.RUNNING
            return run
        if (found := self._copies.pop(decision.id, None)) is not None:
            del self._asked[found[1]]
            self._machine.open(*found)
            return []
        return None

    @staticmethod
    def _limits_copies(run: ActiveRun, expansion: Expansion) -> bool:
        spec = run.graph.nodes[expansion.node]
        return spec.is_group and spec.copies > 0
