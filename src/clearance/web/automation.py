"""The part of the REST API for what starts by itself and what waits for people: approvals, assets, backfills, DAGs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from clearance.errors import UsageError
from clearance.graph.asset import normal
from clearance.run.host.messages import Decide
from clearance.run.host.messages import Request as Command
from clearance.run.host.orders import ChangeBackfill, CreateBackfill, Emit, PauseDag
from clearance.run.look import asking, automation
from clearance.run.redo import entries
from clearance.run.starts import causes, dags
from clearance.store.database import Database

Limit = Annotated[int, Query(ge=1, le=10_000)]
Many = Annotated[int, Query(ge=1)]
Reading = Callable[[Callable[[Database], Any]], Any]
Tell = Callable[[Command], Any]


def router(reading: Reading, tell: Tell) -> APIRouter:
    """Returns the routes.

    Args:
        reading: calls a function with the database, read-only.
        tell: has the leading controller answer a command.
    """
    router = APIRouter()
    _approvals(router, reading, tell)
    _assets(router, reading, tell)
    _backfills(router, reading, tell)
    _dags(router, reading, tell)
    return router


def _approvals(router: APIRouter, reading: Reading, tell: Tell) -> None:
    @router.get("/approvals")
    def approvals(run: str = "", limit: Limit = 50) -> Any:
        return reading(lambda database: asking.approvals(database, run, limit))

    @router.post("/approvals/decide")
    def decide(run: str, task: str, decision: Literal["approved", "rejected"], note: str = "") -> Any:
        if decision == "rejected" and not note.strip():
            raise UsageError("say why: note= is kept with the decision")
        return {"run": run, "task": task, **tell(Decide(run, task, decision, note))}

    @router.get("/cache/explain")
    def explain(run: str, task: str) -> Any:
        return reading(lambda database: entries.explain(database, run, task))


def _assets(router: APIRouter, reading: Reading, tell: Tell) -> None:
    @router.get("/assets/events")
    def events(asset: str = "", limit: Limit = 50) -> Any:
        return reading(lambda database: automation.asset_events(database, asset, limit))

    @router.get("/assets/why")
    def why(dag: str = "") -> Any:
        return reading(lambda database: automation.asset_why(database, dag))

    @router.post("/assets/emit")
    def emit(asset: str, key: Annotated[str | None, Query(min_length=1)] = None, id: str = "") -> Any:
        return tell(Emit(normal(asset), key, id))


def _backfills(router: APIRouter, reading: Reading, tell: Tell) -> None:
    @router.get("/backfills")
    def backfills(limit: Limit = 50) -> Any:
        return reading(lambda database: automation.backfills(database, limit))

    @router.get("/backfill")
    def backfill(id: str) -> Any:
        return reading(lambda database: automation.show_backfill(database, id))

    @router.post("/backfills", status_code=201)
    def create(
        dag: str,
        start: Annotated[str, Query(alias="from")],
        end: Annotated[str, Query(alias="to")],
        only: str = "missing",
        order: Literal["oldest", "newest"] = "oldest",
        concurrency: Many = 1,
        dry_run: bool = False,
    ) -> Any:
        which = tuple(dict.fromkeys(word.strip() for word in only.split(",")))
        between = causes.read(start, "from"), causes.read(end, "to")
        return tell(CreateBackfill(dag, *between, which, order == "newest", concurrency, dry_run))

    def change(name: str, to: str) -> None:
        @router.post(f"/backfills/{name}", status_code=202, name=f"{name}_backfill")
        def changed(id: str) -> dict[str, bool]:
            return {"changed": bool(tell(ChangeBackfill(id, to)))}

    for name, to in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        change(name, to)


def _dags(router: APIRouter, reading: Reading, tell: Tell) -> None:
    @router.get("/dags")
    def known() -> Any:
        return reading(automation.known_dags)

    @router.post("/dags/pause", status_code=202)
    def pause(dag: str) -> dict[str, bool]:
        return {"changed": bool(tell(PauseDag(dag, True)))}

    @router.post("/dags/unpause", status_code=202)
    def unpause(dag: str) -> dict[str, bool]:
        return {"changed": bool(tell(PauseDag(dag, False)))}

    @router.get("/schedules/next")
    def next_fires(dag: str, count: Limit = 1, start: Annotated[str, Query(alias="from")] = "") -> list[str]:
        after = datetime.fromtimestamp(causes.read(start, "from") if start else time.time(), UTC)
        schedule = reading(lambda database: dags.version_of(database, dags.known(database, dag).version).graph.schedule)
        if schedule is None or not schedule.timed:
            raise UsageError(f"dag {dag!r} fires at no time of its own: it has {schedule or 'no schedule'}")
        return [fire.isoformat() for fire in schedule.fires(after, count)]
