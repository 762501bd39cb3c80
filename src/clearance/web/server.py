"""The process that serves the API: `python -m clearance.web.server HOST PORT`, the token on standard input.

It is a process of its own, so that a slow client never holds the controller up. It ends when its standard input closes.
"""

from __future__ import annotations

import sys
import threading

from clearance.errors import MissingExtra
from clearance.settings import load
from clearance.types.secret import Secret


def main(host: str, port: int) -> None:
    """Serves until standard input closes.

    Raises:
        MissingExtra: FastAPI, uvicorn or prometheus-client is not installed.
        UsageError: the token of `/metrics` is missing.
    """
    try:
        import uvicorn

        from clearance.web.api import create_app
    except ImportError:
        raise MissingExtra("FastAPI", "web") from None
    token = sys.stdin.readline().strip()
    settings = load()
    scraping = Secret.parse(settings.metrics_token).reveal() if settings.metrics_token else ""
    config = uvicorn.Config(
        create_app(settings, token, scraping), host=host, port=port, log_level="warning", access_log=False,
        server_header=False,
    )  # fmt: skip
    server = uvicorn.Server(config)

    def watch() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
