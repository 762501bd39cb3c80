"""The HTTP face of one replica.

| request | answer |
|---|---|
| `POST /v1/predict` | the output as JSON; needs the bearer token and `application/json` |
| `GET /v1/model` | name, digest, files, metadata of the model; needs the token |
| `GET /health` | `{"status": "ok", "model": digest}`; 503 while draining |

Every error is `application/problem+json` (RFC 9457): 400 malformed JSON, 401 (RFC 6750), 404, 405, 408, 413, 415,
422 input that does not fit the schema (it names the path), 500 without internals, 503 busy or draining.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import inspect
import re
import sys
import time
import traceback
import typing
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearance.errors import NotSerialisable, UsageError
from clearance.serve.config import ReplicaConfig
from clearance.store import plain
from clearance.types.references import Model

_AT = re.compile(r" - at `(.*)`\Z", re.DOTALL)
_encoder = msgspec.json.Encoder(enc_hook=lambda value: _lower(value))


class Application:
    """Answers requests with one loaded predictor.

    Args:
        config: of the replica.
        model: verified and materialised.
        answer: what the predictor returned.

    Raises:
        UsageError: `answer` cannot be called with one input.
    """

    def __init__(self, config: ReplicaConfig, model: Model, answer: Callable[[Any], Any]) -> None:
        self._config = config
        self._model = model
        self._answer = answer
        self._decoder = _decoder_of(answer, config.predictor)
        self._threads = ThreadPoolExecutor(config.concurrency, "predict")
        self._draining = self._leaving = False
        self._pending = 0
        self._idle = asyncio.Event()
        self._idle.set()
        starlette = Starlette(
            routes=[
                Route("/v1/predict", self._predict, methods=["POST"]),
                Route("/v1/model", self._describe, methods=["GET"]),
                Route("/health", self._health, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _problem, Exception: _failed},
        )
        self.asgi: ASGIApp = _AccessLog(self._closing(starlette))

    def leave(self) -> None:
        """Answers as before, but closes each connection with the answer: a successor takes the next ones."""
        self._leaving = True

    def _closing(self, app: ASGIApp) -> ASGIApp:
        async def closing(scope: Scope, receive: Receive, send: Send) -> None:
            async def close(message: Message) -> None:
                if self._leaving and message["type"] == "http.response.start":
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
                await send(message)

            await app(scope, receive, close)

        return closing

    async def drain(self, timeout: float) -> None:
        """Refuses new requests and waits until those in flight are answered, or so many seconds."""
        self._draining = True
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            _log(event="drain", unanswered=self._pending)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _health(self, request: Request) -> Response:
        if self._draining:
            raise _refuse(503, "this replica is draining")
        return _json({"status": "ok", "model": self._model.digest})

    async def _describe(self, request: Request) -> Response:
        self._authenticate(request)
        return _json(
            {"name": self._config.name, "model": self._model.digest, "metadata": self._model.metadata}
            | {"files": sorted(path.relative_to(self._model.path).as_posix() for path in _files(self._model))}
        )

    async def _predict(self, request: Request) -> Response:
        self._authenticate(request)
        if self._draining:
            raise _refuse(503, "this replica is draining", {"Retry-After": "1", "Connection": "close"})
        if self._pending >= self._config.concurrency + self._config.queue:
            raise _refuse(503, "too many requests are waiting", {"Retry-After": "1"})
        self._pending += 1
        self._idle.clear()
        try:
            body = await self._body(request)
            value = self._decode(body)
            loop = asyncio.get_running_loop()
            return Response(await loop.run_in_executor(self._threads, self._compute, value), media_type=_JSON)
        except UsageError as error:
            raise _refuse(422, str(error)) from None
        except HTTPException:
            raise
        except Exception as error:
            return await _failed(request, error)
        finally:
            self._pending -= 1
            if not self._pending:
                self._idle.set()

    def _decode(self, body: bytes) -> Any:
        try:
            try:
                return self._decoder.decode(body)
            except msgspec.ValidationError as error:
                msgspec.json.decode(body)  # what is no JSON at all is 400, however early it does not fit
                raise _unfit(str(error)) from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise _refuse(400, f"the body is not JSON: {error}") from None

    def _compute(self, value: Any) -> bytes:
        answer = self._answer(value)
        try:
            return _encoder.encode(answer)
        except (NotSerialisable, TypeError, ValueError) as error:
            raise RuntimeError(f"the predictor's answer cannot be written as JSON: {error}") from None

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _refuse(401, "a bearer token is needed", {"WWW-Authenticate": 'Bearer realm="clearance"'})
        found = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
        if not hmac.compare_digest(found, self._config.token_sha256):
            challenge = 'Bearer realm="clearance", error="invalid_token"'
            raise _refuse(401, "the bearer token is wrong", {"WWW-Authenticate": challenge})

    async def _body(self, request: Request) -> bytes:
        kind, _, parameters = request.headers.get("content-type", "").partition(";")
        charset = parameters.strip().lower().replace('"', "")
        if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
            raise _refuse(415, "send application/json in UTF-8", {"Accept": "application/json"})
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise _refuse(415, "send the body uncompressed", {"Accept-Encoding": "identity"})
        limit = self._config.body_limit
        too_large = _refuse(413, f"the body has more than {limit} bytes", {"Connection": "close"})
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._config.body_timeout):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > limit:
                        raise too_large
                    body += chunk
        except TimeoutError:
            raise _refuse(408, "the body did not arrive in time", {"Connection": "close"}) from None
        except ClientDisconnect:
            raise _refuse(400, "the connection was closed before the body was whole") from None
        return bytes(body)


class _AccessLog:
    """Writes one JSON line a request to standard output: no query, no header, no body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        status = 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            if scope["type"] == "http":
                milliseconds = round((time.perf_counter() - start) * 1000, 3)
                _log(method=scope["method"], path=scope["path"][:200], status=status, milliseconds=milliseconds)


_JSON = "application/json"


def _decoder_of(answer: Callable[[Any], Any], predictor: str) -> msgspec.json.Decoder[Any]:
    """Returns the decoder for the annotation of the one parameter."""
    if not callable(answer):
        raise UsageError(f"the predictor {predictor} returned no function: return answer(input)")
    function = answer if inspect.isroutine(answer) else type(answer).__call__
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"the predictor {predictor} returned a coroutine function: return an ordinary one")
    parameters = list(inspect.signature(answer).parameters.values())
    if not parameters or any(item.default is item.empty and item.kind <= 1 for item in parameters[1:]):
        raise UsageError(f"the predictor {predictor} returned a function that does not take exactly one input")
    try:
        annotation = typing.get_type_hints(function).get(parameters[0].name, Any)
        return msgspec.json.Decoder(annotation)
    except (NameError, TypeError) as error:
        raise UsageError(f"the input annotation of the predictor {predictor} is no schema: {error}") from None


def _files(model: Model) -> list[Any]:
    return [path for path in model.path.rglob("*") if path.is_file()]


def _lower(value: Any) -> Any:
    if any(f"{base.__module__}.{base.__name__}" == "numpy.ndarray" for base in type(value).__mro__):
        return value.tolist()
    return plain.lower(value)


def _json(value: Any) -> Response:
    return Response(_encoder.encode(value), media_type=_JSON)


def _log(**facts: Any) -> None:
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())} | facts
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


def _refuse(status: int, detail: str, headers: Mapping[str, str] | None = None) -> HTTPException:
    return HTTPException(status, detail, headers)


def _unfit(message: str) -> HTTPException:
    """Returns 422 with the path of the wrong part as a member of its own (`$.rows[2].age`)."""
    match = _AT.search(message)
    error = _refuse(422, f"the input does not fit: {message}")
    error.path = match[1] if match else "$"  # type: ignore[attr-defined]
    return error


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    members = {
        "type": "about:blank",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "detail": error.detail,
    }
    if path := getattr(error, "path", None):
        members["path"] = path
    return Response(
        msgspec.json.encode(members), error.status_code, error.headers, media_type="application/problem+json"
    )


async def _failed(request: Request, error: Exception) -> Response:
    name = f"urn:uuid:{uuid.uuid4()}"
    text = "".join(traceback.format_exception(error))
    sys.stderr.write(f"{name}: {text}")
    sys.stderr.flush()
    members = {
        "type": "about:blank",
        "title": HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
        "status": 500,
        "detail": "the predictor failed; its owner finds the reason in the log of this replica",
        "instance": name,
    }
    return Response(msgspec.json.encode(members), 500, media_type="application/problem+json")
