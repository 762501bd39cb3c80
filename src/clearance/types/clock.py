"""The time that ready-made tasks go by: the machine's, or a test's own.

Cores take `now` as a parameter; this is for code of ours that runs inside a task, where nobody passes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_clock: ContextVar[Callable[[], float]] = ContextVar("clearance_clock", default=time.time)


def now() -> datetime:
    """Returns the moment, in UTC."""
    return datetime.fromtimestamp(_clock.get()(), UTC)


@contextmanager
def standing(clock: Callable[[], float]) -> Iterator[None]:
    """Goes by another clock meanwhile, which returns seconds since 1970."""
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)
