"""How a task is tried again: `Retry`."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from clearance.errors import GraphError
from clearance.graph.model import RetryPolicy
from clearance.types.serialisable import qualified

_MOST = 1000
_ALIKE = {"timeout": ("builtins.TimeoutError",)}


@dataclass(frozen=True)
class Retry:
    """How often and when a failed attempt is tried again.

    Attributes:
        times: attempts after the first, 0 to 1000.
        backoff: each wait is this many times the wait before it, at least 1.
        delay: seconds before the second attempt.
        max_delay: seconds, the longest wait.
        jitter: each wait is drawn between half of it and all of it, so that many tasks do not return at once.
        on: exception classes that are worth another attempt; `Exception` means every failure, a process
            that died or ran out of time included.

    Raises:
        GraphError: a value out of its range.
    """

    times: int
    backoff: float = 2.0
    delay: float = 1.0
    max_delay: float = 60.0
    jitter: bool = True
    on: tuple[type[BaseException], ...] = (Exception,)

    def __post_init__(self) -> None:
        if isinstance(self.times, bool) or not isinstance(self.times, int) or not 0 <= self.times <= _MOST:
            raise GraphError(f"Retry(times={self.times!r}): write a whole number from 0 to {_MOST}")
        for name, least in (("backoff", 1.0), ("delay", 0.0), ("max_delay", 0.0)):
            value = getattr(self, name)
            good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not good or value < least:
                raise GraphError(f"Retry({name}={value!r}): write a number, at least {least:g}")
            object.__setattr__(self, name, float(value))
        if not isinstance(self.jitter, bool):
            raise GraphError(f"Retry(jitter={self.jitter!r}): write True or False")
        kinds = self.on if isinstance(self.on, (tuple, list)) else (self.on,)
        for kind in kinds:
            if not isinstance(kind, type) or not issubclass(kind, BaseException):
                raise GraphError(f"Retry(on={kind!r}): write exception classes, for example on=(OSError,)")
        if not kinds:
            raise GraphError("Retry(on=()) would never retry: leave `on` out, or write times=0")
        object.__setattr__(self, "on", tuple(kinds))

    def policy(self) -> RetryPolicy:
        """Returns the policy as the graph holds it: exceptions by qualified name."""
        return RetryPolicy(
            times=self.times,
            backoff=self.backoff,
            delay=self.delay,
            max_delay=self.max_delay,
            jitter=self.jitter,
            on=tuple(qualified(kind) for kind in self.on),
        )


def wait_of(policy: RetryPolicy, attempts: int, rng: random.Random) -> float:
    """Returns the seconds before the next try: exponential, capped, with full jitter in its upper half."""
    seconds = min(policy.delay * policy.backoff ** max(attempts - 1, 0), policy.max_delay)
    return seconds * (0.5 + rng.random() / 2) if policy.jitter else seconds


def is_retried(policy: RetryPolicy, kind: str, bases: Sequence[str]) -> bool:
    """True for an exception that the policy names; `Exception` names every failure, `TimeoutError` a timeout too."""
    names = {kind, *bases, "builtins.Exception", *_ALIKE.get(kind, ())}
    return not policy.on or bool(set(policy.on) & names)
