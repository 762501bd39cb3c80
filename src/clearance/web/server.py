"""The process that serves the API: `python -m clearance.web.server HOST PORT`, the token on standard input.

It is a process of its own, so that a slow client never holds the controller up. It ends when its standard input closes.
"""

from __future__ import annotations

import sys
import threading

from clearance.errors import MissingExtra
from clearance.settings import load


def main(host: str, port: int) -> None:
    """Serves until standard input closes.

    Raises:
        MissingExtra: FastAPI or uvicorn is not installed.
    """
    try:
        import uvicorn

        from clearance.web.api import create_app
    except ImportError:
        raise MissingExtra("FastAPI", "web") from None
    token = sys.stdin.readline().strip()
    config = uvicorn.Config(
        create_app(load(), token), host=host, port=port, log_level="warning", access_log=False, server_header=False
    )
    server = uvicorn.Server(config)

    def watch() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
