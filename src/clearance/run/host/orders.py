"""What people tell the controller of DAGs, assets and backfills: beside those of `clearance.run.host.messages`."""

from __future__ import annotations

from typing import Any

import msgspec


class Register(msgspec.Struct, frozen=True, tag="register"):
    """Know the DAG `module:name` of an unpacked bundle, or every DAG of it; `source` names its file, for people.

    Answered with `[{"dag", "version", "changed"}]`.
    """

    bundle: str
    target: str
    parameters: dict[str, Any] = {}
    source: str = ""


class Unregister(msgspec.Struct, frozen=True, tag="unregister"):
    """Know this DAG no more."""

    dag: str


class PauseDag(msgspec.Struct, frozen=True, tag="pause_dag"):
    """Start no run of this DAG by itself, or do so again. Answered with whether that changed anything."""

    dag: str
    paused: bool


class Emit(msgspec.Struct, frozen=True, tag="emit"):
    """An asset was written. Answered with `{"event", "runs", "new"}`.

    Attributes:
        asset: its URI.
        key: of the partition; None for the whole.
        id: names what happened: told again under the same name, it is the same event, and starts nothing.
    """

    asset: str
    key: str | None = None
    id: str = ""


class CreateBackfill(msgspec.Struct, frozen=True, tag="create_backfill"):
    """Run the intervals of a DAG between two instants, in seconds since 1970. Answered with what it holds.

    Attributes:
        dag: a known one.
        start: intervals that begin at or after it.
        end: intervals that end at or before it.
        which: of `missing`, `failed`, `success`: what became of the intervals that are to be run.
        newest_first: their order.
        concurrency: how many of its runs go on at a time.
        dry: only say what it would hold.
    """

    dag: str
    start: float
    end: float
    which: tuple[str, ...] = ("missing",)
    newest_first: bool = False
    concurrency: int = 1
    dry: bool = False


class ChangeBackfill(msgspec.Struct, frozen=True, tag="change_backfill"):
    """Pause, resume or cancel a backfill. Answered with whether that changed anything."""

    id: str
    to: str


class RetryDeliveries(msgspec.Struct, frozen=True, tag="retry_deliveries"):
    """Try again what was given up of a sink, or of each where none is named. Answered with how many deliveries."""

    sink: str = ""


class Measure(msgspec.Struct, frozen=True, tag="measure"):
    """What has the controller counted since it leads? Answered with `run.metrics.Metrics.snapshot`."""


class Clear(msgspec.Struct, frozen=True, tag="clear"):
    """Do these tasks of a run again, whatever they ended with, and what depends on them.

    Answered by `Accepted`; where it is `dry`, by `{"tasks": {TASK: how many}}`.

    Attributes:
        run: its id.
        tasks: `task`, `task[3]`, or a group.
        only: leave what depends on them as it is.
        dry: only say what would be cleared.
    """

    run: str
    tasks: list[str]
    only: bool = False
    dry: bool = False


class MarkTask(msgspec.Struct, frozen=True, tag="mark"):
    """A task is to count as `success` or `failed`. Answered with whether that changed anything."""

    run: str
    task: str
    state: str
    reason: str


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """Take away cache entries, or runs, that are older than so many seconds; some at a time.

    Answered with `{"taken": how many, "more": bool}`.

    Attributes:
        what: `cache` or `runs`.
        older: seconds since an entry was used last, or since a run ended.
        dry: only count.
    """

    what: str
    older: float
    dry: bool = False


class ApplyQueues(msgspec.Struct, frozen=True, tag="apply_queues"):
    """This text of a queues.yaml holds from now on. Answered with the changes, as people read them.

    Attributes:
        text: of the file.
        dry: only say what would change.
    """

    text: str
    dry: bool = False


class Cordon(msgspec.Struct, frozen=True, tag="cordon"):
    """A node takes nothing new, or does so again. Answered with whether that changed anything.

    Attributes:
        node: its name.
        on: False: it does so again.
        drain: what is on it is asked to leave, too.
        reason: for people.
    """

    node: str
    on: bool = True
    drain: bool = False
    reason: str = ""


class Consolidate(msgspec.Struct, frozen=True, tag="consolidate"):
    """Move members off lightly used nodes. Answered with the plan.

    Attributes:
        max_moves: in all.
        min_gain: in node-hours, less what the moves cost.
        dry: only say what would be moved.
    """

    max_moves: int = 200
    min_gain: float = 1.0
    dry: bool = False


class LookAtCluster(msgspec.Struct, frozen=True, tag="look_at_cluster"):
    """What does the scheduler know? Answered as `clearance.cluster.views` has it.

    Attributes:
        what: the name of a view.
        name: what it is of; empty for all.
    """

    what: str
    name: str = ""


class Suppose(msgspec.Struct, frozen=True, tag="suppose"):
    """When would a job start, if there were other nodes, or some fewer? Answered with the estimate.

    Attributes:
        job: its id, or run and task, `digits/3 train`.
        add: nodes that come: `4xA100`, `2x16cpu`.
        remove: names of nodes that go.
    """

    job: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


Order = Unregister | PauseDag | Emit | CreateBackfill | ChangeBackfill
ClusterOrder = ApplyQueues | Cordon | Consolidate | LookAtCluster | Suppose
