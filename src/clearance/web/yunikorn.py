"""`/ws/v1`: the read paths of YuniKorn's REST API, for tools that speak it. They ask for the same token as the rest.

Errors have its form: `status_code`, `message`, `description`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from clearance.errors import ClearanceError, UsageError
from clearance.run.host.messages import Request as Command
from clearance.run.host.orders import ApplyQueues, LookAtCluster

Tell = Callable[[Command], Any]
PARTITION = "default"
LONGEST = 4 * 1024 * 1024


class Route(APIRoute):
    """Writes errors as YuniKorn does."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except HTTPException as error:
                return _error(error.status_code, str(error.detail), dict(error.headers or {}))
            except ClearanceError as error:
                return _error(404 if error.exit_code == UsageError.exit_code else 500, str(error))

        return answer


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    body = {"status_code": status, "message": message, "description": message}
    return JSONResponse(body, status, headers)


def router(tell: Tell, dependencies: list[Any]) -> APIRouter:
    """Returns the routes.

    Args:
        tell: has the leading controller answer a command.
        dependencies: of each route: who may ask.
    """
    router = APIRouter(prefix="/ws/v1", dependencies=dependencies, route_class=Route)

    def look(what: str, name: str = "", partition: str = PARTITION) -> Any:
        if partition != PARTITION:
            raise HTTPException(404, f"Partition {partition!r} not found: there is {PARTITION!r}")
        return tell(LookAtCluster(what, name))

    @router.get("/clusters")
    def clusters() -> Any:
        return [{"clusterName": "clearance", "rmInformation": []}]

    @router.get("/partitions")
    def partitions() -> Any:
        return look("partitions")

    @router.get("/partition/{partition}/queues")
    def queues(partition: str) -> Any:
        return look("queues", partition=partition)

    @router.get("/partition/{partition}/queue/{queue}")
    def queue(partition: str, queue: str, subtree: Annotated[str | None, Query()] = None) -> Any:
        return look("queue" if subtree is None else "queues", queue, partition)

    @router.get("/partition/{partition}/queue/{queue}/applications")
    def applications(partition: str, queue: str) -> Any:
        return look("applications", queue, partition)

    @router.get("/partition/{partition}/queue/{queue}/application/{application}")
    def application_of(partition: str, queue: str, application: str) -> Any:
        found = look("application", application, partition)
        if found.get("queueName", queue) != queue:
            raise HTTPException(404, f"Application {application!r} is not in queue {queue!r}")
        return found

    @router.get("/partition/{partition}/application/{application}")
    def application(partition: str, application: str) -> Any:
        return look("application", application, partition)

    @router.get("/partition/{partition}/nodes")
    def nodes(partition: str) -> Any:
        return look("nodes", partition=partition)

    @router.get("/partition/{partition}/node/{node}")
    def node(partition: str, node: str) -> Any:
        return look("node", node, partition)

    @router.get("/partition/{partition}/usage/users")
    def users(partition: str) -> Any:
        return look("users", partition=partition)

    @router.get("/partition/{partition}/usage/user/{user}")
    def user(partition: str, user: str) -> Any:
        return look("users", user, partition)[0]

    @router.get("/partition/{partition}/usage/groups")
    def groups(partition: str) -> Any:
        return look("groups", partition=partition)

    @router.get("/partition/{partition}/usage/group/{group}")
    def group(partition: str, group: str) -> Any:
        return look("groups", group, partition)[0]

    @router.get("/scheduler/healthcheck")
    def healthcheck() -> Any:
        return look("health")

    @router.get("/events/batch")
    def events(count: Annotated[int, Query(ge=1, le=10_000)] = 10_000, start: Annotated[int, Query(ge=0)] = 0) -> Any:
        return tell(LookAtCluster("events", f"{start} {count}"))

    @router.get("/config")
    def config() -> Any:
        return Response(tell(LookAtCluster("config")), media_type="application/x-yaml")

    @router.post("/validate-conf")
    async def validate(request: Request) -> Any:
        text = (await request.body()).decode("utf-8", "replace")
        if len(text) > LONGEST:
            raise HTTPException(413, f"the configuration is longer than {LONGEST} characters")
        try:
            await run_in_threadpool(tell, ApplyQueues(text, dry=True))
        except ClearanceError as error:
            return {"allowed": False, "reason": str(error)}
        return {"allowed": True, "reason": ""}

    return router
