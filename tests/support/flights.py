"""DAGs that tests of schedules and assets make known: no-op tasks at the top level of a file."""

from __future__ import annotations

from typing import Any

from clearance import asset, dag, every, task
from clearance.graph.dag import Dag
from clearance.graph.schedule import Condition
from clearance.types.written import Written

A, B = asset("s3://lake/a"), asset("s3://lake/b")


@task
def work() -> int:
    return 1


@task(outlets=[A])
def write_a() -> int:
    return 1


@task(outlets=[B])
def write_b() -> int:
    return 1


@task
def write_parts() -> list[Written]:
    return []


def timed(name: str = "hourly", schedule: Condition | None = None, **options: Any) -> Dag:
    """A DAG of one task with a schedule, every hour unless it is said."""
    return dag(name, work, schedule=every("1h") if schedule is None else schedule, **options)


def waiting(name: str, schedule: Condition, **options: Any) -> Dag:
    """A DAG of one task that waits for assets."""
    return dag(name, work, schedule=schedule, **options)


producer_a = dag("producer_a", write_a)
producer_b = dag("producer_b", write_b)
producer_parts = dag("producer_parts", write_parts)
