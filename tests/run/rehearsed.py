"""Pipelines that `tests/run/rehearsal/test_testing.py` tests in this process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clearance import Defer, File, Markdown, Retry, Skip, asset, context, dag, every, group, task
from clearance.operators import approval, sensor, time_sensor, trigger_dag, wait_for

CALLS: list[str] = []
LAKE = asset("s3://lake/images")


@dataclass
class Report:
    total: float
    count: int


@task
def numbers(count: int = 3) -> list[int]:
    CALLS.append("numbers")
    return list(range(count))


@task(retries=Retry(2, delay=3600, max_delay=1e5, jitter=False))
def half(x: int) -> float:
    CALLS.append(f"half {x}")
    return x / 2


@task
def total(xs: list[float]) -> Report:
    return Report(sum(xs), len(xs))


@task
def keep(report: Report) -> File:
    path = context.directory / "total.txt"
    path.write_text(str(report.total))
    context.card(Markdown("kept"))
    return File(path)


@dag
def sums(count: int = 3):
    keep(total(half.map(x=numbers(count))))


@task
def choose(way: str = "left") -> str:
    return way


@task
def left(way: str) -> int:
    if way != "left":
        raise Skip("not this way")
    return 1


@task
def right(way: str) -> int:
    if way != "right":
        raise Skip("not this way")
    return 2


@task(trigger_rule="none_failed_min_one_success")
def join(a: int | None, b: int | None) -> list[int | None]:
    return [a, b]


@dag
def branches(way: str = "left"):
    way_ = choose(way)
    join(left(way_), right(way_))


@group
def each(x: int):
    return total([half(x), half.named("again")(x)])


@dag
def grouped(xs: list[int]):
    gather(each.map(x=xs))


@task
def gather(reports: list[Report]) -> float:
    return sum(report.total for report in reports)


@task
def ship(said: dict[str, str]) -> str:
    return said["by"]


@dag
def asks():
    ship(approval("release", message="Ship it?", approvers=["mia", "group:leads"], timeout="2d"))


@sensor(poke_interval="10m", timeout="1d")
def arrived() -> str | None:
    after = context.resumed
    return "here" if after is not None and after.times == 5 else None


@sensor(poke_interval="10m", timeout="1h")
def never() -> str | None:
    return None


waits = dag("waits", [arrived, time_sensor("new_year", datetime(2026, 1, 2, tzinfo=UTC))])
too_late = dag("too_late", never)


@task(outlets=[LAKE])
def write() -> int:
    return 1


writes = dag("writes", [write, wait_for(LAKE), wait_for(asset("s3://lake/other"), name="other")])
starts = dag("starts", trigger_dag("train", "training", wait=True))


@task
def forever() -> int:
    raise Defer(seconds=1)


endless = dag("endless", forever)


@task
def object_() -> object:
    return object()


@task
def misfit() -> int:
    return "three"  # type: ignore[return-value]


bad = dag("bad", [object_, misfit])


@task
def interval() -> list[str]:
    found = context.data_interval
    return [] if found is None else [str(found.start), str(found.end)]


daily = dag("daily", interval, schedule=every("1d"))


@task
def where() -> str:
    return str(Path.cwd() == context.directory)


place = dag("place", where)
