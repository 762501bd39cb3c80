"""The process behind an endpoint: verify the model, load it, answer over TLS, drain on SIGTERM.

Order at the start, and the error that ends it: the model's signature by the installation's public key (`Refused`),
each file's digest while it is made from the blobs (`Corrupt`), the predictor (`UsageError`, or what its code raises),
TLS and the port (`EngineError`). Only then `ready` is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearance.errors import EngineError, MissingExtra, Refused, UsageError
from clearance.serve import handover
from clearance.serve.config import ReplicaConfig, parse_config
from clearance.serve.connections import Connections
from clearance.types.references import Model

if TYPE_CHECKING:
    import ssl

    from clearance.serve.application import Application

Ready = Callable[[dict[str, Any]], None]
RELOAD = 30.0


def main(config: dict[str, Any], ready: Ready | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is in flight and returns.

    Args:
        config: the fields of `clearance.serve.config.ReplicaConfig`, as JSON.
        ready: told `url`, `port`, `health` (a URL) and `authority` (who signed its certificate) once requests are
            answered; default `clearance.context.ready`.

    Raises:
        UsageError: the configuration or the predictor is wrong.
        Refused: the model's signature is missing, wrong, or of another key.
        Corrupt: a file of the model does not have its digest.
        EngineError: the port is taken.
        MissingExtra: starlette or uvicorn is not installed.
    """
    parsed = parse_config(config)
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra(str(error.name), "serve") from None
    try:
        folder = Path(tempfile.mkdtemp(prefix="model-", dir=parsed.directory or os.getcwd()))
    except OSError as error:
        raise EngineError(f"cannot make a folder for the model of {parsed.name!r}: {error}; name another one") from None
    try:
        model = load_model(parsed, folder / "files")
        answer = load_predictor(parsed.predictor)(model)
        asyncio.run(_serve(parsed, model, answer, ready or _context_ready))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load_model(config: ReplicaConfig, target: Path) -> Model:
    """Makes the model's files in `target`, once its signature is verified.

    Raises:
        Refused: the signature is missing, wrong, of another key, or over other files.
        Corrupt: a file or the manifest does not have its digest.
        StoreError: a blob is missing.
    """
    from clearance.store import tree
    from clearance.store.blobs import open_blobs
    from clearance.store.serializers import read_bytes
    from clearance.trust import oms
    from clearance.trust.keys import load_public_key

    if config.artifact.digest != config.model:
        raise Refused(f"endpoint {config.name!r} serves {config.model} and was given {config.artifact.digest}")
    blobs = open_blobs(config.blobs)
    manifest = tree.decode(read_bytes(config.artifact, blobs))
    try:
        signature = Path(config.signature).read_bytes()
    except OSError as error:
        raise Refused(
            f"the model of {config.name!r} has no signature at {config.signature}: {error.strerror}"
        ) from None
    oms.verify_files(signature, load_public_key(Path(config.public_key)), oms.files_of(manifest))
    tree.materialise_tree(manifest, blobs, target)
    return Model(target, config.model, dict(config.artifact.metadata))


def load_predictor(name: str) -> Callable[[Model], Callable[[Any], Any]]:
    """Imports `module:function`.

    Raises:
        UsageError: no such module or function.
    """
    module, _, function = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"the predictor {name!r} cannot be imported: {error}") from None
    if not callable(found):
        raise UsageError(f"the predictor {name!r} is no function")
    return found  # type: ignore[no-any-return]


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """Returns a server's context: TLS 1.2 at least, 1.3 preferred, forward secrecy only.

    Raises:
        EngineError: the files cannot be used.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise EngineError(f"cannot serve with {certificate} and {key}: {error}; provision the endpoint again") from None
    return context


async def _serve(config: ReplicaConfig, model: Model, answer: Callable[[Any], Any], ready: Ready) -> None:
    import uvicorn

    from clearance.serve.application import Application

    application = Application(config, model, answer)
    directory = Path(config.directory or os.getcwd())
    taken = handover.take(directory, config.port) if config.takeover else None
    listener = taken[0] if taken is not None else _bind(config)
    settings = uvicorn.Config(
        application.asgi,
        ssl_certfile=config.certificate,
        ssl_keyfile=config.key,
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    settings.load()
    context = tls_context(config.certificate, config.key)
    settings.ssl = context
    connections = Connections()
    settings.http_protocol_class = connections.counted(settings.http_protocol_class)
    server = _server(settings)
    offer = handover.Offer(listener, directory)
    port = listener.getsockname()[1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    renewing = asyncio.create_task(_renew(context, config))
    stopping = asyncio.create_task(_stop(stop, application, server, config.drain, offer, connections))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    if server.started:
        offer.open()
        url = f"https://{host}:{port}"
        ready({"url": url, "port": port, "health": f"{url}/health", "authority": config.authority})
    try:
        await serving
    finally:
        offer.close()
        if taken is not None:
            taken[1].close()
        renewing.cancel()
        stopping.cancel()


async def _stop(
    stop: asyncio.Event,
    application: Application,
    server: Any,
    timeout: float,
    offer: handover.Offer,
    connections: Connections,
) -> None:
    await stop.wait()
    offer.close()
    if offer.taken:
        for each in server.servers:
            each.close()
        application.leave()
        await connections.over(timeout)
    await application.drain(timeout)
    server.should_exit = True


async def _renew(context: ssl.SSLContext, config: ReplicaConfig) -> None:
    """Takes up a renewed certificate for connections that come after it."""
    seen = os.stat(config.certificate).st_mtime_ns
    while True:
        await asyncio.sleep(RELOAD)
        with contextlib.suppress(OSError):  # ssl.SSLError is one: a file half replaced is tried again
            if (changed := os.stat(config.certificate).st_mtime_ns) != seen:
                context.load_cert_chain(config.certificate, config.key)
                seen = changed


def _bind(config: ReplicaConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it: head and body of an answer are two writes, and Nagle would hold back the second for 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        raise EngineError(
            f"endpoint {config.name!r} cannot listen on {config.host}:{config.port}: {error.strerror}; "
            "end what uses that port, or ask for port 0"
        ) from None
    listener.setblocking(False)
    return listener


def _context_ready(info: dict[str, Any]) -> None:
    import clearance

    clearance.context.ready(info)


def _server(settings: Any) -> Any:
    """Returns uvicorn without its own signal handling, which would end a drained process by the signal it got."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(settings)
