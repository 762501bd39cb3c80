"""`clearance up`: lead in the foreground, and serve the API on loopback."""

from __future__ import annotations

import importlib.util
import ipaddress
import secrets
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from clearance.cli.known import registration
from clearance.cli.nodes import offering
from clearance.errors import MissingExtra, Refused
from clearance.types.secret import Secret

if TYPE_CHECKING:
    from clearance.run.host.orders import Register
    from clearance.settings import Settings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the API; only loopback.")
@click.option("--port", default=8470, type=click.IntRange(1, 65535), show_default=True, help="Port of the API.")
@click.option("--no-api", is_flag=True, help="Lead without an API.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="How many CPUs to offer; default: this machine's.")
@click.option("--nodes", metavar="SPEC", help="Virtual nodes to offer, such as 2x1cpu or big=2x4cpu+16Gi+2gpu.")
@click.argument("files", nargs=-1, metavar="[FILE[:DAG]]...")
def up(host: str, port: int, no_api: bool, workers: int | None, nodes: str | None, files: tuple[str, ...]) -> None:
    """Lead until Ctrl-C: take submitted runs, fire schedules, keep services running, answer the API.

    The DAGs of FILEs are registered first: they run by their schedules and by assets, until `clearance dag unregister`.
    Stands by while another controller leads. Tasks and services go on when it stops; the next controller adopts them.
    """
    from clearance.settings import load

    settings = load()
    settings = offering(settings, workers, nodes)
    _check_loopback(host)
    if not no_api and not all(map(importlib.util.find_spec, ("fastapi", "uvicorn", "prometheus_client"))):
        raise MissingExtra("FastAPI", "web")
    if not no_api and settings.metrics_token:
        Secret.parse(settings.metrics_token).reveal()
    settings.make_home()
    requests = [registration(settings, target) for target in files]
    api = None if no_api else _start_api(settings, host, port)
    try:
        _lead(settings, requests)
    finally:
        if api is not None:
            api.terminate()
            api.wait()


def _check_loopback(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise Refused(
            f"{host} is a public address, and the API has neither TLS nor an identity provider: "
            "use 127.0.0.1, and a reverse proxy or an SSH tunnel to reach it from elsewhere"
        )


def _start_api(settings: Settings, host: str, port: int) -> subprocess.Popen[str]:
    import os

    token = secrets.token_urlsafe(32)
    process = subprocess.Popen(
        [sys.executable, "-m", "clearance.web.server", host, str(port)],
        stdin=subprocess.PIPE, text=True, start_new_session=True,
        env=dict(os.environ) | settings.environment(),
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(f"{token}\n")
    process.stdin.flush()
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"API   http://{shown}:{port}/api/v1\ntoken {token}")
    return process


def _lead(settings: Settings, requests: Sequence[Register]) -> None:
    from clearance.run.host.standing import stand_by

    stand_by(settings, click.echo, requests)
