"""The connections of a replica, counted: when the last one is closed, nobody waits for an answer any more."""

from __future__ import annotations

import asyncio
from typing import Any

SETTLING = 1.0  # seconds that a connection may take from its acceptance to the end of its handshake


class Connections:
    """See the module."""

    def __init__(self) -> None:
        self._open = 0
        self._none = asyncio.Event()
        self._none.set()

    def counted(self, protocol: Any) -> Any:
        """Returns uvicorn's class of a connection, whose instances are counted."""
        outer = self

        class Counted(protocol):  # type: ignore[misc]
            def connection_made(self, transport: Any) -> None:
                outer._change(1)
                super().connection_made(transport)

            def connection_lost(self, error: Exception | None) -> None:
                super().connection_lost(error)
                outer._change(-1)

        return Counted

    async def over(self, timeout: float) -> None:
        """Waits until all that were accepted are closed, or so many seconds."""
        await asyncio.sleep(min(SETTLING, timeout))
        try:
            async with asyncio.timeout(max(timeout - SETTLING, 0.0)):
                await self._none.wait()
        except TimeoutError:
            return

    def _change(self, by: int) -> None:
        self._open += by
        if self._open:
            self._none.clear()
        else:
            self._none.set()
