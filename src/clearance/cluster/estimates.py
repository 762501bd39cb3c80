"""How long a job is expected to run: what backfilling goes by.

Rules:

1. `given`: what the job says. `none`: nothing is known. `exact`: the runtime itself, for simulations.
2. `learnt`: the mean of the last two runtimes of the same user in the same queue (Tsafrir, Etsion and Feitelson,
   "Backfilling using system-generated predictions rather than user runtime estimates", IEEE TPDS 18(6), 2007); before
   the first has ended what the job says.
3. `wrong:LOW-HIGH`: the runtime times a factor drawn between the two, by a seed, evenly on a logarithmic scale.
4. A job that runs longer than was expected is expected to take ever larger steps more (section 4.2 of the same paper),
   and never less than a tenth of what it has taken (`corrected`).
"""

from __future__ import annotations

import bisect
import math
import random
from typing import Protocol

from clearance.cluster.job import Job
from clearance.errors import UsageError, nearest

GIVEN, NONE, EXACT, LEARNT, WRONG = "given", "none", "exact", "learnt", "wrong"
KINDS = (GIVEN, NONE, EXACT, LEARNT, WRONG)
_STEPS = (60, 300, 900, 1800, 3600, 7200, 18_000, 36_000, 72_000, 180_000, 360_000)
_SHARE = 0.1
_LAST = 2


class Estimator(Protocol):
    """Says how long jobs will run, and learns from those that have."""

    def estimate(self, job: Job, runtime: float) -> float | None:
        """Returns the expected seconds of a job that is submitted; None: unknown.

        Args:
            job: as it is submitted.
            runtime: what it will take, which only `exact` and `wrong` look at.
        """

    def observe(self, job: Job, runtime: float) -> None:
        """A job has ended after so many seconds."""


class Given:
    """What the job says."""

    def estimate(self, job: Job, runtime: float) -> float | None:
        return job.runtime_estimate

    def observe(self, job: Job, runtime: float) -> None:
        return


class Unknown(Given):
    """Nothing."""

    def estimate(self, job: Job, runtime: float) -> float | None:
        return None


class Exact(Given):
    """The runtime itself."""

    def estimate(self, job: Job, runtime: float) -> float | None:
        return runtime


class Wrong(Given):
    """The runtime times a random factor.

    Args:
        low: the smallest factor.
        high: the largest.
        seed: of the random numbers.
    """

    def __init__(self, low: float, high: float, seed: int = 0) -> None:
        self._low, self._high = math.log(low), math.log(high)
        self._random = random.Random(seed)  # noqa: S311 no secret is made of it

    def estimate(self, job: Job, runtime: float) -> float | None:
        return runtime * math.exp(self._random.uniform(self._low, self._high))


class Learnt(Given):
    """The mean of the last two runtimes of the same user in the same queue."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[float, ...]] = {}

    def estimate(self, job: Job, runtime: float) -> float | None:
        last = self._last.get((job.user, job.queue))
        return job.runtime_estimate if last is None else sum(last) / len(last)

    def observe(self, job: Job, runtime: float) -> None:
        key = (job.user, job.queue)
        self._last[key] = (*self._last.get(key, ()), runtime)[-_LAST:]


def estimator(kind: str, seed: int = 0) -> Estimator:
    """Returns the estimator of a kind.

    Args:
        kind: see the rules.
        seed: of `wrong`.

    Raises:
        UsageError: there is no such kind, or its bounds are no positive numbers in order.
    """
    name, _, bounds = kind.partition(":")
    simple = {GIVEN: Given, NONE: Unknown, EXACT: Exact, LEARNT: Learnt}
    if name in simple and not bounds:
        return simple[name]()
    if name == WRONG:
        low, _, high = bounds.partition("-")
        try:
            least, most = float(low), float(high)
        except ValueError:
            least, most = 0.0, 0.0
        if not 0 < least <= most < math.inf:
            raise UsageError(f"estimates {kind!r}: write two positive factors in order, such as 'wrong:0.2-5'")
        return Wrong(least, most, seed)
    raise UsageError(
        f"there are no estimates {kind!r}{nearest(name, KINDS)}: use given, none, exact, learnt or wrong:0.2-5"
    )


def corrected(started: float, now: float) -> float:
    """Returns when a job is expected to end that should have ended already; see rule 4. All in seconds."""
    taken = now - started
    at = bisect.bisect_right(_STEPS, taken)
    step = _STEPS[at] - taken if at < len(_STEPS) else 0.0
    return now + max(step, _SHARE * taken, 1.0)


__all__ = ["GIVEN", "KINDS", "Estimator", "corrected", "estimator"]
