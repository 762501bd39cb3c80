"""What one turn changes: gathered by the state machine, written by the controller's commit."""

from __future__ import annotations

from clearance.run.expansion import Expansion
from clearance.run.instance import ActiveRun, Instance
from clearance.types.states import RunState, TaskState


class Changes:
    """What one turn changed: filled by the machine, emptied by the controller's commit.

    Attributes:
        dirty: instances whose row must be written, in order of their first change.
        added: instances whose row must be inserted.
        closed: copies that have ended, which memory may forget once that is committed.
        marked: rows that are not in memory and change nothing but their state: number, from, to.
        ready: instances that may now ask for clearance.
        ended: runs that have finished, with their state.
        reasons: why an instance failed without having been launched.
        notes: the same where no desk was asked: a condition that does not hold, or cannot be judged.
        forgotten: rows whose result is dropped, since they are done again: run, number.
        dropped: rows that are taken away, since what they were mapped over is made anew.
        uncached: rows that a person has cleared: the cache forgets what they made.
        applied: rows that ended as a person said.
    """

    __slots__ = (
        "added", "applied", "closed", "dirty", "dropped", "ended", "forgotten", "marked", "notes", "ready", "reasons",
        "uncached",
    )  # fmt: skip

    def __init__(self) -> None:
        self.dirty: dict[Instance, TaskState] = {}
        self.added: list[Instance] = []
        self.closed: list[tuple[ActiveRun, Expansion, int]] = []
        self.marked: list[tuple[ActiveRun, int, TaskState, TaskState]] = []
        self.ready: list[Instance] = []
        self.ended: list[tuple[ActiveRun, RunState]] = []
        self.reasons: dict[Instance, str] = {}
        self.notes: dict[Instance, str] = {}
        self.forgotten: list[tuple[ActiveRun, int]] = []
        self.dropped: list[tuple[ActiveRun, int]] = []
        self.uncached: list[tuple[ActiveRun, int]] = []
        self.applied: list[tuple[ActiveRun, int]] = []
