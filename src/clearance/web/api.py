"""The REST API of an installation, for people's tools on this machine.

Every route under `/api/v1` asks for the bearer token that `clearance up` prints; errors are problem+json (RFC 9457).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

import clearance
from clearance.errors import ClearanceError, UsageError
from clearance.run import rows
from clearance.run.host import lease
from clearance.run.host.client import Client
from clearance.run.host.messages import Accepted, Answer, As, Cancel, Resume, StopService
from clearance.run.host.messages import Request as Command
from clearance.run.host.orders import Measure
from clearance.run.look import views
from clearance.run.look.search import conditions
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.trust.identity import PREFIX, Identities
from clearance.trust.providers import Tokens, load_provider
from clearance.trust.refusal import Rejected
from clearance.types.principal import Principal
from clearance.web import automation, metrics, yunikorn

CALLER: ContextVar[Principal | None] = ContextVar("caller", default=None)  # of a request; None: the owner
STATUS = {2: 400, 3: 403, 1: 409}
MISSING = ("no run", "no backfill", "no DAG")


def create_app(settings: Settings, token: str, metrics_token: str = "") -> FastAPI:
    """Returns the application.

    Args:
        settings: which home.
        token: what a caller must bear; only its digest is kept.
        metrics_token: with which `/metrics` alone can be read too; empty for none.
    """
    expected = hashlib.sha256(token.encode()).digest()
    scraping = [expected, *([hashlib.sha256(metrics_token.encode()).digest()] if metrics_token else [])]

    def bears(authorization: str, tokens: list[bytes]) -> None:
        scheme, _, given = authorization.partition(" ")
        digest = hashlib.sha256(given.strip().encode()).digest()
        same = [hmac.compare_digest(digest, each) for each in tokens]
        if scheme.lower() != "bearer" or not any(same):
            raise HTTPException(401, "send the token that `clearance up` printed", {"WWW-Authenticate": "Bearer"})

    provider = load_provider(Path(settings.identity_provider)) if settings.identity_provider else None
    tokens = Tokens(provider) if provider else None

    def known(identities: Identities, given: str, is_token: bool) -> Principal:
        now = time.time()
        if is_token and tokens is not None and provider is not None:
            return identities.by_token(tokens.verify(given, now), provider)
        return identities.by_api_key(given, now)

    async def authenticated(request: Request, authorization: Annotated[str, Header()] = "") -> None:
        given = authorization.partition(" ")[2].strip()
        is_token = tokens is not None and given.count(".") == 2
        if not given.startswith(f"{PREFIX}_") and not is_token:
            bears(authorization, [expected])
            CALLER.set(None)
            return
        try:
            principal = await run_in_threadpool(reading, lambda database: known(Identities(database), given, is_token))
        except Rejected as error:
            raise HTTPException(401, str(error), {"WWW-Authenticate": "Bearer"}) from None
        if not {"admin", "operator", "viewer"}.intersection(principal.roles):
            raise HTTPException(
                403, f"{principal.name} has no role here: `clearance user add {principal.name} --role viewer`"
            )
        if request.method != "GET" and not {"admin", "operator"}.intersection(principal.roles):
            raise HTTPException(403, f"{principal.name} may look, and change nothing: that needs the role operator")
        CALLER.set(principal)

    app = FastAPI(title="Clearance", version=clearance.__version__, docs_url=None, redoc_url=None, openapi_url=None)
    router = APIRouter(prefix="/api/v1", dependencies=[Depends(authenticated)])

    def reading(read: Callable[[Database], Any]) -> Any:
        with Database(settings.database, read_only=True) as database:
            return read(database)

    def tell(command: Command) -> Any:
        held = reading(lambda database: lease.holder(database, time.time()))
        if held is None:
            raise HTTPException(503, "no controller leads at this moment", {"Retry-After": "1"})
        with Client(held.address) as client:
            caller = CALLER.get()
            reply = client.ask(command if caller is None else As(caller, command))
        return reply.changed if isinstance(reply, Accepted) else reply.value if isinstance(reply, Answer) else None

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "version": clearance.__version__}

    def measured() -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = tell(Measure())
        except (HTTPException, ClearanceError):
            return None
        return found

    scraped = metrics.registry(reading, measured)

    @app.get("/metrics")
    def show_metrics(authorization: Annotated[str, Header()] = "", accept: Annotated[str, Header()] = "") -> Response:
        bears(authorization, scraping)
        text, content_type = metrics.exposition(scraped, accept)
        return Response(text, headers={"Content-Type": content_type})

    @router.get("/runs")
    def list_runs(dag: str = "", limit: Annotated[int, Query(ge=1, le=10_000)] = 50) -> Any:
        return reading(lambda database: views.runs(database, conditions(dag=dag), limit))

    @router.get("/run")
    def show_run(id: str, state: str = "", limit: Annotated[int, Query(ge=0, le=10_000)] = views.LIMIT) -> Any:
        return reading(lambda database: views.run(database, id, state, limit))

    @router.get("/why")
    def why(run: str, task: str = "") -> Any:
        return reading(lambda database: views.why(database, run, task))

    @router.get("/services")
    def services() -> Any:
        found = reading(rows.services)
        return [
            {
                "name": row.name,
                "state": row.state,
                "url": rows.address(row),
                "message": row.message,
                "starts": row.epoch,
            }
            for row in found
        ]

    @router.post("/cancel", status_code=202)
    def cancel(run: str) -> dict[str, bool]:
        return {"changed": bool(tell(Cancel(run)))}

    @router.post("/retry", status_code=202)
    def retry(run: str, task: str = "") -> dict[str, bool]:
        return {"changed": bool(tell(Resume(run, [task] if task else None)))}

    @router.post("/services/stop", status_code=202)
    def stop_service(name: str) -> dict[str, bool]:
        return {"changed": bool(tell(StopService(name)))}

    router.include_router(automation.router(reading, tell))
    app.include_router(router)
    app.include_router(yunikorn.router(tell, [Depends(authenticated)]))

    @app.exception_handler(ClearanceError)
    def refused(_: Request, error: ClearanceError) -> JSONResponse:
        missing = error.exit_code == UsageError.exit_code and str(error).startswith(MISSING)
        return _problem(404 if missing else STATUS.get(error.exit_code, 500), str(error))

    @app.exception_handler(StarletteHTTPException)
    def http_error(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        shown = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return _problem(422, shown)

    return app


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    from http import HTTPStatus

    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")
