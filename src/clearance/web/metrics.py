"""`/metrics`: what Prometheus reads, made anew at each scrape from the database and from what the controller counts.

Names follow Prometheus' conventions: base units, `_total` for what only grows. Labels are states, outcomes, sinks and
nodes; never a run, a DAG or a task, of which there is no end. What only grows begins at zero when another controller
leads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

import clearance
from clearance.store.database import LEASE, Database
from clearance.types.states import RunState, ServiceState, TaskState

Reading = Callable[[Callable[[Database], Any]], Any]
_DELIVERIES = ("pending", "delivered", "failed")


class Collector:
    """One installation, as Prometheus sees it.

    Args:
        reading: calls a function with a database that is open for reading.
        measure: asks the leading controller; None where nobody leads, or it does not answer.
    """

    def __init__(self, reading: Reading, measure: Callable[[], dict[str, Any] | None]) -> None:
        self._reading = reading
        self._measure = measure

    def describe(self) -> list[Metric]:
        """Returns nothing: what there is, a scrape shows."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields every metric."""
        yield _gauge("clearance_info", "The version of this program.", ["version"], [([clearance.__version__], 1)])
        yield from self._reading(_of_database)
        counted = self._measure()
        up = counted is not None
        yield _gauge("clearance_controller_up", "1 while a controller leads and answers.", [], [([], up)])
        if counted is not None:
            yield from _of_controller(counted)


def registry(reading: Reading, measure: Callable[[], dict[str, Any] | None]) -> CollectorRegistry:
    """Returns a registry that holds this installation, and nothing of the process."""
    made = CollectorRegistry(auto_describe=False)
    made.register(Collector(reading, measure))
    return made


def exposition(made: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Returns the text of a scrape and its content type, in the format that the scraper accepts."""
    encode, content_type = choose_encoder(accept)
    return encode(made), content_type


def _of_database(database: Database) -> list[Metric]:
    runs = dict(database.rows("run_states"))
    tasks = dict(database.rows("task_states"))
    services: dict[str, int] = {}
    for row in database.rows("services"):
        services[row[7]] = services.get(row[7], 0) + 1
    deliveries = {(sink, state): count for sink, state, count in database.rows("deliveries_summary")}
    lease = database.rows("lease_read", LEASE)
    now = time.time()
    epoch, expires = (lease[0][0], lease[0][3]) if lease else (0, 0.0)
    return [
        _gauge("clearance_runs", "Runs by state.", ["state"], [([s], runs.get(s, 0)) for s in RunState]),
        _gauge(
            "clearance_tasks", "Task instances of runs that have not finished, by state.", ["state"],
            [([s], tasks.get(s, 0)) for s in TaskState],
        ),
        _gauge(
            "clearance_services", "Services by state.", ["state"], [([s], services.get(s, 0)) for s in ServiceState]
        ),
        _gauge(
            "clearance_deliveries", "Remembered deliveries to sinks, by state.", ["sink", "state"],
            [([sink, s], deliveries.get((sink, s), 0)) for sink in sorted({sink for sink, _ in deliveries})
             for s in _DELIVERIES],
        ),
        _gauge("clearance_lease_epoch", "Epoch of the lease: grows with each controller.", [], [([], epoch)]),
        _gauge(
            "clearance_lease_remaining_seconds", "Until the lease ends unless it is renewed.", [],
            [([], max(0.0, expires - now))],
        ),
    ]  # fmt: skip


def _of_controller(counted: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge("clearance_queue_depth", "Task instances that wait for capacity.", [], [([], counted["queue"])])
    nodes = counted["slots"]
    for name, at, text in (("allocated", 0, "given out"), ("capacity", 1, "that there is")):
        yield _gauge(
            f"clearance_engine_{name}", f"Of a node: CPUs, GPUs, bytes of memory, {text}.", ["node", "resource"],
            [([node, key], amount[at] / (1000 if key in ("cpu", "gpu") else 1))
             for node, resources in nodes.items() for key, amount in resources.items()],
        )  # fmt: skip
    yield from _of_queues(counted["queues"])
    yield _counter("clearance_scheduler_decisions", "Answers of the capacity desk, by verdict.", ["verdict"],
                   [([verdict], count) for verdict, count in counted["decisions"].items()])  # fmt: skip
    yield _counter("clearance_task_transitions", "Committed changes of a task instance to a state.", ["state"],
                   [([state], count) for state, count in counted["tasks"].items()])  # fmt: skip
    yield _counter("clearance_runs_finished", "Runs that ended in a state.", ["state"],
                   [([state], count) for state, count in counted["runs"].items()])  # fmt: skip
    yield _counter("clearance_deliveries_finished", "Deliveries that were made, or given up.", ["sink", "state"],
                   [([sink, state], count) for sink, state, count in counted["deliveries"]])  # fmt: skip
    latency = HistogramMetricFamily(
        "clearance_scheduling_latency_seconds", "From when a task instance is ready to when its launch is committed."
    )
    _add(latency, [], counted["latency"])
    yield latency
    durations = HistogramMetricFamily(
        "clearance_attempt_duration_seconds", "From the launch of an attempt to the commit of its end.",
        labels=["outcome"],
    )  # fmt: skip
    for outcome, histogram in counted["durations"].items():
        _add(durations, [outcome], histogram)
    yield durations


def _of_queues(queues: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge(
        "clearance_cluster_queue_jobs", "Jobs in a queue and below it that run, or wait.", ["queue", "state"],
        [([path, state], queue[key]) for path, queue in queues.items()
         for state, key in (("running", "run"), ("waiting", "wait"))],
    )  # fmt: skip
    for at, name, text in ((0, "used", "used"), (1, "guaranteed", "guaranteed"), (2, "max", "that may be used")):
        yield _gauge(
            f"clearance_cluster_queue_{name}", f"Of a queue: CPUs, GPUs, bytes, {text}.", ["queue", "resource"],
            [([path, key], amount[at] / (1000 if key in ("cpu", "gpu") else 1))
             for path, queue in queues.items() for key, amount in queue["amounts"].items() if amount[at] is not None],
        )  # fmt: skip


def _add(family: HistogramMetricFamily, labels: list[str], histogram: dict[str, Any]) -> None:
    names = [*(f"{bound:g}" for bound in histogram["bounds"]), "+Inf"]
    family.add_metric(labels, list(zip(names, histogram["counts"], strict=True)), histogram["sum"])


def _gauge(name: str, text: str, labels: list[str], values: list[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label, value in values:
        family.add_metric([str(one) for one in label], float(value))
    return family


def _counter(name: str, text: str, labels: list[str], values: list[tuple[list[str], float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for label, value in values:
        family.add_metric(label, float(value))
    return family
